package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/fault"
)

// A container is the one this process looks after.
type container struct {
	dir      string
	spec     supervise.Spec
	group    *group
	output   *output
	root     rootfs
	programs programs
	children *children
	stubs    []string // in the root, to be removed at the end
	program  []byte   // the system call filter, where it is known

	mu       sync.Mutex
	state    supervise.State
	process  process       // of the current run; nil before the first
	ended    chan struct{} // closed at the end of the current run
	stopping bool          // asked to end: no restart any more
	wake     chan struct{} // closed with stopping: ends a back-off
	vacated  chan error    // once it is to make room for another: told when it has
	execs    sync.WaitGroup
	turnover

	leaving chan os.Signal // see leave.go
}

// A process is the first process of a container.
type process interface {
	// wait blocks until it has ended, and is called once.
	wait() backend.Exit
	signal(unix.Signal) error
}

func newContainer(spec supervise.Spec, state supervise.State, args []string) (*container, error) {
	if len(args) != 2 {
		return nil, errors.New("the paths of lepto-init and lepto-filter are missing")
	}
	programs, err := findPrograms(spec.Dir, args[0], args[1])
	if err != nil {
		return nil, err
	}
	children, err := reapChildren()
	if err != nil {
		return nil, err
	}
	group, err := newGroup(spec.CgroupName)
	if err != nil {
		return nil, err
	}
	return &container{
		dir:      spec.Dir,
		spec:     spec,
		group:    group,
		state:    state,
		root:     rootfs{dir: spec.Dir, spec: spec},
		ended:    make(chan struct{}),
		wake:     make(chan struct{}),
		turnover: newTurnover(),
		programs: programs,
		children: children,
		leaving:  leaving(),
	}, nil
}

// current gives the state.
func (c *container) current() supervise.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// update changes the state and writes it. A disk that is full must not keep a
// container from being stopped: the error is for the start alone.
func (c *container) update(change func(*supervise.State)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.state)
	c.state.SupervisorPID = os.Getpid()
	c.state.BootID = supervise.BootID()
	if err := supervise.WriteState(c.dir, c.state); err != nil {
		slog.Error("write state", "err", err)
		return err
	}
	return nil
}

// live follows the process through its ends and restarts, and those of containers
// that follow it. It returns when the last has ended for good.
func (c *container) live() {
	defer close(c.gone)
	pause := 100 * time.Millisecond
	for {
		began := time.Now()
		exit := c.process.wait()
		if c.asked() {
			c.leave()
			break
		}
		c.finish(exit)
		if time.Since(began) > 10*time.Second {
			pause = 100 * time.Millisecond
		}
		if !c.restart(pause) && !c.vacant() {
			break
		}
		pause = min(2*pause, 10*time.Second)
	}
	c.execs.Wait()
}

// finish records the end of a run: everything is dead, all output is stored,
// the cgroups are gone, and only then is the state "exited".
func (c *container) finish(exit backend.Exit) {
	if err := c.group.kill(); err != nil {
		slog.Error("end processes", "err", err)
	}
	c.output.drain()
	exit.OOM = exit.Code != 0 && c.group.oomKills() > 0
	if err := c.group.remove(c.isVacated()); err != nil {
		slog.Error("remove cgroups", "err", err)
	}
	removeStubs(c.root.path(), c.stubs)
	if exit.At.IsZero() {
		exit.At = time.Now()
	}
	_ = c.update(func(s *supervise.State) { // it has logged its error
		s.Phase = supervise.PhaseExited
		s.Exit = exit
		s.Left = false
		s.PID, s.PIDStart = 0, 0
	})
	c.mu.Lock()
	c.program = nil
	close(c.ended)
	c.mu.Unlock()
}

