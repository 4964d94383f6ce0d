package memory

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// defaultLogBudget bounds a service's stored log, in bytes.
const defaultLogBudget = 8 << 20

// Enclave implements backend.Enclave, Pauser, Suspender and Attacher.
type Enclave struct {
	host    *host
	spec    backend.EnclaveSpec
	subnet  netip.Prefix
	turns   backend.Turns[backend.ServiceName]
	life    context.Context // ends with Destroy
	end     context.CancelCauseFunc
	filesMu sync.Mutex // the file trees of all services

	mu        sync.Mutex
	addresses map[backend.ServiceName]backend.Address
	services  map[backend.ServiceName]*service
	dirs      map[string]*node // persistent directories
	links     links
}

var (
	_ backend.Enclave   = (*Enclave)(nil)
	_ backend.Pauser    = (*Enclave)(nil)
	_ backend.Suspender = (*Enclave)(nil)
	_ backend.Attacher  = (*Enclave)(nil)
	_ backend.LogTaker  = (*Enclave)(nil)
)

func newEnclave(h *host, spec backend.EnclaveSpec, subnet netip.Prefix) *Enclave {
	e := &Enclave{host: h, spec: spec, subnet: subnet,
		addresses: map[backend.ServiceName]backend.Address{},
		services:  map[backend.ServiceName]*service{},
		dirs:      map[string]*node{}}
	e.life, e.end = context.WithCancelCause(context.Background())
	return e
}

func (e *Enclave) logBudget() int64 {
	if e.spec.LogBudget > 0 {
		return e.spec.LogBudget
	}
	return defaultLogBudget
}

// gone is the error of every call after Destroy.
func (e *Enclave) gone() error {
	return fmt.Errorf("enclave %q: %w", e.spec.ID.Short(), fault.ErrNotFound)
}

// enter takes the turn of a service. The context it gives ends with Destroy.
func (e *Enclave) enter(ctx context.Context, name backend.ServiceName) (context.Context, func(), error) {
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(e.life, func() { cancel(context.Cause(e.life)) })
	release, err := e.turns.One(ctx, name)
	if err == nil && e.life.Err() != nil {
		release()
		err = e.gone()
	}
	if err != nil {
		stop()
		cancel(nil)
		return nil, nil, err
	}
	return ctx, func() { release(); stop(); cancel(nil) }, nil
}

