package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// Exec runs a command in the running container and gives its exit code: 128+n
// where signal n killed it, 127 or 126 with the reason on stderr where it can't
// be found or run. When ctx ends the command is killed.
func (h *Handle) Exec(ctx context.Context, spec backend.ExecSpec) (int, error) {
	p, err := h.Attach(ctx, spec)
	if err != nil {
		return 0, err
	}
	return p.Wait()
}

// Attach starts a command in the running container and returns while it runs.
// fault.ErrNotRunning if the container does not run. The caller must Wait.
func (h *Handle) Attach(ctx context.Context, spec backend.ExecSpec) (backend.Process, error) {
	if len(spec.Args) == 0 || spec.Args[0] == "" {
		return nil, fmt.Errorf("exec without a command: %w", fault.ErrInvalid)
	}
	conn, err := h.dialRunning(ctx) // before anything is read from stdin
	if err != nil {
		return nil, err
	}
	p := &process{ctx: ctx, spec: spec, ended: make(chan struct{})}
	fds, err := p.stdio()
	defer closeAll(fds.close)
	if err != nil {
		conn.Close()
	}
	for attempt := 1; err == nil; attempt++ {
		p.conn = conn
		if err = p.start(fds.send); err == nil {
			return p, nil
		}
		conn.Close()
		if errors.Is(err, errUnread) && attempt < attachTries {
			conn, err = h.dialRunning(ctx) // another supervisor takes over
		}
	}
	p.abandon()
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	return nil, err
}

// attachTries bounds how many supervisors in a row may be found dying.
const attachTries = 5

// errUnread: a supervisor that was killed is to be reached until the kernel has
// taken it down, and went without having read the request. So nothing was
// started, and it may be asked for again.
var errUnread = fmt.Errorf("exec: the supervisor went before it read the request: %w", fault.ErrUnavailable)

// unread tells that from the way the connection ended: a socket that is closed
// with something left to read in it resets its peer.
func unread(err error) bool {
	return errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE)
}

// dialRunning connects to the supervisor of a container that runs.
func (h *Handle) dialRunning(ctx context.Context) (*net.UnixConn, error) {
	conn, err := h.dial(ctx)
	if !errors.Is(err, errGone) {
		return conn, err
	}
	reply, err := h.ask(ctx, Request{Op: OpState}) // has a new supervisor take over
	if err != nil {
		return nil, err
	}
	conn, err = h.dial(ctx)
	if errors.Is(err, errGone) {
		return nil, fmt.Errorf("container is %s: %w", reply.State.Phase, fault.ErrNotRunning)
	}
	return conn, err
}

// A process is a command that the supervisor runs for us.
type process struct {
	ctx      context.Context // of the whole command: its end kills it
	conn     *net.UnixConn
	spec     backend.ExecSpec
	terminal *os.File // with spec.TTY
	copies   []*copier
	ended    chan struct{}
	reply    Reply
	err      error
	send     sync.Mutex
	waited   sync.Once
}

// start has the command started, with the descriptors given.
func (p *process) start(fds []int) error {
	stop := context.AfterFunc(p.ctx, func() { p.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	err := Send(p.conn, Request{Op: OpExec, Exec: &ExecRequest{
		Args: p.spec.Args, Env: assignments(p.spec.Env), Cwd: p.spec.WorkDir, User: p.spec.User,
		TTY: p.spec.TTY, Cols: p.spec.Cols, Rows: p.spec.Rows,
	}}, fds...)
	if unread(err) {
		return errUnread
	}
	if err == nil {
		err = p.started()
	}
	if err != nil {
		return err
	}
	if !stop() {
		p.conn.SetDeadline(time.Time{})
	}
	if p.reply.Ended {
		p.conn.Close()
		close(p.ended)
		return nil
	}
	p.follow()
	return nil
}

// started reads the first answer.
func (p *process) started() error {
	var reply Reply
	files, err := Receive(p.conn, &reply)
	if err != nil {
		closeAll(files)
		if unread(err) {
			return errUnread
		}
		return fmt.Errorf("exec: the supervisor is gone: %w", fault.ErrUnavailable)
	}
	if reply.Error == nil && reply.Ended { // it could not be executed
		closeAll(files)
		p.reply = reply
		return nil
	}
	if reply.Error != nil || !p.spec.TTY || len(files) != 1 {
		closeAll(files)
		return reply.Error.Err()
	}
	return p.openTerminal(files[0])
}

// openTerminal makes the terminal's descriptor one that Close can interrupt.
func (p *process) openTerminal(f *os.File) error {
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return err
	}
	p.terminal = os.NewFile(uintptr(fd), "terminal")
	return nil
}

// follow starts what runs beside the command.
func (p *process) follow() {
	if p.terminal != nil {
		p.copies = append(p.copies, startCopier(p.terminal, p.spec.Stdout))
		if p.spec.Stdin != nil {
			go feedTerminal(p.terminal, p.spec.Stdin)
		}
	}
	// The supervisor kills the command when our side closes, and still answers.
	stop := context.AfterFunc(p.ctx, func() {
		p.conn.CloseWrite()
		p.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	})
	go func() {
		defer close(p.ended)
		defer stop()
		files, err := Receive(p.conn, &p.reply)
		closeAll(files)
		p.conn.Close()
		if err != nil {
			p.err = fmt.Errorf("exec: the supervisor is gone: %w", fault.ErrUnavailable)
		}
	}()
}

// abandon ends the copying of a command that did not start.
func (p *process) abandon() {
	for _, c := range p.copies {
		_ = c.finish()
	}
}

// Resize sets the size of the terminal.
func (p *process) Resize(cols, rows uint16) error {
	if p.terminal == nil {
		return fmt.Errorf("resize: no terminal: %w", fault.ErrUnsupported)
	}
	raw, err := p.terminal.SyscallConn()
	if err != nil {
		return err
	}
	var ioctlErr error
	err = raw.Control(func(fd uintptr) {
		ioctlErr = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Col: cols, Row: rows})
	})
	return errors.Join(err, ioctlErr)
}

// Signal sends the command a signal.
func (p *process) Signal(signal int) error {
	p.send.Lock()
	defer p.send.Unlock()
	if err := Send(p.conn, Request{Op: OpSignal, Signal: signal}); err != nil {
		return fmt.Errorf("signal: %w", fault.ErrNotRunning)
	}
	return nil
}

// Wait gives the exit code once the command has ended and its output has been
// handed on. What it left running in the background is not waited for.
func (p *process) Wait() (int, error) {
	<-p.ended
	p.waited.Do(func() {
		for _, c := range p.copies {
			if err := c.finish(); err != nil && p.err == nil {
				p.err = fmt.Errorf("hand on output: %w", err)
			}
		}
		if p.terminal != nil {
			p.terminal.Close()
		}
		if p.reply.OOM && p.spec.OutOfMemory != nil {
			p.spec.OutOfMemory()
		}
		if p.reply.Reason != "" {
			to := p.spec.Stderr
			if to == nil || p.spec.TTY {
				to = p.spec.Stdout
			}
			if to != nil {
				_, _ = io.WriteString(to, p.reply.Reason+"\n")
			}
		}
	})
	switch {
	case context.Cause(p.ctx) != nil:
		return 0, context.Cause(p.ctx)
	case p.err != nil:
		return 0, p.err
	}
	return p.reply.Code, p.reply.Error.Err()
}

// assignments gives "name=value" in a stable order.
func assignments(env map[string]string) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		out = append(out, name+"="+env[name])
	}
	return out
}
