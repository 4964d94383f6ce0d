package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
)

// An output takes what a container prints from its two named pipes into its
// log. The pipes are opened for reading and writing on both sides: a writer
// never meets a closed pipe, also while no supervisor lives, and what it has
// written stays in the pipe for the next one.
type output struct {
	dir   string
	pumps []*pump
	log   *logWriter
	once  sync.Once
}

// openOutput makes the pipes and starts to read them.
func openOutput(dir string, spec supervise.Spec) (*output, error) {
	log, err := openLog(dir, spec.LogBudget)
	if err != nil {
		return nil, err
	}
	o := &output{dir: dir, log: log}
	for _, stream := range []backend.Stream{backend.Stdout, backend.Stderr} {
		p, err := openPump(filepath.Join(dir, fifoName(stream)), stream, log, spec.TTY)
		if err != nil {
			o.drain()
			return nil, err
		}
		o.pumps = append(o.pumps, p)
	}
	return o, nil
}

func fifoName(s backend.Stream) string {
	if s == backend.Stderr {
		return "err.fifo"
	}
	return "out.fifo"
}

// drain stores all that is in the pipes, and closes them and the log. To be
// called when nothing writes to them any more.
func (o *output) drain() {
	o.once.Do(func() {
		for _, p := range o.pumps {
			p.finish()
		}
		o.log.close()
	})
}

// stdio are a process's three descriptors.
type stdio struct{ in, out, err *os.File }

func (s stdio) close() {
	for _, f := range []*os.File{s.in, s.out, s.err} {
		if f != nil {
			f.Close()
		}
	}
}

// writers opens the container's own ends, in blocking mode: the mode belongs
// to the open file, not to the pipe.
func (o *output) writers() (stdio, error) {
	var s stdio
	var err error
	if s.in, err = os.Open("/dev/null"); err != nil {
		return s, err
	}
	open := func(stream backend.Stream) (*os.File, error) {
		name := filepath.Join(o.dir, fifoName(stream))
		fd, err := unix.Open(name, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: name, Err: err}
		}
		return os.NewFile(uintptr(fd), name), nil
	}
	if s.out, err = open(backend.Stdout); err == nil {
		s.err, err = open(backend.Stderr)
	}
	if err != nil {
		s.close()
	}
	return s, err
}

// A pump reads one pipe.
type pump struct {
	stream backend.Stream
	file   *os.File
	log    *logWriter
	tty    bool   // lines end with \r\n
	line   []byte // the start of a line whose end has not come yet
	done   chan struct{}
}

func openPump(path string, stream backend.Stream, log *logWriter, tty bool) (*pump, error) {
	if err := unix.Mkfifo(path, 0o600); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, &os.PathError{Op: "mkfifo", Path: path, Err: err}
	}
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return startPump(f, stream, log, tty), nil
}

func startPump(f *os.File, stream backend.Stream, log *logWriter, tty bool) *pump {
	p := &pump{stream: stream, file: f, log: log, tty: tty, done: make(chan struct{})}
	go p.run()
	return p
}

// takeConsole reads a container's terminal, which comes over the socket.
func (o *output) takeConsole(socket *os.File) error {
	_, terminal, err := receive(socket)
	if err != nil {
		return err
	}
	if terminal == nil {
		return errors.New("no terminal came")
	}
	defer terminal.Close()
	fd, err := unix.FcntlInt(terminal.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return err
	}
	o.pumps = append(o.pumps, startPump(os.NewFile(uintptr(fd), "terminal"), backend.Stdout, o.log, true))
	return nil
}

// run reads until finish sets the deadline, and then what is left.
func (p *pump) run() {
	defer close(p.done)
	buf := make([]byte, 16<<10)
	for {
		n, err := p.file.Read(buf)
		p.take(buf[:n])
		if err != nil {
			break
		}
	}
	raw, err := p.file.SyscallConn()
	if err != nil {
		slog.Error("drain output", "err", err)
		return
	}
	raw.Control(func(fd uintptr) {
		for {
			n, err := unix.Read(int(fd), buf)
			if err == unix.EINTR {
				continue
			}
			if n <= 0 || err != nil {
				return
			}
			p.take(buf[:n])
		}
	})
	if len(p.line) > 0 {
		p.log.write(p.stream, p.line, true)
	}
}

func (p *pump) finish() {
	p.file.SetReadDeadline(time.Unix(1, 0))
	<-p.done
	p.file.Close()
}

// take splits what was read into records and stores them at once.
func (p *pump) take(data []byte) {
	if len(data) == 0 {
		return
	}
	for len(data) > 0 {
		line, rest, whole := bytes.Cut(data, []byte("\n"))
		if !whole && len(p.line)+len(line) < supervise.MaxRecord {
			p.line = append(p.line, line...)
			break
		}
		if room := supervise.MaxRecord - len(p.line); len(line) > room {
			line, rest, whole = line[:room], data[room:], false
		}
		if len(p.line) > 0 {
			p.line = append(p.line, line...)
			line = p.line
		}
		if p.tty && whole {
			line = bytes.TrimSuffix(line, []byte("\r"))
		}
		p.log.add(p.stream, line, whole)
		p.line = p.line[:0]
		data = rest
	}
	p.log.flush()
	if cap(p.line) > 0 && len(p.line) == 0 {
		p.line = nil // up to 16 KiB: not to be held while nothing comes
	}
}

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
}

type segment struct {
	path string
	size int64
}

// defaultBudget bounds a container's log where the spec does not. No log is
// held below minBudget, some 64 KiB: one segment of it holds one longest record.
const (
	defaultBudget = 16 << 20
	minBudget     = 4 * (supervise.MaxRecord + 256)
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
	return w, w.rotate()
}

// limit is the size at which a segment is full. It holds a longest record.
func (w *logWriter) limit() int64 { return max(min(w.budget/4, 4<<20), supervise.MaxRecord+256) }

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
	w.file, w.size = f, 0
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

// add gathers a record; flush stores what was gathered. The two pumps may mix:
// each record is whole.
func (w *logWriter) add(stream backend.Stream, text []byte, whole bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	// Short lines grow several times as they become records: a batch must not
	// grow beyond a segment.
	if len(w.buf)+len(text)+64 > supervise.MaxRecord {
		w.flushLocked()
	}
	w.buf = supervise.AppendRecord(w.buf, time.Now(), stream, text, whole)
}

func (w *logWriter) write(stream backend.Stream, text []byte, whole bool) {
	w.add(stream, text, whole)
	w.flush()
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
	}
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
	if w.lost > 0 {
		text := fmt.Sprintf("[lepto: about %d bytes of output are missing here: %v]", w.lost, w.lostWhy)
		records = append(supervise.AppendRecord(nil, time.Now(), backend.Stderr, []byte(text), true), records...)
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
	w.lost = 0
	return nil
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
