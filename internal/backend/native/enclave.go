package native

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/network"
	"github.com/lepto-dev/lepto/internal/backend/native/shape"
	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/fault"
)

// Enclave implements backend.Enclave, Pauser, Suspender and Attacher.
type Enclave struct {
	b      *Backend
	id     backend.EnclaveID
	dir    string
	spec   backend.EnclaveSpec
	subnet netip.Prefix
	turns  backend.Turns[backend.ServiceName]
	board  *board // names and published ports
	places places

	life context.Context // ends with close or Destroy, which its cause tells
	end  context.CancelCauseFunc
	work sync.WaitGroup // goroutines of this handle

	connecting chan struct{} // holds a token while nobody opens the network
	shaped     chan struct{} // tells watchRelay that rules were set

	mu       sync.Mutex
	doc      enclaveDoc
	net      *network.Network // nil until it could be opened
	shaping  *shape.Shaper    // nil until it is asked for
	services map[backend.ServiceName]*service
}

// service is a service that exists. Its doc changes in the service's turn only,
// and only in Resume once it is started.
type service struct {
	dir    string
	mu     sync.Mutex
	doc    serviceDoc
	handle *supervise.Handle // nil until its container could be found again
	gone   chan struct{}     // closed once it is removed
}

var (
	_ backend.Enclave   = (*Enclave)(nil)
	_ backend.Pauser    = (*Enclave)(nil)
	_ backend.Suspender = (*Enclave)(nil)
	_ backend.Attacher  = (*Enclave)(nil)
	_ backend.LogTaker  = (*Enclave)(nil)
	_ backend.Clearer   = (*Enclave)(nil)
	_ backend.Warmer    = (*Enclave)(nil)
)

func newEnclave(b *Backend, id backend.EnclaveID, doc enclaveDoc) *Enclave {
	e := &Enclave{b: b, id: id, dir: b.dir(id), doc: doc, spec: doc.Spec, subnet: doc.Subnet,
		services: map[backend.ServiceName]*service{}, connecting: make(chan struct{}, 1), shaped: make(chan struct{}, 1)}
	e.connecting <- struct{}{}
	e.life, e.end = context.WithCancelCause(context.Background())
	e.board = newBoard(e)
	return e
}

// errClosed is the cause of calls cut short by Close.
var errClosed = fmt.Errorf("the backend was closed: %w", fault.ErrUnavailable)

// gone is the error of every call after Destroy.
func (e *Enclave) gone() error {
	return fmt.Errorf("enclave %q: %w", e.id.Short(), fault.ErrNotFound)
}

// close lets go of the enclave.
func (e *Enclave) close() error {
	e.end(errClosed)
	e.work.Wait()
	release, err := e.turns.All(context.Background()) // the calls under way end with e.life
	if err != nil {
		return err
	}
	defer release()
	if n := e.network(); n != nil {
		return n.Close()
	}
	return nil
}

// check refuses calls on an enclave that is gone.
func (e *Enclave) check(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if e.life.Err() != nil {
		return context.Cause(e.life)
	}
	return nil
}

// bounded gives a context that ends with ctx, with the enclave, or after bound.
func (e *Enclave) bounded(ctx context.Context, bound time.Duration, what string) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(e.life, func() { cancel(context.Cause(e.life)) })
	ctx, free := context.WithTimeoutCause(ctx, bound, fmt.Errorf("%s took longer than %s: %w", what, bound, fault.ErrTimeout))
	return ctx, func() { free(); stop(); cancel(nil) }
}

// enter takes the turn of a service. The context it gives ends with the enclave.
func (e *Enclave) enter(ctx context.Context, name backend.ServiceName, bound time.Duration, what string) (context.Context, func(), error) {
	if err := e.check(ctx); err != nil {
		return nil, nil, err
	}
	ctx, cancel := e.bounded(ctx, bound, fmt.Sprintf("%s service %q", what, name))
	release, err := e.turns.One(ctx, name)
	if err == nil {
		if err = e.check(ctx); err != nil {
			release()
		}
	}
	if err != nil {
		cancel()
		return nil, nil, err
	}
	return ctx, func() { release(); cancel() }, nil
}

// find gives a service that exists.
func (e *Enclave) find(ctx context.Context, name backend.ServiceName) (*service, error) {
	if err := e.check(ctx); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if s := e.services[name]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("service %q: %w", name, fault.ErrNotFound)
}

// all gives the services that exist, by name.
func (e *Enclave) all() map[backend.ServiceName]*service {
	e.mu.Lock()
	defer e.mu.Unlock()
	return maps.Clone(e.services)
}

