package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/lepto-dev/lepto/internal/fault"
)

// A Launcher starts supervisors. lepto-filter lies beside lepto-supervisor.
type Launcher struct {
	Supervisor string // path of lepto-supervisor
	Init       string // path of lepto-init
}

// startPatience bounds a start, and the wait for another supervisor's: it takes
// tens of milliseconds, on a machine that is overloaded seconds.
const startPatience = time.Minute

var (
	errTooLong = fmt.Errorf("the supervisor does not answer: %w", fault.ErrTimeout)
	// errGone: no supervisor is in charge of the folder, or it went away before
	// it answered.
	errGone = errors.New("the supervisor is gone")
)

// Start makes a container and returns once its command runs. Its folder is made
// if need be; in one that held a container before, the container's written
// files are kept, so Start also restarts. If the command can't be run the error
// is a *fault.Fault with one of the codes above, and nothing is left but the
// folder. fault.ErrExists if a container runs there already.
func (l Launcher) Start(ctx context.Context, spec Spec) (*Handle, error) {
	if err := spec.validate(); err != nil {
		return nil, err
	}
	h := &Handle{dir: spec.Dir, launcher: l}
	if conn, err := h.dial(ctx); err == nil {
		conn.Close()
		if state, err := ReadState(spec.Dir); err != nil || state.Running() || state.Phase == PhaseStarting {
			return nil, fmt.Errorf("container %s: %w", spec.ID, fault.ErrExists)
		}
	}
	if err := os.MkdirAll(filepath.Join(spec.Dir, dirLog), 0o700); err != nil {
		return nil, err
	}
	if err := WriteJSON(filepath.Join(spec.Dir, fileSpec), spec); err != nil {
		return nil, err
	}
	ready, err := l.spawn(ctx, startPatience, spec.Dir, "run")
	if err != nil {
		// Whatever it has made is taken away, also when ctx has ended.
		return nil, errors.Join(err, l.undo(context.WithoutCancel(ctx), spec.Dir, err))
	}
	if ready.Error != nil {
		return nil, ready.Error.Err()
	}
	return h, nil
}

func (s Spec) validate() error {
	switch {
	case s.ID == "", !filepath.IsAbs(s.Dir), s.CgroupName == "":
		return fmt.Errorf("container %q in %q with cgroup %q: %w", s.ID, s.Dir, s.CgroupName, fault.ErrInvalid)
	case len(s.Args) == 0 || s.Args[0] == "":
		return fault.New(CodeNotFound, "no command: the image names none, and none was given").
			WithHint("give a command (cmd or entrypoint)")
	}
	return nil
}

// Adopt gives a handle on the container of a folder. Where its supervisor has
// died a new one takes over; several callers at once get the same one. What
// was half started is ended, and reported as failed in the handle's state.
// fault.ErrNotFound if the folder never held a container.
func (l Launcher) Adopt(ctx context.Context, dir string) (*Handle, error) {
	if _, err := os.Stat(filepath.Join(dir, fileSpec)); err != nil {
		return nil, fmt.Errorf("container in %s: %w", dir, fault.ErrNotFound)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startPatience, errTooLong)
	defer cancel()
	h := &Handle{dir: dir, launcher: l}
	for {
		if conn, err := h.dial(ctx); err == nil {
			conn.Close()
			return h, nil
		}
		if state, err := ReadState(dir); err == nil && (state.Phase == PhaseExited || state.Phase == PhaseFailed) {
			if spec, err := ReadSpec(dir); err != nil || !spec.RestartAlways || state.Phase == PhaseFailed {
				return h, err
			}
			return h, nil
		}
		ready, err := l.spawn(ctx, startPatience, dir, "adopt")
		switch {
		case err != nil:
			return nil, err
		case ready.Error == nil:
			return h, nil
		case !ready.Busy:
			return nil, ready.Error.Err()
		}
		// The one in charge is about to listen, or to record an end.
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// spawn starts a supervisor in its own session and mount namespace, and waits
// until it tells how its start went. A supervisor that doesn't is killed.
func (l Launcher) spawn(ctx context.Context, patience time.Duration, dir, mode string, args ...string) (Ready, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errTooLong)
	defer cancel()
	readyR, readyW, err := os.Pipe()
	if err != nil {
		return Ready{}, err
	}
	defer readyR.Close()
	defer readyW.Close()
	filter := filepath.Join(filepath.Dir(l.Supervisor), "lepto-filter")
	cmd := l.command(dir, mode, append([]string{l.Init, filter}, args...)...)
	cmd.ExtraFiles = []*os.File{readyW}
	log, err := os.OpenFile(filepath.Join(dir, fileLog), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return Ready{}, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return Ready{}, fmt.Errorf("start the supervisor: %w", err)
	}
	readyW.Close()
	// It outlives this function, by days; only its exit status is collected
	// here, so that it leaves no zombie if it ends before this process does.
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	stop := context.AfterFunc(ctx, func() { readyR.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var ready Ready
	if err := json.NewDecoder(readyR).Decode(&ready); err != nil {
		cmd.Process.Kill()
		<-ended
		if cause := context.Cause(ctx); cause != nil {
			return Ready{}, cause
		}
		return Ready{}, fault.New(CodeRuntime, "the supervisor died while it started: %s", lastLine(log.Name()))
	}
	if ready.State == nil || !ready.State.Running() {
		<-ended // at once: it has nothing left to do
	}
	return ready, nil
}

// command describes a supervisor's process.
func (l Launcher) command(dir, mode string, args ...string) *exec.Cmd {
	//nolint:noctx // it outlives every context of its starter
	cmd := exec.Command(l.Supervisor, append([]string{mode, dir}, args...)...)
	cmd.Dir = "/"
	// Where the kernel gives huge pages to whom did not ask ("always" in
	// /sys/kernel/mm/transparent_hugepage/enabled, as Debian has it), a supervisor
	// would keep 4.6 MB instead of 1.4.
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "GODEBUG=disablethp=1"}
	// A clone of the mount namespace, not an unshared one: Go makes that
	// private, and then mounts that the host lets go would stay in it for good.
	// The supervisor makes its own a slave.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: syscall.CLONE_NEWNS}
	return cmd
}

// reap ends whatever is left of a container without a supervisor.
func (l Launcher) reap(ctx context.Context, dir string) error {
	ready, err := l.spawn(ctx, startPatience, dir, "reap")
	if err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	return ready.Error.Err()
}

// undo takes back a start that nobody has heard the end of, and says so in the
// folder: the supervisor may have died when the command ran already.
func (l Launcher) undo(ctx context.Context, dir string, cause error) error {
	if err := l.reap(ctx, dir); err != nil {
		return err
	}
	state, err := ReadState(dir)
	if err != nil || state.Phase == PhaseFailed {
		return nil //nolint:nilerr // without a state nothing says that it runs
	}
	return WriteState(dir, State{Phase: PhaseFailed, Restarts: state.Restarts, Error: Fail(cause)})
}

// lastLine gives the last line of a file that says something.
func lastLine(path string) string {
	data, err := os.ReadFile(path)
	if err != nil || len(data) == 0 {
		return "it left no message"
	}
	lines := splitLines(data)
	return lines[len(lines)-1]
}

// dial connects to the folder's supervisor; errGone if there is none.
func (h *Handle) dial(ctx context.Context) (*net.UnixConn, error) {
	path, dir, err := SocketPath(h.dir)
	if err != nil {
		return nil, errGone
	}
	defer dir.Close()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		return nil, errGone
	}
	return conn.(*net.UnixConn), nil
}