// restart waits and starts the process again, where it is to be restarted.
func (c *container) restart(pause time.Duration) bool {
	c.mu.Lock()
	stopping := c.stopping
	c.mu.Unlock()
	if !c.spec.RestartAlways || stopping {
		return false
	}
	select {
	case <-c.wake:
		return false
	case <-c.leaving:
		return false
	case <-time.After(pause):
	}
	c.mu.Lock()
	c.ended = make(chan struct{})
	c.state.Restarts++
	c.mu.Unlock()
	if err := c.start(); err != nil {
		c.failed(err)
		return false
	}
	trim()
	return true
}

// failed records that the command could not be run, and undoes what was made.
func (c *container) failed(err error) {
	if kerr := c.group.kill(); kerr != nil {
		slog.Error("end processes", "err", kerr)
	}
	if c.output != nil {
		c.output.drain()
	}
	if rerr := c.group.remove(false); rerr != nil {
		slog.Error("remove cgroups", "err", rerr)
	}
	removeStubs(c.root.path(), c.stubs)
	_ = c.update(func(s *supervise.State) { // it has logged its error
		s.Phase = supervise.PhaseFailed
		s.Error = supervise.Fail(err)
		s.PID, s.PIDStart = 0, 0
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.ended:
	default:
		close(c.ended)
	}
}

// stop ends the process: its stop signal, then SIGKILL after grace; a negative
// grace sends SIGKILL at once.
func (c *container) stop(ctx context.Context, grace time.Duration) (backend.Exit, error) {
	c.mu.Lock()
	if !c.stopping {
		c.stopping = true
		close(c.wake)
	}
	ended, process := c.ended, c.process
	c.mu.Unlock()
	if grace >= 0 && process != nil {
		if err := c.thaw(); err != nil {
			slog.Warn("thaw", "err", err)
		}
		if err := process.signal(stopSignal(c.spec.StopSignal)); err != nil && !errors.Is(err, os.ErrProcessDone) {
			slog.Warn("send stop signal", "err", err)
		}
		select {
		case <-ended:
		case <-time.After(grace):
		case <-ctx.Done():
			return backend.Exit{}, context.Cause(ctx)
		}
	}
	return c.kill(ctx, ended, process)
}

// soon is within what a namespace ends with its first process.
const soon = 20 * time.Millisecond

// kill makes sure that nothing of the run is left.
func (c *container) kill(ctx context.Context, ended chan struct{}, process process) (backend.Exit, error) {
	select {
	case <-ended:
		return c.current().Exit, nil
	default:
	}
	if process != nil {
		_ = process.signal(unix.SIGKILL) // it may be gone
	}
	// With the first process of a namespace the kernel ends all in it, and sooner than
	// the cgroups are looked through; what is frozen it does not.
	if !c.spec.HostPID {
		select {
		case <-ended:
			return c.current().Exit, nil
		case <-time.After(soon):
		case <-ctx.Done():
			return backend.Exit{}, context.Cause(ctx)
		}
	}
	if err := c.group.kill(); err != nil {
		return backend.Exit{}, err
	}
	select {
	case <-ended:
		return c.current().Exit, nil
	case <-time.After(killPatience):
		return backend.Exit{}, fault.New(supervise.CodeRuntime,
			"a process does not end %s after SIGKILL: %w", killPatience, fault.ErrTimeout)
	case <-ctx.Done():
		return backend.Exit{}, context.Cause(ctx)
	}
}

// thaw lets a paused container go on, since a frozen process takes no signal.
func (c *container) thaw() error {
	if c.current().Phase != supervise.PhasePaused {
		return nil
	}
	return c.pause(false)
}

// pause freezes or thaws all processes.
func (c *container) pause(freeze bool) error {
	state := c.current()
	if !state.Running() {
		return fmt.Errorf("container is %s: %w", state.Phase, fault.ErrNotRunning)
	}
	if err := c.group.freeze(freeze); err != nil {
		return fault.New(supervise.CodeRuntime, "pause: %w", err)
	}
	return c.update(func(s *supervise.State) {
		if !s.Running() {
			return
		}
		s.Phase = supervise.PhaseRunning
		if freeze {
			s.Phase = supervise.PhasePaused
		}
	})
}
