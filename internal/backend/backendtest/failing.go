package backendtest

import (
	"context"
	"io"
	"iter"
	"net"
	"sync"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
)

// Failing decorates a backend: calls fail as a test wants them to, all others
// go through. The optional interfaces of what it decorates stay; those that are
// missing answer fault.ErrUnsupported.
type Failing struct {
	backend.Backend
	mu    sync.Mutex
	rules map[string]func(call Call) error
	calls []Call
}

// Call is one call of a method. Service is empty where the method has none;
// for EnsureImage it is the reference, for BuildImage the tag.
type Call struct {
	Method  string // "Start", "EnsureImage", …
	Service string
}

// NewFailing decorates a backend that fails nothing yet.
func NewFailing(b backend.Backend) *Failing {
	return &Failing{Backend: b, rules: map[string]func(Call) error{}}
}

// Fail makes every call of a method ask f first; an error is the call's result.
// f may block, too. A nil f lets the method through again.
func (f *Failing) Fail(method string, rule func(Call) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules[method] = rule
}

// FailWith makes every call of a method fail with err.
func (f *Failing) FailWith(method string, err error) {
	f.Fail(method, func(Call) error { return err })
}

// FailOn makes a method fail for one service only.
func (f *Failing) FailOn(method string, name backend.ServiceName, err error) {
	f.Fail(method, func(c Call) error {
		if c.Service == string(name) {
			return err
		}
		return nil
	})
}

// Calls gives the calls so far, in the order in which they came.
func (f *Failing) Calls() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Call(nil), f.calls...)
}

func (f *Failing) ask(method, service string) error {
	call := Call{method, service}
	f.mu.Lock()
	rule := f.rules[method]
	f.calls = append(f.calls, call)
	f.mu.Unlock()
	if rule == nil {
		return nil
	}
	return rule(call)
}

// CreateEnclave asks the rules, then the backend.
func (f *Failing) CreateEnclave(ctx context.Context, spec backend.EnclaveSpec) (backend.Enclave, error) {
	if err := f.ask("CreateEnclave", ""); err != nil {
		return nil, err
	}
	e, err := f.Backend.CreateEnclave(ctx, spec)
	if err != nil {
		return nil, err
	}
	return &failingEnclave{e, f}, nil
}

// OpenEnclave asks the rules, then the backend.
func (f *Failing) OpenEnclave(ctx context.Context, id backend.EnclaveID) (backend.Enclave, error) {
	if err := f.ask("OpenEnclave", ""); err != nil {
		return nil, err
	}
	e, err := f.Backend.OpenEnclave(ctx, id)
	if err != nil {
		return nil, err
	}
	return &failingEnclave{e, f}, nil
}

// Enclaves asks the rules, then the backend.
func (f *Failing) Enclaves(ctx context.Context) ([]backend.EnclaveID, error) {
	if err := f.ask("Enclaves", ""); err != nil {
		return nil, err
	}
	return f.Backend.Enclaves(ctx)
}

// EnsureImage asks the rules, then the backend.
func (f *Failing) EnsureImage(ctx context.Context, req backend.ImageRequest, progress backend.ProgressFunc) (backend.ImageInfo, error) {
	if err := f.ask("EnsureImage", req.Ref); err != nil {
		return backend.ImageInfo{}, err
	}
	if p, ok := f.Backend.(backend.ImagePuller); ok {
		return p.EnsureImage(ctx, req, progress)
	}
	return backend.ImageInfo{}, unsupported("EnsureImage")
}

// BuildImage asks the rules, then the backend.
func (f *Failing) BuildImage(ctx context.Context, spec backend.BuildSpec, progress backend.ProgressFunc) (backend.ImageInfo, error) {
	if err := f.ask("BuildImage", spec.Tag); err != nil {
		return backend.ImageInfo{}, err
	}
	if b, ok := f.Backend.(backend.ImageBuilder); ok {
		return b.BuildImage(ctx, spec, progress)
	}
	return backend.ImageInfo{}, unsupported("BuildImage")
}

