package enclave

import (
	"context"
	"errors"
	"io"
	"iter"
	"net"
	"sync"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
)

// errDead is what everything answers once the process under test has died.
var errDead = errors.New("the process is dead")

// A mortality decides when a process dies: at its n-th failpoint. From then on
// neither store nor backend does anything for it any more.
type mortality struct {
	mu    sync.Mutex
	left  int // failpoints to live; negative: for ever
	dead  bool
	point string // where it died
	seen  int
}

// pass goes through a failpoint, dead or alive.
func (m *mortality) pass(point string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen++
	if m.left == 0 && !m.dead {
		m.dead, m.point = true, point
	}
	m.left--
	if m.dead {
		return errDead
	}
	return nil
}

func (m *mortality) alive() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return errDead
	}
	return nil
}

// around is a side effect with a failpoint on either side: a death before it,
// and one before its news arrives.
func (m *mortality) around(point string, do func() error) error {
	if err := m.pass("before " + point); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return m.pass("after " + point)
}

// mortal is a backend as a process that may die sees it.
type mortal struct {
	backend.Backend
	m *mortality
}

func (b mortal) CreateEnclave(ctx context.Context, spec backend.EnclaveSpec) (e backend.Enclave, err error) {
	err = b.m.around("CreateEnclave", func() (err error) {
		e, err = b.Backend.CreateEnclave(ctx, spec)
		return err
	})
	return mortalEnclave{e, b.m}, err
}

func (b mortal) OpenEnclave(ctx context.Context, id backend.EnclaveID) (backend.Enclave, error) {
	if err := b.m.alive(); err != nil {
		return nil, err
	}
	e, err := b.Backend.OpenEnclave(ctx, id)
	return mortalEnclave{e, b.m}, err
}

func (b mortal) Enclaves(ctx context.Context) ([]backend.EnclaveID, error) {
	if err := b.m.alive(); err != nil {
		return nil, err
	}
	return b.Backend.Enclaves(ctx)
}

type mortalEnclave struct {
	backend.Enclave
	m *mortality
}

func (e mortalEnclave) Reserve(ctx context.Context, name backend.ServiceName) (a backend.Address, err error) {
	err = e.m.around("Reserve", func() (err error) {
		a, err = e.Enclave.Reserve(ctx, name)
		return err
	})
	return a, err
}

func (e mortalEnclave) Start(ctx context.Context, spec backend.ServiceSpec) error {
	return e.m.around("Start", func() error { return e.Enclave.Start(ctx, spec) })
}

func (e mortalEnclave) Stop(ctx context.Context, name backend.ServiceName, grace time.Duration) (exit backend.Exit, err error) {
	err = e.m.around("Stop", func() (err error) {
		exit, err = e.Enclave.Stop(ctx, name, grace)
		return err
	})
	return exit, err
}

func (e mortalEnclave) Restart(ctx context.Context, name backend.ServiceName) error {
	return e.m.around("Restart", func() error { return e.Enclave.Restart(ctx, name) })
}

func (e mortalEnclave) Remove(ctx context.Context, name backend.ServiceName) error {
	return e.m.around("Remove", func() error { return e.Enclave.Remove(ctx, name) })
}

func (e mortalEnclave) Clear(ctx context.Context, name backend.ServiceName) error {
	return e.m.around("Clear", func() error { return e.Enclave.(backend.Clearer).Clear(ctx, name) })
}

func (e mortalEnclave) Destroy(ctx context.Context) error {
	return e.m.around("Destroy", func() error { return e.Enclave.Destroy(ctx) })
}

func (e mortalEnclave) Services(ctx context.Context) ([]backend.ServiceName, error) {
	if err := e.m.alive(); err != nil {
		return nil, err
	}
	return e.Enclave.Services(ctx)
}

func (e mortalEnclave) Inspect(ctx context.Context, name backend.ServiceName) (backend.Status, error) {
	if err := e.m.alive(); err != nil {
		return backend.Status{}, err
	}
	return e.Enclave.Inspect(ctx, name)
}

func (e mortalEnclave) Wait(ctx context.Context, name backend.ServiceName) (backend.Exit, error) {
	if err := e.m.alive(); err != nil {
		return backend.Exit{}, err
	}
	return e.Enclave.Wait(ctx, name)
}

func (e mortalEnclave) Exec(ctx context.Context, name backend.ServiceName, spec backend.ExecSpec) (int, error) {
	if err := e.m.alive(); err != nil {
		return 0, err
	}
	return e.Enclave.Exec(ctx, name, spec)
}

func (e mortalEnclave) Files(ctx context.Context, name backend.ServiceName, path string) (io.ReadCloser, error) {
	if err := e.m.alive(); err != nil {
		return nil, err
	}
	return e.Enclave.Files(ctx, name, path)
}

func (e mortalEnclave) Logs(ctx context.Context, name backend.ServiceName, q backend.LogQuery) iter.Seq2[backend.LogLine, error] {
	if err := e.m.alive(); err != nil {
		return func(yield func(backend.LogLine, error) bool) { yield(backend.LogLine{}, err) }
	}
	return e.Enclave.Logs(ctx, name, q)
}

func (e mortalEnclave) Dial(ctx context.Context, name backend.ServiceName, proto backend.Transport, port uint16) (net.Conn, error) {
	if err := e.m.alive(); err != nil {
		return nil, err
	}
	return e.Enclave.Dial(ctx, name, proto, port)
}
