package native

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/netip"
	"os"
	"sync"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
)

// This file looks into services: state, commands, files, logs, connections.

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Inspect tells a service's state.
func (e *Enclave) Inspect(ctx context.Context, name backend.ServiceName) (backend.Status, error) {
	ctx, cancel := e.bounded(ctx, removeBound, fmt.Sprintf("inspect service %q", name))
	defer cancel()
	s, h, err := e.reach(ctx, name)
	if err != nil {
		return backend.Status{}, err
	}
	state, err := h.State(ctx)
	if err != nil {
		return backend.Status{}, e.named(name, s, err)
	}
	doc := s.record()
	status := backend.Status{
		Name: name, UUID: doc.Spec.UUID, Image: doc.Spec.Image, State: stateOf(state), StartedAt: state.StartedAt,
		Exit: state.Exit, Address: e.addressOf(name), Published: e.board.of(name),
		Entrypoint: doc.Entrypoint, Cmd: doc.Cmd, Env: doc.Env, Restarts: state.Restarts,
	}
	if status.Running() {
		status.PID = state.PID
		status.Listening = e.listening(ctx, name, h)
	}
	if status.Listening == nil {
		status.Listening = []backend.Listening{}
	}
	return status, nil
}

// listening tells what a running service listens on: from the kernel's sock_diag,
// or, where that is missing, from its tables, which cost eight times as much.
func (e *Enclave) listening(ctx context.Context, name backend.ServiceName, h *supervise.Handle) []backend.Listening {
	if n := e.network(); n != nil {
		if found, err := n.Listening(string(e.places.at(name))); err == nil {
			return found
		}
	}
	found, _ := h.Listening(ctx) // it may end at this moment; then there is nothing to tell
	return found
}

func stateOf(s supervise.State) backend.State {
	switch s.Phase {
	case supervise.PhaseRunning, supervise.PhaseStarting:
		return backend.StateRunning
	case supervise.PhasePaused:
		return backend.StatePaused
	}
	return backend.StateExited
}

// Wait waits for the service's process to end.
func (e *Enclave) Wait(ctx context.Context, name backend.ServiceName) (backend.Exit, error) {
	ctx, cancel := e.joined(ctx)
	defer cancel()
	s, h, err := e.reach(ctx, name)
	if err != nil {
		return backend.Exit{}, err
	}
	exit, err := h.Wait(ctx)
	return exit, e.named(name, s, err)
}

// joined gives a context that ends with ctx or the enclave, for calls that may
// take as long as they like.
func (e *Enclave) joined(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(e.life, func() { cancel(context.Cause(e.life)) })
	return ctx, func() { stop(); cancel(nil) }
}

// Exec runs a command in a running service.
func (e *Enclave) Exec(ctx context.Context, name backend.ServiceName, spec backend.ExecSpec) (int, error) {
	ctx, cancel := e.joined(ctx)
	defer cancel()
	s, h, err := e.reach(ctx, name)
	if err != nil {
		return 0, err
	}
	code, err := h.Exec(ctx, spec)
	return code, e.named(name, s, err)
}

// Attach starts a command in a running service.
func (e *Enclave) Attach(ctx context.Context, name backend.ServiceName, spec backend.ExecSpec) (backend.Process, error) {
	s, h, err := e.reach(ctx, name)
	if err != nil {
		return nil, err
	}
	p, err := h.Attach(ctx, spec)
	if err != nil {
		return nil, e.named(name, s, err)
	}
	return p, nil
}

// LogTo gives a writer into a service's log.
func (e *Enclave) LogTo(ctx context.Context, name backend.ServiceName, stream backend.Stream) (io.WriteCloser, error) {
	s, h, err := e.reach(ctx, name)
	if err != nil {
		return nil, err
	}
	w, err := h.LogTo(stream)
	return w, e.named(name, s, err)
}

// Files gives a tar of a path.
func (e *Enclave) Files(ctx context.Context, name backend.ServiceName, path string) (io.ReadCloser, error) {
	s, h, err := e.reach(ctx, name)
	if err != nil {
		return nil, err
	}
	r, err := h.Files(ctx, path)
	if err != nil {
		return nil, e.named(name, s, err)
	}
	return r, nil
}

// CopyIn unpacks a tar into a directory.
func (e *Enclave) CopyIn(ctx context.Context, name backend.ServiceName, dir string, tar io.Reader) error {
	s, h, err := e.reach(ctx, name)
	if err != nil {
		return err
	}
	return diskFault(fmt.Sprintf("copy into service %q", name), e.named(name, s, h.CopyIn(ctx, dir, tar)))
}

// Logs yields the stored output.
func (e *Enclave) Logs(ctx context.Context, name backend.ServiceName, q backend.LogQuery) iter.Seq2[backend.LogLine, error] {
	return func(yield func(backend.LogLine, error) bool) {
		ctx, free := e.joined(ctx)
		defer free()
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		s, h, err := e.reach(ctx, name)
		if err != nil {
			yield(backend.LogLine{}, err)
			return
		}
		// A follower of a file that is gone may never hear of it.
		stop := endWith(s.gone, cancel)
		defer stop()
		for line, err := range h.Logs(ctx, q) {
			if errors.Is(err, errRemoved) {
				return
			}
			if !yield(line, e.named(name, s, err)) || err != nil {
				return
			}
		}
	}
}

// errRemoved is the cause of an end that comes with a service's removal.
var errRemoved = errors.New("the service was removed")

// endWith cancels once gone is closed, until stop, which waits for it to be over.
func endWith(gone <-chan struct{}, cancel context.CancelCauseFunc) (stop func()) {
	quit := make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() {
		select {
		case <-gone:
			cancel(errRemoved)
		case <-quit:
		}
	})
	return func() { close(quit); work.Wait() }
}

// Dial opens a connection to a port of a service.
func (e *Enclave) Dial(ctx context.Context, name backend.ServiceName, proto backend.Transport, port uint16) (net.Conn, error) {
	ctx, cancel := e.joined(ctx)
	defer cancel()
	if _, err := e.find(ctx, name); err != nil {
		return nil, err
	}
	n, err := e.connect(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := n.Dial(ctx, proto, netip.AddrPortFrom(e.addressOf(name).IP, port))
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		return nil, fmt.Errorf("dial %s port %d of service %q: %w", proto, port, name, err)
	}
	return conn, nil
}
