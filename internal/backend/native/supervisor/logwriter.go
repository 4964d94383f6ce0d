package supervisor

import (
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
)

// A logWriter stores records in segments, and drops the oldest beyond a budget.
type logWriter struct {
	mu      sync.Mutex
	dir     string
	budget  int64
	number  int // of the segment being written
	file    *os.File
	size    int64 // of that segment
	older   []segment
	buf     []byte
	lost    int // bytes that could not be stored
	lostWhy error

	// How much of each stream's spool is in the log, and in the log or in buf.
	stored, taken map[backend.Stream]int64
	marked        bool // what is stored follows from what the segment says
}

type segment struct {
	path string
	size int64
}

// defaultBudget bounds a container's log where the spec does not. No log is
// held below minBudget, some 64 KiB: one segment of it holds one longest record.
const (
	defaultBudget = 16 << 20
	minBudget     = 4 * (supervise.MaxRecord + 512)
)

func openLog(dir string, budget int64) (*logWriter, error) {
	if budget <= 0 {
		budget = defaultBudget
	}
	w := &logWriter{dir: filepath.Join(dir, supervise.LogDir), budget: max(budget, minBudget)}
	if err := os.MkdirAll(w.dir, 0o700); err != nil {
		return nil, err
	}
	names, err := supervise.Segments(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if info, err := os.Stat(name); err == nil {
			w.older = append(w.older, segment{name, info.Size()})
		}
		w.number = supervise.SegmentNumber(name)
	}
	if w.stored, err = supervise.Logged(names); err != nil {
		return nil, err
	}
	w.taken = maps.Clone(w.stored)
	return w, w.rotate()
}

// limit is the size at which a segment is full. It holds a longest record.
func (w *logWriter) limit() int64 { return max(min(w.budget/4, 4<<20), supervise.MaxRecord+512) }

// rotate begins the next segment.
func (w *logWriter) rotate() error {
	if w.file != nil {
		w.older = append(w.older, segment{w.file.Name(), w.size})
		w.file.Close()
		w.file = nil
	}
	name := filepath.Join(w.dir, supervise.SegmentName(w.number+1))
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	w.file, w.size, w.marked = f, 0, false
	w.number++
	w.trim()
	return nil
}

// trim drops the oldest segments, leaving room for the current one.
func (w *logWriter) trim() {
	total := w.limit()
	for _, s := range w.older {
		total += s.size
	}
	for len(w.older) > 0 && total > w.budget {
		if err := os.Remove(w.older[0].path); err != nil && !os.IsNotExist(err) {
			slog.Error("drop log segment", "err", err)
		}
		total -= w.older[0].size
		w.older = w.older[1:]
	}
}

// logged gives how much of a stream's spool is in the log.
func (w *logWriter) logged(stream backend.Stream) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stored[stream]
}

// restart says that a stream's spool was emptied.
func (w *logWriter) restart(stream backend.Stream) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flushLocked()
	w.stored[stream], w.taken[stream] = 0, 0
	w.marked = false
	if err := w.store(nil); err != nil {
		slog.Error("store output", "err", err)
	}
}

// skip says that n bytes of a stream's spool can't be had.
func (w *logWriter) skip(stream backend.Stream, n int64, why error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flushLocked()
	w.lost += int(n)
	w.lostWhy = why
	w.taken[stream] += n
	w.stored[stream] = w.taken[stream]
	w.marked = false
}

// add gathers a record that holds so many bytes of the stream's spool; flush
// stores what was gathered. The two pumps may mix: each record is whole.
func (w *logWriter) add(stream backend.Stream, kind supervise.Kind, text []byte, spooled int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	// Short lines grow several times as they become records: a batch must not
	// grow beyond a segment.
	if len(w.buf)+len(text)+128 > supervise.MaxRecord {
		w.flushLocked()
	}
	now := time.Now()
	w.buf = supervise.AppendRecord(w.buf, now, stream, kind, text)
	w.taken[stream] += int64(spooled)
	if spooled != kind.Spooled(text) {
		w.buf = supervise.AppendMark(w.buf, now, stream, w.taken[stream])
	}
}

func (w *logWriter) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flushLocked()
}

func (w *logWriter) flushLocked() {
	if len(w.buf) == 0 {
		return
	}
	err := w.store(w.buf)
	if err != nil {
		if w.lost == 0 {
			slog.Error("store output", "err", err)
		}
		w.lost += len(w.buf)
		w.lostWhy = err
		w.marked = false
	}
	maps.Copy(w.stored, w.taken)
	w.buf = w.buf[:0]
	if cap(w.buf) > 32<<10 {
		w.buf = nil
	}
}

// store appends whole records. A disk that was full and has room again gets a
// line about what is missing.
func (w *logWriter) store(records []byte) error {
	if w.file == nil || (w.size > 0 && w.size+int64(len(records)) > w.limit()) {
		if err := w.rotate(); err != nil {
			return err
		}
	}
	if head := w.head(); len(head) > 0 {
		records = append(head, records...)
	}
	n, err := w.file.Write(records)
	w.size += int64(n)
	if err != nil {
		// Not to leave half a record for the next one to run into.
		if n > 0 && w.file.Truncate(w.size-int64(n)) == nil {
			w.size -= int64(n)
		}
		return err
	}
	w.lost, w.marked = 0, true
	return nil
}

// head is what must stand before the next records: what is missing, and where
// they go on.
func (w *logWriter) head() (out []byte) {
	now := time.Now()
	if w.lost > 0 {
		text := fmt.Sprintf("[lepto: about %d bytes of output are missing here: %v]", w.lost, w.lostWhy)
		out = supervise.AppendRecord(out, now, backend.Stderr, supervise.Note, []byte(text))
	}
	if !w.marked || w.lost > 0 {
		for _, stream := range []backend.Stream{backend.Stdout, backend.Stderr} {
			out = supervise.AppendMark(out, now, stream, w.stored[stream])
		}
	}
	return out
}

func (w *logWriter) close() {
	w.flush()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file != nil {
		w.file.Close()
		w.file = nil
	}
}
