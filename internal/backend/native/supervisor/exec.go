package supervisor

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/fault"
)

// exec runs a command in the container for the client on conn.
func (c *container) exec(conn *net.UnixConn, req supervise.Request, files []*os.File) {
	c.mu.Lock()
	running := c.state.Phase == supervise.PhaseRunning
	phase := c.state.Phase
	if running {
		c.execs.Add(1)
	}
	c.mu.Unlock()
	if !running || req.Exec == nil {
		err := fmt.Errorf("container is %s: %w", phase, fault.ErrNotRunning)
		if running {
			c.execs.Done()
			err = fmt.Errorf("exec of nothing: %w", fault.ErrInvalid)
		}
		_ = supervise.Send(conn, supervise.Reply{Error: supervise.Fail(err)})
		return
	}
	defer c.execs.Done()
	e := &execution{c: c, conn: conn, req: *req.Exec}
	reply, err := e.run(files)
	if err != nil {
		reply = supervise.Reply{Error: supervise.Fail(err)}
	}
	_ = supervise.Send(conn, reply) // who asked may be gone
}

// An execution is one command run in the container besides its own.
type execution struct {
	c    *container
	conn *net.UnixConn
	req  supervise.ExecRequest
	env  []string
	cwd  string
	pid  int
	over atomic.Bool // it has ended: its connection's end means nothing more
}

// run starts the command, tells the client, and gives its end.
func (e *execution) run(files []*os.File) (supervise.Reply, error) {
	if e.req.TTY != (len(files) == 0) || (!e.req.TTY && len(files) != 3) || len(e.req.Args) == 0 {
		return supervise.Reply{}, fmt.Errorf("exec with %d descriptors: %w", len(files), fault.ErrInvalid)
	}
	orders, err := e.orders()
	if err != nil {
		return supervise.Reply{}, err
	}
	killed := e.c.group.oomKills()
	said, err := e.c.enter(orders, files)
	// The client's side of the pipes must be the only ones left.
	for _, f := range files {
		f.Close()
	}
	if said.terminal != nil {
		defer said.terminal.Close()
	}
	if err != nil {
		return supervise.Reply{}, err
	}
	if e.pid = said.pid; said.stage != 0 {
		e.c.children.wait(e.pid)
		return e.notRun(said)
	}
	if err := e.tell(said.terminal); err != nil {
		e.killAll()
	}
	watching := e.watch()
	exit := exitStatus(e.c.children.wait(e.pid))
	e.over.Store(true)
	e.conn.CloseRead()
	<-watching
	oom := exit.Code != 0 && e.c.group.oomKills() > killed
	return supervise.Reply{Ended: true, Code: exit.Code, OOM: oom}, nil
}

// orders describes the command to lepto-init.
func (e *execution) orders() (orders, error) {
	root := e.c.procRoot()
	who := e.req.User
	if who == "" {
		who = e.c.spec.User
	}
	id, err := identify(root, who)
	if err != nil {
		return orders{}, err
	}
	_, caps, err := bounding(e.c.spec)
	if err != nil {
		return orders{}, err
	}
	for _, dir := range []string{"/", e.c.spec.Cwd, e.req.Cwd} {
		if dir != "" {
			e.cwd = dir
		}
	}
	if st, err := statIn(root, e.cwd); err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return orders{}, fault.New(supervise.CodeWorkDir, "working directory %q is not a directory of the container", e.cwd)
	}
	filter, err := e.c.filter()
	if err != nil {
		return orders{}, err
	}
	limits, err := supervise.ParseUlimits(e.c.spec.Resources.Ulimits)
	if err != nil {
		return orders{}, err
	}
	e.env = environment(e.c.spec, id, e.req.TTY, e.req.Env...)
	return orders{
		cgroups: e.c.group.procs(e.c.current().PID), keyring: keyring(e.c.spec.ID),
		tty: e.req.TTY, rows: e.req.Rows, cols: e.req.Cols, limits: limits,
		env: e.env, args: e.req.Args,
		confinement: confinement{bounding: caps, identity: id, cwd: e.cwd, filter: filter},
	}, nil
}

// tell reports the start to the client, and hands the terminal over.
func (e *execution) tell(terminal *os.File) error {
	reply := supervise.Reply{Started: true}
	if terminal == nil {
		return supervise.Send(e.conn, reply)
	}
	err := supervise.Send(e.conn, reply, int(terminal.Fd()))
	terminal.Close() // the client's alone: its end hangs the terminal up
	return err
}

// watch serves the client while the command runs: signals, and the end of the
// connection, which kills it. The channel is closed when it has ended.
func (e *execution) watch() <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			var req supervise.Request
			files, err := supervise.Receive(e.conn, &req)
			for _, f := range files {
				f.Close()
			}
			if e.over.Load() {
				return
			}
			if err != nil {
				e.killAll()
				return
			}
			if req.Op == supervise.OpSignal {
				unix.Kill(e.pid, unix.Signal(req.Signal))
			}
		}
	}()
	return done
}

// killAll ends the command and what it has started and is still of its
// session. What made itself a daemon stays, as after any shell.
func (e *execution) killAll() {
	pids, err := e.c.group.pids()
	if err == nil {
		for _, pid := range pids {
			if sid, err := unix.Getsid(pid); err == nil && sid == e.pid && pid != e.pid {
				unix.Kill(pid, unix.SIGKILL)
			}
		}
	}
	if !e.over.Load() {
		unix.Kill(e.pid, unix.SIGKILL)
	}
}

// notRun explains a command that could not be executed, as a shell does: 127
// if it isn't there, 126 if it can't be run.
func (e *execution) notRun(said reports) (supervise.Reply, error) {
	switch said.stage {
	case stageExecute:
	case stageDirectory:
		return supervise.Reply{}, fault.New(supervise.CodeWorkDir, "working directory %q: %w", e.cwd, said.errno)
	default:
		return supervise.Reply{}, fault.New(supervise.CodeRuntime, "exec: %s: %w", said.stage, said.errno)
	}
	_, text, _ := explainExec(e.c.procRoot(), e.req.Args[0], e.env, e.cwd, said.errno)
	code := 126
	if said.errno == unix.ENOENT || said.errno == unix.ENOTDIR {
		code = 127
	}
	return supervise.Reply{Ended: true, Code: code, Reason: text}, nil
}

// procRoot is the running container's root, as its processes see it.
func (c *container) procRoot() string {
	return "/proc/" + strconv.Itoa(c.current().PID) + "/root"
}
