package engine

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/lepto-dev/lepto/internal/enclave"
)

// This file creates, starts, stops and removes enclaves together with the
// address of each one's API.

// CreateEnclave makes an enclave and serves its API.
func (e *Engine) CreateEnclave(ctx context.Context, spec enclave.CreateSpec) (*enclave.Enclave, error) {
	made, err := e.enclaves.Create(ctx, spec)
	if err != nil {
		return nil, err
	}
	e.openFace(made.UUID())
	return made, nil
}

// StopEnclave stops an enclave; runs in it are cancelled. Idempotent.
func (e *Engine) StopEnclave(ctx context.Context, identifier string) error {
	found, err := e.enclaves.Get(identifier)
	if err != nil {
		return err
	}
	e.cancelRuns(found.UUID(), "", errors.New("the enclave is being stopped"))
	if err := e.enclaves.Stop(ctx, found.UUID()); err != nil {
		return err
	}
	e.closeFace(found.UUID())
	return nil
}

// StartEnclave starts a stopped enclave. Idempotent.
func (e *Engine) StartEnclave(ctx context.Context, identifier string) error {
	found, err := e.enclaves.Get(identifier)
	if err != nil {
		return err
	}
	if err := e.enclaves.Start(ctx, found.UUID()); err != nil {
		return err
	}
	e.openFace(found.UUID())
	return nil
}

// DestroyEnclave removes an enclave; runs in it are cancelled.
func (e *Engine) DestroyEnclave(ctx context.Context, identifier string) error {
	found, err := e.enclaves.Get(identifier)
	if err != nil {
		return err
	}
	e.cancelRuns(found.UUID(), "", errors.New("the enclave is being removed"))
	if err := e.enclaves.Destroy(ctx, found.UUID()); err != nil {
		return err
	}
	return e.forget(found.UUID())
}

// Clean removes stopped and empty enclaves and, with all, running ones too. It
// gives what it removed even where something else failed.
func (e *Engine) Clean(ctx context.Context, all bool) ([]enclave.Identifier, error) {
	if all {
		for _, one := range e.enclaves.List() {
			e.cancelRuns(one.UUID(), "", errors.New("the enclave is being removed"))
		}
	}
	removed, err := e.enclaves.Clean(ctx, all)
	for _, id := range removed {
		err = errors.Join(err, e.forget(id.UUID))
	}
	return removed, err
}

// forget ends what the engine itself keeps for an enclave that is gone.
func (e *Engine) forget(uuid string) error {
	e.closeFace(uuid)
	return errors.Join(e.ports.set(uuid, 0), os.RemoveAll(e.packagesOf(uuid)))
}

func (e *Engine) packagesOf(uuid string) string {
	return filepath.Join(e.config.Home, "packages", uuid)
}

// EnclaveAddress is the loopback address of an enclave's API; not ok while it
// has none.
func (e *Engine) EnclaveAddress(uuid string) (addr *net.TCPAddr, ok bool) {
	e.faces.mu.Lock()
	defer e.faces.mu.Unlock()
	f := e.faces.enclaves[uuid]
	if f == nil {
		return nil, false
	}
	addr, ok = f.addr.(*net.TCPAddr)
	return addr, ok
}

// openEnclaveFaces serves every enclave's API when the engine starts.
func (e *Engine) openEnclaveFaces(api API) error {
	e.faces.mu.Lock()
	e.faces.api = api
	e.faces.mu.Unlock()
	alive := map[string]bool{}
	for _, one := range e.enclaves.List() {
		alive[one.UUID()] = true
		if one.Info().Status != enclave.Stopped {
			e.openFace(one.UUID())
		}
	}
	return e.ports.keepOnly(alive)
}

// openFace serves an enclave's API on the port it had, or a free one. Without it
// the enclave is still there for the socket's clients, so a failure is no more
// than logged.
func (e *Engine) openFace(uuid string) {
	e.faces.mu.Lock()
	defer e.faces.mu.Unlock()
	if e.faces.api == nil || e.faces.enclaves == nil || e.faces.enclaves[uuid] != nil {
		return // no loopback at all, or stopping, or served already
	}
	listener, err := listenAgain(e.life, e.ports.get(uuid))
	if err != nil {
		e.log.Warn("no address for the enclave's API", "enclave", uuid, "error", err)
		return
	}
	e.faces.enclaves[uuid] = e.start(listener, e.guarded(e.faces.api.Enclave(uuid)))
	port := uint16(listener.Addr().(*net.TCPAddr).Port)
	if err := e.ports.set(uuid, port); err != nil {
		e.log.Warn("the port of the enclave's API is not remembered", "enclave", uuid, "error", err)
	}
}

// listenAgain listens on a port if it can, else on a free one.
func listenAgain(ctx context.Context, port uint16) (net.Listener, error) {
	var config net.ListenConfig
	if port != 0 {
		listener, err := config.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
		if err == nil {
			return listener, nil
		}
	}
	return config.Listen(ctx, "tcp", "127.0.0.1:0")
}

// closeFace ends an enclave's API. It may be one of its own requests that asks,
// so requests under way go on for a moment, and nobody waits for them here.
func (e *Engine) closeFace(uuid string) {
	e.faces.mu.Lock()
	f := e.faces.enclaves[uuid]
	delete(e.faces.enclaves, uuid)
	e.faces.mu.Unlock()
	if f == nil {
		return
	}
	e.workers.Go(func() {
		ctx, cancel := context.WithTimeout(e.life, drainBound)
		defer cancel()
		f.shut(ctx)
	})
}