// find gives a service that exists.
func (e *Enclave) find(ctx context.Context, name backend.ServiceName) (*service, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if e.life.Err() != nil {
		return nil, e.gone()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if s := e.services[name]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("service %q: %w", name, fault.ErrNotFound)
}

// lookup finds a running service by name, "name.enclave" or address.
func (e *Enclave) lookup(hostName string) *service {
	e.mu.Lock()
	defer e.mu.Unlock()
	for name, s := range e.services {
		if hostName == string(name) || hostName == string(name)+".enclave" || hostName == s.address.IP.String() {
			return s
		}
	}
	return nil
}

// persistent gives a persistent directory, made on first use. filesMu is held.
func (e *Enclave) persistent(key string) *node {
	if e.dirs[key] == nil {
		e.dirs[key] = newDir()
	}
	return e.dirs[key]
}

// Reserve gives the lowest free address.
func (e *Enclave) Reserve(ctx context.Context, name backend.ServiceName) (backend.Address, error) {
	_, done, err := e.enter(ctx, name)
	if err != nil {
		return backend.Address{}, err
	}
	defer done()
	return e.reserve(name)
}

func (e *Enclave) reserve(name backend.ServiceName) (backend.Address, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if a, ok := e.addresses[name]; ok {
		return a, nil
	}
	taken := map[netip.Addr]bool{}
	for _, a := range e.addresses {
		taken[a.IP] = true
	}
	gateway := e.subnet.Addr().Next()
	for ip := gateway.Next(); e.subnet.Contains(ip.Next()); ip = ip.Next() {
		if !taken[ip] {
			a := backend.Address{IP: ip, Subnet: e.subnet, Gateway: gateway}
			e.addresses[name] = a
			return a, nil
		}
	}
	return backend.Address{}, fmt.Errorf("service %q: no free address in %s: %w", name, e.subnet, fault.ErrUnavailable)
}

// Start runs a service.
func (e *Enclave) Start(ctx context.Context, spec backend.ServiceSpec) error {
	_, done, err := e.enter(ctx, spec.Name)
	if err != nil {
		return err
	}
	defer done()
	if _, err := e.find(ctx, spec.Name); err == nil {
		return fmt.Errorf("service %q: %w", spec.Name, fault.ErrExists)
	}
	address, err := e.reserve(spec.Name)
	if err != nil {
		return err
	}
	image, err := e.host.image(spec.Image)
	if err != nil {
		return err
	}
	if arch := e.host.architecture(image); arch != e.host.opts.Architecture {
		return fault.New("E0411", "start service %q: image %q is for %s, this host is %s: %w", spec.Name, spec.Image, arch, e.host.opts.Architecture, fault.ErrUnsupported)
	}
	s, err := newService(e, spec, image, address)
	if err != nil {
		return err
	}
	if err := s.prepareFiles(); err != nil {
		return fmt.Errorf("start service %q: %w", spec.Name, err)
	}
	for _, p := range spec.Publish {
		open, err := s.publish(p)
		if err != nil {
			for _, p := range s.published {
				p.close()
			}
			return err
		}
		s.published = append(s.published, open)
	}
	s.run()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.services[spec.Name] = s
	return nil
}

// Stop ends a service's processes.
func (e *Enclave) Stop(ctx context.Context, name backend.ServiceName, grace time.Duration) (backend.Exit, error) {
	ctx, done, err := e.enter(ctx, name)
	if err != nil {
		return backend.Exit{}, err
	}
	defer done()
	s, err := e.find(ctx, name)
	if err != nil {
		return backend.Exit{}, err
	}
	return s.stop(ctx, grace)
}

// Restart runs a stopped service again.
func (e *Enclave) Restart(ctx context.Context, name backend.ServiceName) error {
	ctx, done, err := e.enter(ctx, name)
	if err != nil {
		return err
	}
	defer done()
	s, err := e.find(ctx, name)
	if err != nil {
		return err
	}
	if !s.running() {
		s.run()
	}
	return nil
}

// Remove deletes a service.
func (e *Enclave) Remove(ctx context.Context, name backend.ServiceName) error {
	ctx, done, err := e.enter(ctx, name)
	if err != nil {
		return err
	}
	defer done()
	s, err := e.find(ctx, name)
	if err != nil && !errors.Is(err, fault.ErrNotFound) {
		return err
	}
	if s != nil {
		if err := s.delete(ctx); err != nil {
			return err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.services, name)
	delete(e.addresses, name)
	return nil
}

// Services lists the services that exist.
func (e *Enclave) Services(ctx context.Context) ([]backend.ServiceName, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if e.life.Err() != nil {
		return nil, e.gone()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Sorted(maps.Keys(e.services)), nil
}

// Destroy removes the enclave.
func (e *Enclave) Destroy(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	e.end(e.gone())
	release, err := e.turns.All(ctx)
	if err != nil {
		return err
	}
	defer release()
	for _, s := range e.all() {
		if err := s.delete(ctx); err != nil {
			return fmt.Errorf("destroy enclave %q: %w", e.spec.ID.Short(), err)
		}
	}
	e.host.mu.Lock()
	defer e.host.mu.Unlock()
	if e.host.enclaves[e.spec.ID] == e {
		delete(e.host.enclaves, e.spec.ID)
	}
	return nil
}

func (e *Enclave) all() []*service {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Collect(maps.Values(e.services))
}

// digest makes up an image's id.
func digest(ref string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(ref))) }

// listenAddr gives a listener's address.
func listenAddr(l *listener) netip.AddrPort { return netip.AddrPortFrom(l.svc.address.IP, l.key.port) }
