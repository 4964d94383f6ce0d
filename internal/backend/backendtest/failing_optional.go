package backendtest

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/link"
)

// This file passes the optional interfaces of a decorated backend on.

var (
	_ backend.ImagePuller  = (*Failing)(nil)
	_ backend.ImageBuilder = (*Failing)(nil)
	_ backend.ImageStore   = (*Failing)(nil)
	_ backend.Pauser       = (*failingEnclave)(nil)
	_ backend.Suspender    = (*failingEnclave)(nil)
	_ backend.Attacher     = (*failingEnclave)(nil)
	_ backend.LogTaker     = (*failingEnclave)(nil)
	_ backend.Clearer      = (*failingEnclave)(nil)
	_ backend.Shaper       = (*failingEnclave)(nil)
)

func unsupported(method string) error {
	return fmt.Errorf("%s: %w", method, fault.ErrUnsupported)
}

// Images asks the rules, then the backend.
func (f *Failing) Images(ctx context.Context) ([]backend.ImageInfo, error) {
	if err := f.ask("Images", ""); err != nil {
		return nil, err
	}
	if s, ok := f.Backend.(backend.ImageStore); ok {
		return s.Images(ctx)
	}
	return nil, unsupported("Images")
}

// LoadImages asks the rules, then the backend.
func (f *Failing) LoadImages(ctx context.Context, tar io.Reader) ([]backend.ImageInfo, error) {
	if err := f.ask("LoadImages", ""); err != nil {
		return nil, err
	}
	if s, ok := f.Backend.(backend.ImageStore); ok {
		return s.LoadImages(ctx, tar)
	}
	return nil, unsupported("LoadImages")
}

// RemoveImage asks the rules, then the backend.
func (f *Failing) RemoveImage(ctx context.Context, ref string) error {
	if err := f.ask("RemoveImage", ref); err != nil {
		return err
	}
	if s, ok := f.Backend.(backend.ImageStore); ok {
		return s.RemoveImage(ctx, ref)
	}
	return unsupported("RemoveImage")
}

func (e *failingEnclave) Pause(ctx context.Context, name backend.ServiceName) error {
	if err := e.f.ask("Pause", string(name)); err != nil {
		return err
	}
	if p, ok := e.Enclave.(backend.Pauser); ok {
		return p.Pause(ctx, name)
	}
	return unsupported("Pause")
}

func (e *failingEnclave) Unpause(ctx context.Context, name backend.ServiceName) error {
	if err := e.f.ask("Unpause", string(name)); err != nil {
		return err
	}
	if p, ok := e.Enclave.(backend.Pauser); ok {
		return p.Unpause(ctx, name)
	}
	return unsupported("Unpause")
}

func (e *failingEnclave) Suspend(ctx context.Context, grace time.Duration) error {
	if err := e.f.ask("Suspend", ""); err != nil {
		return err
	}
	if s, ok := e.Enclave.(backend.Suspender); ok {
		return s.Suspend(ctx, grace)
	}
	return unsupported("Suspend")
}

func (e *failingEnclave) Resume(ctx context.Context) error {
	if err := e.f.ask("Resume", ""); err != nil {
		return err
	}
	if s, ok := e.Enclave.(backend.Suspender); ok {
		return s.Resume(ctx)
	}
	return unsupported("Resume")
}

func (e *failingEnclave) Attach(ctx context.Context, name backend.ServiceName, spec backend.ExecSpec) (backend.Process, error) {
	if err := e.f.ask("Attach", string(name)); err != nil {
		return nil, err
	}
	if a, ok := e.Enclave.(backend.Attacher); ok {
		return a.Attach(ctx, name, spec)
	}
	return nil, unsupported("Attach")
}

func (e *failingEnclave) LogTo(ctx context.Context, name backend.ServiceName, stream backend.Stream) (io.WriteCloser, error) {
	if err := e.f.ask("LogTo", string(name)); err != nil {
		return nil, err
	}
	if t, ok := e.Enclave.(backend.LogTaker); ok {
		return t.LogTo(ctx, name, stream)
	}
	return nil, unsupported("LogTo")
}

func (e *failingEnclave) Clear(ctx context.Context, name backend.ServiceName) error {
	if err := e.f.ask("Clear", string(name)); err != nil {
		return err
	}
	if c, ok := e.Enclave.(backend.Clearer); ok {
		return c.Clear(ctx, name)
	}
	return unsupported("Clear")
}

// Shape asks the rules, then the backend.
func (e *failingEnclave) Shape(ctx context.Context, t link.Table) error {
	if err := e.f.ask("Shape", ""); err != nil {
		return err
	}
	if s, ok := e.Enclave.(backend.Shaper); ok {
		return s.Shape(ctx, t)
	}
	return unsupported("Shape")
}

// LinkStats asks the rules, then the backend.
func (e *failingEnclave) LinkStats(ctx context.Context) ([]link.Stats, error) {
	if err := e.f.ask("LinkStats", ""); err != nil {
		return nil, err
	}
	if s, ok := e.Enclave.(backend.Shaper); ok {
		return s.LinkStats(ctx)
	}
	return nil, unsupported("LinkStats")
}