// container is the folder of a service, or of a place.
func (e *Enclave) container(name backend.ServiceName) string {
	return filepath.Join(e.dir, containersDir, string(e.places.at(name)))
}

// Services lists the services that exist.
func (e *Enclave) Services(ctx context.Context) ([]backend.ServiceName, error) {
	if err := e.check(ctx); err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(e.all())), nil
}

// Reserve writes down the lowest free address.
func (e *Enclave) Reserve(ctx context.Context, name backend.ServiceName) (backend.Address, error) {
	_, done, err := e.enter(ctx, name, startBound, "reserve")
	if err != nil {
		return backend.Address{}, err
	}
	defer done()
	return e.reserve(name)
}

func (e *Enclave) reserve(name backend.ServiceName) (backend.Address, error) {
	if err := checkName(name); err != nil {
		return backend.Address{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if ip, ok := e.doc.Addresses[name]; ok {
		return e.address(ip), nil
	}
	ip, err := freeAddress(e.subnet, e.doc.Addresses)
	if err != nil {
		return backend.Address{}, fmt.Errorf("service %q: %w", name, err)
	}
	if err := e.editAddresses(func(m map[backend.ServiceName]netip.Addr) { m[name] = ip }); err != nil {
		return backend.Address{}, diskFault(fmt.Sprintf("reserve an address for %q", name), err)
	}
	return e.address(ip), nil
}

// editAddresses changes the reservations, on disk first. e.mu is held.
func (e *Enclave) editAddresses(edit func(map[backend.ServiceName]netip.Addr)) error {
	doc := e.doc
	doc.Addresses = maps.Clone(doc.Addresses)
	if doc.Addresses == nil {
		doc.Addresses = map[backend.ServiceName]netip.Addr{}
	}
	edit(doc.Addresses)
	if err := supervise.WriteJSON(filepath.Join(e.dir, enclaveFile), doc); err != nil {
		return err
	}
	e.doc = doc
	return nil
}

// unreserve forgets a reservation.
func (e *Enclave) unreserve(name backend.ServiceName) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.doc.Addresses[name]; !ok {
		return nil
	}
	return e.editAddresses(func(m map[backend.ServiceName]netip.Addr) { delete(m, name) })
}

// address completes an address.
func (e *Enclave) address(ip netip.Addr) backend.Address {
	return backend.Address{IP: ip, Subnet: e.subnet, Gateway: gatewayOf(e.subnet)}
}

// addressOf gives the address of a name that is reserved.
func (e *Enclave) addressOf(name backend.ServiceName) backend.Address {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.address(e.doc.Addresses[name])
}

func gatewayOf(subnet netip.Prefix) netip.Addr { return subnet.Masked().Addr().Next() }

// freeAddress gives the lowest address that nobody has, after the gateway's.
// The last one of the subnet is its broadcast address.
func freeAddress(subnet netip.Prefix, addresses map[backend.ServiceName]netip.Addr) (netip.Addr, error) {
	taken := map[netip.Addr]bool{}
	for _, ip := range addresses {
		taken[ip] = true
	}
	for ip := gatewayOf(subnet).Next(); subnet.Contains(ip.Next()); ip = ip.Next() {
		if !taken[ip] {
			return ip, nil
		}
	}
	return netip.Addr{}, fault.New("E0425", "the enclave's network %s is full: %w", subnet, fault.ErrUnavailable).
		WithHint("remove services that are no longer needed, or use a second enclave")
}

// checkName refuses names that are no single path element. Package enclave has
// the stricter rules of what users may choose.
func checkName(name backend.ServiceName) error {
	if name == "" || len(name) > 200 || name[0] == '.' || filepath.Base(string(name)) != string(name) {
		return fmt.Errorf("service name %q: %w", name, fault.ErrInvalid)
	}
	return nil
}

func (e *Enclave) network() *network.Network {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.net
}

func (e *Enclave) networkConfig() network.Config {
	return network.Config{ID: e.id, Dir: e.dir, Subnet: e.subnet}
}

// connect gives the enclave's network, opening and repairing it if that has not
// succeeded yet: an enclave whose network can't be had can still be destroyed.
func (e *Enclave) connect(ctx context.Context) (*network.Network, error) {
	if n := e.network(); n != nil {
		return n, nil
	}
	select {
	case <-e.connecting:
		defer func() { e.connecting <- struct{}{} }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if n := e.network(); n != nil {
		return n, nil
	}
	n, err := network.Open(ctx, e.networkConfig())
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.life.Err() != nil {
		return nil, errors.Join(context.Cause(e.life), n.Close())
	}
	e.net = n
	return n, nil
}
