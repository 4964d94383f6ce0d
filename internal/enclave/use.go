package enclave

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file is what one does with services that are there. None of it waits for
// operations that change them: a readiness check runs inside one.

// locate finds a service and the backend's handle of the enclave.
func (e *Enclave) locate(ctx context.Context, identifier string) (backend.Enclave, backend.ServiceName, error) {
	row, err := e.resolve(identifier)
	if err != nil {
		return nil, "", err
	}
	handle, err := e.open(ctx)
	return handle, backend.ServiceName(row.Name), err
}

// notRunning turns a backend's ErrNotRunning, or want of the service, into an
// E0347 that says what became of it.
func (e *Enclave) notRunning(ctx context.Context, handle backend.Enclave, name backend.ServiceName, err error) error {
	if err == nil || !errors.Is(err, fault.ErrNotRunning) && !errors.Is(err, fault.ErrNotFound) {
		return err
	}
	if ended := e.endOf(ctx, handle, name); ended != nil {
		return ended
	}
	return err
}

// endOf gives an E0347 that says how a service's process ended; nil if it runs.
func (e *Enclave) endOf(ctx context.Context, handle backend.Enclave, name backend.ServiceName) *fault.Fault {
	f := fault.New("E0347", "service %q is not running", name)
	status, inspected := handle.Inspect(ctx, name)
	if inspected == nil && status.Running() {
		return nil
	}
	if exit := status.Exit; inspected == nil && !exit.At.IsZero() {
		f = fault.New("E0347", "service %q is not running: it %s", name, ending(exit))
	}
	f.Cause = fault.ErrNotRunning
	return f.WithEvidence("last log lines of "+string(name), e.lastLines(ctx, handle, string(name))...).
		WithHint("start it: lepto service start %s %s", e.Name(), name)
}

// ending says how a process ended, after "it".
func ending(exit backend.Exit) string {
	switch {
	case exit.OOM:
		return "was killed, out of memory"
	case exit.Signal != 0:
		return fmt.Sprintf("was killed by signal %d (%s)", exit.Signal, signalName(exit.Signal))
	}
	return fmt.Sprintf("exited with code %d", exit.Code)
}

// Exec runs a command in a service and gives its exit code. E0347 if the
// service does not run.
func (e *Enclave) Exec(ctx context.Context, identifier string, spec backend.ExecSpec) (int, error) {
	ctx, done := e.bind(ctx)
	defer done()
	handle, name, err := e.locate(ctx, identifier)
	if err != nil {
		return 0, err
	}
	code, err := handle.Exec(ctx, name, spec)
	return code, e.notRunning(ctx, handle, name, err)
}

// Attach starts a command in a service with a terminal or pipes, and returns
// while it runs. It ends with ctx.
func (e *Enclave) Attach(ctx context.Context, identifier string, spec backend.ExecSpec) (backend.Process, error) {
	handle, name, err := e.locate(ctx, identifier)
	if err != nil {
		return nil, err
	}
	attacher, ok := handle.(backend.Attacher)
	if !ok {
		f := fault.New("E0354", "the %s backend can't attach to a service", e.m.backend.Name())
		f.Cause = fault.ErrUnsupported
		return nil, f
	}
	process, err := attacher.Attach(ctx, name, spec)
	return process, e.notRunning(ctx, handle, name, err)
}

// Logs yields a service's stored output, oldest first. That of a removed
// service is gone.
func (e *Enclave) Logs(ctx context.Context, identifier string, q backend.LogQuery) iter.Seq2[backend.LogLine, error] {
	return func(yield func(backend.LogLine, error) bool) {
		ctx, done := e.bind(ctx)
		defer done()
		handle, name, err := e.locate(ctx, identifier)
		if err != nil {
			yield(backend.LogLine{}, err)
			return
		}
		for line, err := range handle.Logs(ctx, name, q) {
			if errors.Is(err, fault.ErrNotFound) {
				return // it never wrote anything
			}
			if !yield(line, err) || err != nil {
				return
			}
		}
	}
}

// Dial opens a connection to a port of a service, declared or not.
func (e *Enclave) Dial(ctx context.Context, identifier string, proto backend.Transport, port uint16) (net.Conn, error) {
	handle, name, err := e.locate(ctx, identifier)
	if err != nil {
		return nil, err
	}
	conn, err := handle.Dial(ctx, name, proto, port)
	if err != nil {
		return nil, e.notRunning(ctx, handle, name, fmt.Errorf("service %q, port %d: %w", name, port, err))
	}
	return conn, nil
}

// Files gives a tar of a path in a service, running or stopped.
func (e *Enclave) Files(ctx context.Context, identifier, path string) (io.ReadCloser, error) {
	handle, name, err := e.locate(ctx, identifier)
	if err != nil {
		return nil, err
	}
	files, err := handle.Files(ctx, name, path)
	if err != nil {
		return nil, fmt.Errorf("service %q, files at %s: %w", name, path, err)
	}
	return files, nil
}

// CopyIn unpacks a tar into a directory of a service, running or stopped.
func (e *Enclave) CopyIn(ctx context.Context, identifier, dir string, tar io.Reader) error {
	handle, name, err := e.locate(ctx, identifier)
	if err != nil {
		return err
	}
	if err := handle.CopyIn(ctx, name, dir, tar); err != nil {
		return fmt.Errorf("service %q, copy to %s: %w", name, dir, err)
	}
	return nil
}

// codeImage is the fault of an image that could not be made available, where the
// reason has no code of its own.
const codeImage = "E0352"

// EnsureImage makes an image available to services: pulled, or built where it
// says how. E0350 and E0351 if the backend can do neither, E0352 if it failed.
func (e *Enclave) EnsureImage(ctx context.Context, image Image, policy backend.PullPolicy, progress backend.ProgressFunc) (backend.ImageInfo, error) {
	ctx, done := e.bind(ctx)
	defer done()
	return e.m.ensureImage(ctx, image, policy, progress)
}

func (m *Manager) ensureImage(ctx context.Context, image Image, policy backend.PullPolicy, progress backend.ProgressFunc) (backend.ImageInfo, error) {
	unable := func(code, verb string, ability backend.Ability) error {
		f := fault.New(code, "the %s backend can't %s image %q", m.backend.Name(), verb, image.Ref)
		f.Cause = fault.ErrUnsupported
		return f.WithHint("%s", m.backend.Capabilities().Missing[ability])
	}
	var info backend.ImageInfo
	var err error
	if build := image.Build; build != nil {
		builder, ok := m.backend.(backend.ImageBuilder)
		if !ok {
			return info, unable("E0351", "build", backend.AbilityBuildImages)
		}
		info, err = builder.BuildImage(ctx, backend.BuildSpec{
			Tag: image.Ref, ContextDir: build.ContextDir, Dockerfile: build.Dockerfile, Target: build.Target, Args: build.Args,
		}, progress)
	} else {
		puller, ok := m.backend.(backend.ImagePuller)
		if !ok {
			return info, unable("E0350", "pull", backend.AbilityPullImages)
		}
		info, err = puller.EnsureImage(ctx, backend.ImageRequest{
			Ref: image.Ref, Policy: policy,
			Registry: image.Registry, Username: image.Username, Password: image.Password,
		}, progress)
	}
	if err == nil {
		return info, nil
	}
	f := *fault.From(err, codeImage)
	if f.Code == codeImage { // no room below has said which image it is
		f.Summary = fmt.Sprintf("image %q: %s", image.Ref, f.Summary)
	}
	return info, &f
}
