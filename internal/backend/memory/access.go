package memory

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"net"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file looks into services: state, commands, files, logs, connections.

// Inspect tells a service's state.
func (e *Enclave) Inspect(ctx context.Context, name backend.ServiceName) (backend.Status, error) {
	s, err := e.find(ctx, name)
	if err != nil {
		return backend.Status{}, err
	}
	return s.status(), nil
}

// Wait waits for the service's process to end.
func (e *Enclave) Wait(ctx context.Context, name backend.ServiceName) (backend.Exit, error) {
	s, err := e.find(ctx, name)
	if err != nil {
		return backend.Exit{}, err
	}
	s.mu.Lock()
	main := s.main
	s.mu.Unlock()
	select {
	case <-main.done:
		return main.exit, nil
	case <-ctx.Done():
		return backend.Exit{}, context.Cause(ctx)
	}
}

// Exec runs a command in a running service.
func (e *Enclave) Exec(ctx context.Context, name backend.ServiceName, spec backend.ExecSpec) (int, error) {
	p, err := e.Attach(ctx, name, spec)
	if err != nil {
		return 0, err
	}
	code, err := p.Wait()
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	return code, err
}

// Attach starts a command in a running service. It is killed with the context.
func (e *Enclave) Attach(ctx context.Context, name backend.ServiceName, spec backend.ExecSpec) (backend.Process, error) {
	s, err := e.find(ctx, name)
	if err != nil {
		return nil, err
	}
	if spec.TTY {
		return nil, fmt.Errorf("terminal in %q: %w", name, fault.ErrUnsupported)
	}
	run, err := s.exec(spec)
	if err != nil {
		return nil, err
	}
	return &attached{run: run, release: context.AfterFunc(ctx, func() { run.signal(sigKILL) })}, nil
}

// attached is a command that Attach started.
type attached struct {
	run     *process
	release func() bool
}

func (a *attached) Resize(cols, rows uint16) error {
	return fmt.Errorf("resize: no terminal: %w", fault.ErrUnsupported)
}

func (a *attached) Signal(signal int) error {
	a.run.signal(signal)
	return nil
}

func (a *attached) Wait() (int, error) {
	<-a.run.done
	a.release()
	return a.run.exit.Code, nil
}

// LogTo gives a writer into a service's log.
func (e *Enclave) LogTo(ctx context.Context, name backend.ServiceName, stream backend.Stream) (io.WriteCloser, error) {
	s, err := e.find(ctx, name)
	if err != nil {
		return nil, err
	}
	return &lineWriter{to: s.log, stream: stream}, nil
}

// Files gives a tar of a path.
func (e *Enclave) Files(ctx context.Context, name backend.ServiceName, path string) (io.ReadCloser, error) {
	s, err := e.find(ctx, name)
	if err != nil {
		return nil, err
	}
	data, err := s.files.pack(path)
	if err != nil {
		return nil, fmt.Errorf("files of %q: %w", name, err)
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

// CopyIn unpacks a tar into a directory.
func (e *Enclave) CopyIn(ctx context.Context, name backend.ServiceName, dir string, tar io.Reader) error {
	s, err := e.find(ctx, name)
	if err != nil {
		return err
	}
	if err := s.files.unpack(dir, tar); err != nil {
		return fmt.Errorf("copy into %q: %w", name, err)
	}
	return nil
}

// Logs yields the stored output.
func (e *Enclave) Logs(ctx context.Context, name backend.ServiceName, q backend.LogQuery) iter.Seq2[backend.LogLine, error] {
	s, err := e.find(ctx, name)
	if err != nil {
		return func(yield func(backend.LogLine, error) bool) { yield(backend.LogLine{}, err) }
	}
	return s.log.read(ctx, q)
}

// Dial opens a connection to a port of a service.
func (e *Enclave) Dial(ctx context.Context, name backend.ServiceName, proto backend.Transport, port uint16) (net.Conn, error) {
	s, err := e.find(ctx, name)
	if err != nil {
		return nil, err
	}
	return s.dial(ctx, proto, port)
}
