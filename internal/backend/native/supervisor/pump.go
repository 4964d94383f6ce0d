package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
)

// A pump takes what comes out of one pipe to the log.
//
// No byte is lost and none is stored twice where a supervisor is killed. What
// has left a pipe but has not reached the log would die with its process, so it
// never is in the process alone: splice(2) moves it from the pipe to the end of
// a file, the spool, in one system call. The log says how much of the spool it
// holds (see supervise.Logged), and the next supervisor goes on from there.
type pump struct {
	stream backend.Stream
	file   *os.File
	log    *logWriter
	tty    bool // lines end with \r\n
	done   chan struct{}

	spool *os.File // nil for a terminal, whose bytes die with the supervisor anyway
	size  int64    // of the spool
	read  int64    // how much of the spool has been read

	line []byte // the start of a line whose end has not come yet
	owed int    // how many bytes of line came from the spool
	buf  []byte
}

const (
	// spoolFull is the size at which a spool whose bytes are all in the log is emptied.
	spoolFull = 256 << 10
	// spliceMost is what one splice may move: what a pipe holds.
	spliceMost = 64 << 10
)

func openPump(dir string, stream backend.Stream, log *logWriter, tty bool) (*pump, error) {
	path := filepath.Join(dir, supervise.FifoName(stream))
	if err := unix.Mkfifo(path, 0o600); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, &os.PathError{Op: "mkfifo", Path: path, Err: err}
	}
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	spool, err := os.OpenFile(filepath.Join(dir, supervise.SpoolName(stream)), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		f.Close()
		return nil, err
	}
	p := &pump{stream: stream, file: f, log: log, tty: tty, spool: spool}
	if err := p.start(); err != nil {
		f.Close()
		spool.Close()
		return nil, err
	}
	return p, nil
}

// start begins to read, with what an earlier supervisor left in the spool.
func (p *pump) start() error {
	if p.spool != nil {
		info, err := p.spool.Stat()
		if err != nil {
			return err
		}
		p.size, p.read = info.Size(), p.log.logged(p.stream)
		if p.read > p.size { // it was emptied, and its supervisor died before it could say so
			p.read = 0
			p.log.restart(p.stream)
		}
	}
	conn, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	p.buf = make([]byte, supervise.MaxRecord)
	p.done = make(chan struct{})
	go func() { // ends with finish, or with the terminal
		defer close(p.done)
		p.catchUp()
		for p.next(conn.Read) {
		}
		// The deadline has passed: what is left.
		for p.next(func(once func(uintptr) bool) error { return conn.Control(func(fd uintptr) { once(fd) }) }) {
		}
		if len(p.line) > 0 {
			p.put(supervise.LastLine, p.line)
			p.line = nil
		}
		p.empty()
	}()
	return nil
}

// finish stores all that is in the pipe. To be called when nothing writes to it
// any more.
func (p *pump) finish() {
	_ = p.file.SetReadDeadline(time.Unix(1, 0)) // a pipe and a terminal have deadlines
	<-p.done
	p.file.Close()
	if p.spool != nil {
		p.spool.Close()
	}
}

// next takes what there is. It reports whether more may come: when says when to
// try, and ends with an error when it is not worth while any more.
func (p *pump) next(when func(once func(fd uintptr) bool) error) bool {
	var n int
	var err error
	again := when(func(fd uintptr) bool {
		n, err = p.move(int(fd))
		return !errors.Is(err, unix.EAGAIN)
	})
	if n > 0 {
		p.take(p.buf[:n], false)
	}
	p.catchUp()
	return again == nil && err == nil
}

// move moves bytes from the pipe to the spool. Where that can't be done, as on
// a full disk, it reads n of them into the buffer: a service must not stand
// still for its log.
func (p *pump) move(fd int) (n int, err error) {
	for p.spool != nil {
		end := p.size
		moved, err := unix.Splice(fd, nil, int(p.spool.Fd()), &end, spliceMost, unix.SPLICE_F_NONBLOCK)
		if err == unix.EINTR {
			continue
		}
		if err == nil && moved > 0 {
			p.size += moved
			return 0, nil
		}
		if err == unix.EAGAIN {
			return 0, err
		}
		break
	}
	for {
		n, err = unix.Read(fd, p.buf)
		if err == unix.EINTR {
			continue
		}
		if n == 0 && err == nil {
			err = os.ErrClosed
		}
		return max(n, 0), err
	}
}

// catchUp stores what is in the spool.
func (p *pump) catchUp() {
	for p.read < p.size {
		n, err := p.spool.ReadAt(p.buf[:min(int64(len(p.buf)), p.size-p.read)], p.read)
		if n == 0 {
			slog.Error("read output", "err", err)
			p.log.skip(p.stream, p.size-p.read, fmt.Errorf("read what was kept of it: %w", err))
			p.read = p.size
			return
		}
		p.read += int64(n)
		p.take(p.buf[:n], true)
	}
	if p.size >= spoolFull {
		p.empty()
	}
}

// empty empties a spool that has been read. The log learns of it afterwards:
// that its count is beyond the spool's end tells a successor what was done.
func (p *pump) empty() {
	if p.spool == nil || p.size == 0 {
		return
	}
	kept := p.halfEnd()
	if text := p.line[:len(p.line)-len(kept)]; len(text) > 0 {
		p.owed = max(0, p.owed-len(kept))
		p.put(supervise.Part, text)
	}
	p.line, p.owed = append(p.line[:0], kept...), len(kept)
	p.log.flush()
	if err := p.spool.Truncate(0); err != nil {
		slog.Error("empty the spool", "err", err)
		return
	}
	n, err := p.spool.WriteAt(kept, 0)
	if err != nil {
		slog.Error("keep the end of a line", "err", err)
	}
	p.size, p.read, p.owed = int64(n), int64(n), n
	p.log.restart(p.stream)
}

// halfEnd gives the first byte of what may be a terminal's end of a line: the record
// of that stands for both.
func (p *pump) halfEnd() []byte {
	if p.tty && bytes.HasSuffix(p.line, []byte("\r")) {
		return []byte("\r")
	}
	return nil
}

// take splits what was read into records and stores them at once.
func (p *pump) take(data []byte, spooled bool) {
	for len(data) > 0 {
		line, rest, whole := bytes.Cut(data, []byte("\n"))
		room := supervise.MaxRecord - len(p.line)
		full := len(line) > room || !whole && len(line) == room
		if full {
			if p.tty && line[room-1] == '\r' { // it may be the half of a line's end
				room--
			}
			line, rest, whole = line[:room], data[room:], false
		}
		if spooled {
			p.owed += len(data) - len(rest)
		}
		data = rest
		if !whole && !full {
			p.line = append(p.line, line...)
			break
		}
		if len(p.line) > 0 {
			p.line = append(p.line, line...)
			line = p.line
		}
		kind := supervise.Part
		if whole {
			kind = supervise.Line
		}
		if bare, cr := bytes.CutSuffix(line, []byte("\r")); cr && whole && p.tty {
			line, kind = bare, supervise.LineCRLF
		}
		p.put(kind, line)
		p.line = p.line[:0]
	}
	p.log.flush()
	if cap(p.line) > 0 && len(p.line) == 0 {
		p.line = nil // up to 16 KiB: not to be held while nothing comes
	}
}

// put gives the log a record, with how many of its bytes the spool has.
func (p *pump) put(kind supervise.Kind, text []byte) {
	p.log.add(p.stream, kind, text, p.owed)
	p.owed = 0
}
