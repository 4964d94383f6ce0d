package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// A Handle is a container in a folder, in whatever phase. It holds nothing
// open, and any number of them may be used at once. A method that meets a dead
// supervisor has a new one take over, and goes on with that.
type Handle struct {
	dir      string
	launcher Launcher
}

// Dir gives the container's folder.
func (h *Handle) Dir() string { return h.dir }

// State tells how the container is. While its process is there, or once it has
// ended for good, the record in the folder says it all, and the supervisor is
// left in peace; otherwise it is asked.
func (h *Handle) State(ctx context.Context) (State, error) {
	if state, err := ReadState(h.dir); err == nil {
		if state.Phase == PhaseExited || state.Phase == PhaseFailed {
			return state, nil
		}
		if process, err := state.OpenProcess(); err == nil && state.Running() {
			process.Close()
			return state, nil
		}
	}
	reply, err := h.ask(ctx, Request{Op: OpState})
	if err != nil {
		return State{}, err
	}
	return *reply.State, nil
}

// Stop ends the container: its stop signal, then SIGKILL to all its processes
// after grace. It gives the exit, which is the last one if nothing runs.
func (h *Handle) Stop(ctx context.Context, grace time.Duration) (backend.Exit, error) {
	return h.exit(ctx, Request{Op: OpStop, Grace: grace})
}

// Kill ends the container with SIGKILL. A container that is to be restarted
// always is not.
func (h *Handle) Kill(ctx context.Context) error {
	_, err := h.exit(ctx, Request{Op: OpKill})
	return err
}

// Wait blocks until the container's process ends, and gives its exit; at once
// if it does not run.
func (h *Handle) Wait(ctx context.Context) (backend.Exit, error) {
	return h.exit(ctx, Request{Op: OpWait})
}

// Pause freezes all processes of the container. fault.ErrNotRunning if it does
// not run. Idempotent.
func (h *Handle) Pause(ctx context.Context) error { return h.freeze(ctx, OpPause) }

// Unpause lets them go on. Idempotent.
func (h *Handle) Unpause(ctx context.Context) error { return h.freeze(ctx, OpUnpause) }

func (h *Handle) freeze(ctx context.Context, op Op) error {
	reply, err := h.ask(ctx, Request{Op: op})
	if err == nil && reply.State != nil {
		return fmt.Errorf("container is %s: %w", reply.State.Phase, fault.ErrNotRunning)
	}
	return err
}

// exit makes a request that is answered by the end of the process.
func (h *Handle) exit(ctx context.Context, req Request) (backend.Exit, error) {
	reply, err := h.ask(ctx, req)
	if err != nil {
		return backend.Exit{}, err
	}
	if reply.Exit != nil {
		return *reply.Exit, nil
	}
	return reply.State.Exit, nil
}

// ask makes a request. If the container has ended and no supervisor is there
// any more, the reply is its last state, whatever was asked for.
func (h *Handle) ask(ctx context.Context, req Request) (Reply, error) {
	for {
		reply, err := h.request(ctx, req)
		if !errors.Is(err, errGone) {
			return reply, err
		}
		if _, err := h.launcher.Adopt(ctx, h.dir); err != nil {
			return Reply{}, err
		}
		state, err := ReadState(h.dir)
		if err != nil {
			return Reply{}, err
		}
		if state.Phase == PhaseFailed || state.Phase == PhaseExited && !h.supervised(ctx) {
			return Reply{State: &state}, nil
		}
	}
}

// supervised reports whether a supervisor is there.
func (h *Handle) supervised(ctx context.Context) bool {
	conn, err := h.dial(ctx)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// request makes a request to a live supervisor; errGone if there is none.
func (h *Handle) request(ctx context.Context, req Request) (Reply, error) {
	conn, err := h.dial(ctx)
	if err != nil {
		return Reply{}, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var reply Reply
	err = Send(conn, req)
	if err == nil {
		var files []*os.File
		files, err = Receive(conn, &reply)
		closeAll(files)
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return Reply{}, cause
		}
		return Reply{}, errGone
	}
	return reply, reply.Error.Err()
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// Destroy ends the container and its supervisor and removes what they have in
// the kernel. The caller removes the folder. Idempotent, also for a folder that
// is gone.
func (h *Handle) Destroy(ctx context.Context) error {
	_, err := h.request(ctx, Request{Op: OpDestroy})
	if err != nil && !errors.Is(err, errGone) {
		return err
	}
	if err := h.released(ctx); err != nil {
		return err
	}
	spec, err := ReadSpec(h.dir)
	if errors.Is(err, fault.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	state, err := ReadState(h.dir)
	ended := err == nil && (state.Phase == PhaseExited || state.Phase == PhaseFailed)
	if ended && !cgroupExists(spec.CgroupName) {
		return nil
	}
	return h.launcher.reap(ctx, h.dir)
}

// released waits until no supervisor holds the folder's lock any more: one that
// has recorded the end of its container goes within milliseconds.
func (h *Handle) released(ctx context.Context) error {
	f, err := os.OpenFile(filepath.Join(h.dir, fileLock), os.O_RDWR, 0)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	ctx, cancel := context.WithTimeoutCause(ctx, 15*time.Second, errTooLong)
	defer cancel()
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil || !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// cgroupExists looks for a cgroup in all hierarchies: /sys/fs/cgroup is one
// (v2), or holds one a directory (v1, hybrid).
func cgroupExists(name string) bool {
	name = strings.Trim(name, "/")
	found, _ := filepath.Glob(filepath.Join("/sys/fs/cgroup/*", name))
	if len(found) > 0 {
		return true
	}
	_, err := os.Stat(filepath.Join("/sys/fs/cgroup", name))
	return err == nil
}

func splitLines(data []byte) []string {
	return strings.Split(strings.TrimRight(string(data), "\n"), "\n")
}
