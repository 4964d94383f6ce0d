package supervise

import (
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend"
)

// This file lets others than the container's processes write to its log.

// FifoName gives the name, in a container's folder, of the pipe that carries a
// stream to the log.
func FifoName(s backend.Stream) string {
	if s == backend.Stderr {
		return "err.fifo"
	}
	return "out.fifo"
}

// SpoolName gives the name, in a container's folder, of the file that holds what
// has left that pipe and may not be in the log yet.
func SpoolName(s backend.Stream) string {
	if s == backend.Stderr {
		return "err.spool"
	}
	return "out.spool"
}

// logPatience is how long a write to a log waits for room in the pipe.
const logPatience = time.Second

// LogTo gives a writer into the container's log. It is a writer of the pipe like
// the container's own processes, so the supervisor need not know of it.
func (h *Handle) LogTo(stream backend.Stream) (io.WriteCloser, error) {
	// For reading too: opening it must not wait for a supervisor.
	f, err := os.OpenFile(filepath.Join(h.dir, FifoName(stream)), os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return &logPipe{f: f}, nil
}

// logPipe writes to a log's pipe, until that takes too long once.
type logPipe struct {
	f     *os.File
	stuck bool
}

// Write never fails: a log is no reason for its writer to stop.
func (p *logPipe) Write(data []byte) (int, error) {
	if !p.stuck {
		_ = p.f.SetWriteDeadline(time.Now().Add(logPatience))
		_, err := p.f.Write(data)
		p.stuck = err != nil
	}
	return len(data), nil
}

// Close closes the pipe's end.
func (p *logPipe) Close() error { return p.f.Close() }
