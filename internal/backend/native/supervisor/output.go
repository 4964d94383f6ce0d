package supervisor

import (
	"errors"
	"os"
	"path/filepath"
	"sync"

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
		p, err := openPump(dir, stream, log, spec.TTY)
		if err != nil {
			o.drain()
			return nil, err
		}
		o.pumps = append(o.pumps, p)
	}
	return o, nil
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
		name := filepath.Join(o.dir, supervise.FifoName(stream))
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
	p := &pump{stream: backend.Stdout, file: os.NewFile(uintptr(fd), "terminal"), log: o.log, tty: true}
	o.pumps = append(o.pumps, p)
	return p.start()
}