// failingEnclave is an enclave of a Failing.
type failingEnclave struct {
	backend.Enclave
	f *Failing
}

func (e *failingEnclave) Reserve(ctx context.Context, name backend.ServiceName) (backend.Address, error) {
	if err := e.f.ask("Reserve", string(name)); err != nil {
		return backend.Address{}, err
	}
	return e.Enclave.Reserve(ctx, name)
}

func (e *failingEnclave) Start(ctx context.Context, spec backend.ServiceSpec) error {
	if err := e.f.ask("Start", string(spec.Name)); err != nil {
		return err
	}
	return e.Enclave.Start(ctx, spec)
}

func (e *failingEnclave) Stop(ctx context.Context, name backend.ServiceName, grace time.Duration) (backend.Exit, error) {
	if err := e.f.ask("Stop", string(name)); err != nil {
		return backend.Exit{}, err
	}
	return e.Enclave.Stop(ctx, name, grace)
}

func (e *failingEnclave) Restart(ctx context.Context, name backend.ServiceName) error {
	if err := e.f.ask("Restart", string(name)); err != nil {
		return err
	}
	return e.Enclave.Restart(ctx, name)
}

func (e *failingEnclave) Remove(ctx context.Context, name backend.ServiceName) error {
	if err := e.f.ask("Remove", string(name)); err != nil {
		return err
	}
	return e.Enclave.Remove(ctx, name)
}

func (e *failingEnclave) Services(ctx context.Context) ([]backend.ServiceName, error) {
	if err := e.f.ask("Services", ""); err != nil {
		return nil, err
	}
	return e.Enclave.Services(ctx)
}

func (e *failingEnclave) Inspect(ctx context.Context, name backend.ServiceName) (backend.Status, error) {
	if err := e.f.ask("Inspect", string(name)); err != nil {
		return backend.Status{}, err
	}
	return e.Enclave.Inspect(ctx, name)
}

func (e *failingEnclave) Wait(ctx context.Context, name backend.ServiceName) (backend.Exit, error) {
	if err := e.f.ask("Wait", string(name)); err != nil {
		return backend.Exit{}, err
	}
	return e.Enclave.Wait(ctx, name)
}

func (e *failingEnclave) Exec(ctx context.Context, name backend.ServiceName, spec backend.ExecSpec) (int, error) {
	if err := e.f.ask("Exec", string(name)); err != nil {
		return 0, err
	}
	return e.Enclave.Exec(ctx, name, spec)
}

func (e *failingEnclave) Files(ctx context.Context, name backend.ServiceName, path string) (io.ReadCloser, error) {
	if err := e.f.ask("Files", string(name)); err != nil {
		return nil, err
	}
	return e.Enclave.Files(ctx, name, path)
}

func (e *failingEnclave) CopyIn(ctx context.Context, name backend.ServiceName, dir string, tar io.Reader) error {
	if err := e.f.ask("CopyIn", string(name)); err != nil {
		return err
	}
	return e.Enclave.CopyIn(ctx, name, dir, tar)
}

func (e *failingEnclave) Logs(ctx context.Context, name backend.ServiceName, q backend.LogQuery) iter.Seq2[backend.LogLine, error] {
	if err := e.f.ask("Logs", string(name)); err != nil {
		return func(yield func(backend.LogLine, error) bool) { yield(backend.LogLine{}, err) }
	}
	return e.Enclave.Logs(ctx, name, q)
}

func (e *failingEnclave) Dial(ctx context.Context, name backend.ServiceName, proto backend.Transport, port uint16) (net.Conn, error) {
	if err := e.f.ask("Dial", string(name)); err != nil {
		return nil, err
	}
	return e.Enclave.Dial(ctx, name, proto, port)
}

func (e *failingEnclave) Destroy(ctx context.Context) error {
	if err := e.f.ask("Destroy", ""); err != nil {
		return err
	}
	return e.Enclave.Destroy(ctx)
}
