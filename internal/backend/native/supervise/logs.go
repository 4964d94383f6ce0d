package supervise

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// unixEpoch is a deadline that has passed.
var unixEpoch = time.Unix(1, 0)

// maxLine bounds a line put together again from its parts, in bytes.
const maxLine = 1 << 20

// Logs yields the stored output, oldest first. It reads the segments, so it
// needs no supervisor. With Follow it goes on until ctx ends (with its cause as
// the error) or the folder is removed.
func (h *Handle) Logs(ctx context.Context, q backend.LogQuery) iter.Seq2[backend.LogLine, error] {
	return func(yield func(backend.LogLine, error) bool) {
		err := readLogs(ctx, h.dir, q, nil, func(l backend.LogLine) bool { return yield(l, nil) })
		if err != nil && !errors.Is(err, errEnough) {
			yield(backend.LogLine{}, err)
		}
	}
}

// errEnough: the consumer wants no more.
var errEnough = errors.New("enough")

// readLogs calls line for each line. With q.Follow it goes on until ctx ends,
// the folder is removed, or done is closed and all has been read.
func readLogs(ctx context.Context, dir string, q backend.LogQuery, done <-chan struct{}, line func(backend.LogLine) bool) error {
	var w *watch
	if q.Follow {
		var err error
		if w, err = watchLogs(ctx, dir, done); err != nil {
			return err
		}
		defer w.close()
	}
	segments, err := Segments(dir)
	if err != nil {
		return err
	}
	if len(segments) == 0 && !exists(filepath.Join(dir, LogDir)) {
		return fmt.Errorf("log of %s: %w", dir, fault.ErrNotFound)
	}
	r := &logReader{dir: dir, since: q.Since, line: line, parts: map[backend.Stream]*backend.LogLine{}}
	defer r.close()
	if q.Tail >= 0 {
		if err := r.tail(ctx, segments, q.Tail); err != nil {
			return err
		}
	}
	for {
		last := w == nil || w.finished()
		if err := r.readOn(ctx); err != nil {
			return err
		}
		if last || !exists(r.dir) {
			return nil
		}
		if err := w.wait(); err != nil {
			return err
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// A logReader reads segments one after another, as they are written.
type logReader struct {
	dir   string
	since time.Time
	line  func(backend.LogLine) bool
	file  *os.File
	at    int    // number of the segment in file
	rest  []byte // the start of a record whose end has not come yet
	parts map[backend.Stream]*backend.LogLine
}

func (r *logReader) close() {
	if r.file != nil {
		r.file.Close()
	}
}

// readOn reads what there is beyond what was read.
func (r *logReader) readOn(ctx context.Context) error {
	for {
		if r.file != nil {
			if err := r.read(ctx); err != nil {
				return err
			}
		}
		next, err := r.next()
		if err != nil || next == "" {
			return err
		}
		// A next segment means that this one is complete, though perhaps only
		// since it was read.
		if r.file != nil {
			if err := r.read(ctx); err != nil {
				return err
			}
			r.file.Close()
			r.file, r.rest = nil, nil
		}
		f, err := os.Open(next)
		if os.IsNotExist(err) {
			continue // dropped meanwhile
		}
		if err != nil {
			return err
		}
		r.file, r.at = f, SegmentNumber(next)
	}
}

// next gives the segment after the current one, or "".
func (r *logReader) next() (string, error) {
	segments, err := Segments(r.dir)
	if err != nil {
		return "", err
	}
	for _, s := range segments {
		if SegmentNumber(s) > r.at {
			return s, nil
		}
	}
	return "", nil
}

// read reads the current segment to its present end.
func (r *logReader) read(ctx context.Context) error {
	buf := make([]byte, 64<<10)
	for {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		n, err := r.file.Read(buf)
		data := buf[:n]
		for len(data) > 0 {
			record, more, whole := bytes.Cut(data, []byte("\n"))
			if !whole {
				r.rest = append(r.rest, record...)
				break
			}
			if len(r.rest) > 0 {
				record = append(r.rest, record...)
				r.rest = nil
			}
			if !r.take(record) {
				return errEnough
			}
			data = more
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// take handles one record; false if the consumer wants no more.
func (r *logReader) take(record []byte) bool {
	l, whole, ok := parseRecord(record)
	if !ok {
		return true
	}
	if begun := r.parts[l.Stream]; begun != nil {
		begun.Text += l.Text
		l = *begun
		delete(r.parts, l.Stream)
	}
	if !whole && len(l.Text) < maxLine {
		r.parts[l.Stream] = &l
		return true
	}
	if l.At.Before(r.since) {
		return true
	}
	return r.line(l)
}

// tail gives the last n lines there are, and leaves the reader behind them.
func (r *logReader) tail(ctx context.Context, segments []string, n int) error {
	begin, err := tailStart(segments, n)
	if err != nil {
		return err
	}
	r.at = begin
	var ring []backend.LogLine
	consumer := r.line
	r.line = func(l backend.LogLine) bool {
		ring = append(ring, l)
		if len(ring) > 2*n+1024 {
			ring = slices.Clone(ring[len(ring)-n:])
		}
		return true
	}
	if err := r.readOn(ctx); err != nil {
		return err
	}
	r.line = consumer
	for _, l := range ring[max(0, len(ring)-n):] {
		if !consumer(l) {
			return errEnough
		}
	}
	return nil
}

// tailStart gives the number of the segment before the first of those that hold
// the last n lines, and a line more: its first one may lack its start.
func tailStart(segments []string, n int) (int, error) {
	lines := 0
	for _, s := range slices.Backward(segments) {
		data, err := os.ReadFile(s)
		if err != nil && !os.IsNotExist(err) {
			return 0, err
		}
		if lines += countWhole(data); lines > n {
			return SegmentNumber(s) - 1, nil
		}
	}
	return 0, nil
}

// countWhole counts the records that end a line.
func countWhole(data []byte) int {
	n := 0
	for record := range bytes.Lines(data) {
		if _, _, kind, _, ok := splitRecord(record); ok && kind.whole() {
			n++
		}
	}
	return n
}

// A watch wakes a follower when segments change.
type watch struct {
	ctx   context.Context
	done  <-chan struct{}
	file  *os.File // inotify; nil where the user's instances are used up
	quit  chan struct{}
	ended chan struct{}
}

func watchLogs(ctx context.Context, dir string, done <-chan struct{}) (*watch, error) {
	w := &watch{ctx: ctx, done: done, quit: make(chan struct{}), ended: make(chan struct{})}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err == nil {
		const events = unix.IN_MODIFY | unix.IN_CREATE | unix.IN_DELETE_SELF | unix.IN_ONLYDIR
		if _, err = unix.InotifyAddWatch(fd, filepath.Join(dir, LogDir), events); err != nil {
			unix.Close(fd)
			if errors.Is(err, unix.ENOENT) {
				return nil, fmt.Errorf("log of %s: %w", dir, fault.ErrNotFound)
			}
		} else {
			w.file = os.NewFile(uintptr(fd), "inotify")
		}
	}
	go func() { // ends with close
		defer close(w.ended)
		select {
		case <-ctx.Done():
		case <-done:
		case <-w.quit:
			return
		}
		if w.file != nil {
			w.file.SetReadDeadline(unixEpoch)
		}
	}()
	return w, nil
}

// finished reports that the writer has ended: one more look is the last.
func (w *watch) finished() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// wait blocks until something may have changed.
func (w *watch) wait() error {
	if w.file == nil { // no inotify left: look a few times a second
		select {
		case <-w.ctx.Done():
			return context.Cause(w.ctx)
		case <-w.done:
		case <-time.After(250 * time.Millisecond):
		}
		return nil
	}
	buf := make([]byte, 4096)
	_, err := w.file.Read(buf)
	if cause := context.Cause(w.ctx); cause != nil {
		return cause
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("watch the log: %w", err)
	}
	return nil
}

func (w *watch) close() {
	close(w.quit)
	<-w.ended
	if w.file != nil {
		w.file.Close()
	}
}
