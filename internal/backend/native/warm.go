package native

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file keeps the places of services that hold for the next such service.
//
// A place is what a service lives in: its folder, its endpoint of the network and
// its cgroup have the place's name. For nearly all services that is their own.
// While the enclave is kept warm, services that hold live in numbered places, which
// outlive them: when such a service is removed, all that it has done is taken away,
// and its place with the supervisor in it waits for the next. The folder's record
// says that nobody lives there before another service may have the name, so that
// whoever opens the enclave after a crash removes the place, and nothing else.

// placePrefix begins the names of numbered places. No service has such a name.
const placePrefix = "~"

// maxVacant bounds how many places wait: as many as the tasks of a run that end at once.
const maxVacant = 4

func isPlace(name backend.ServiceName) bool { return strings.HasPrefix(string(name), placePrefix) }

// places are the numbered places of an enclave.
type places struct {
	mu     sync.Mutex
	warm   int                                         // who wants it kept warm
	of     map[backend.ServiceName]backend.ServiceName // where services live that live in one
	vacant []vacancy
	last   int // number
}

// A vacancy is a place in which nobody lives, with a supervisor.
type vacancy struct {
	place  backend.ServiceName
	handle *supervise.Handle
	ip     netip.Addr
}

// at gives the place of a service.
func (p *places) at(service backend.ServiceName) backend.ServiceName {
	p.mu.Lock()
	defer p.mu.Unlock()
	if place, ok := p.of[service]; ok {
		return place
	}
	return service
}

func (p *places) settle(service, place backend.ServiceName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n, err := strconv.Atoi(strings.TrimPrefix(string(place), placePrefix)); err == nil {
		p.last = max(p.last, n) // it was made by a process before this one
	}
	if p.of == nil {
		p.of = map[backend.ServiceName]backend.ServiceName{}
	}
	p.of[service] = place
}

func (p *places) unsettle(service backend.ServiceName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.of, service)
}

func (p *places) isWarm() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.warm > 0
}

// take gives a place: a vacant one, or a new one, of which only the name is there.
func (p *places) take() (v vacancy, warm bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.warm == 0 {
		return vacancy{}, false
	}
	if n := len(p.vacant); n > 0 {
		v, p.vacant = p.vacant[n-1], p.vacant[:n-1]
		return v, true
	}
	p.last++
	return vacancy{place: backend.ServiceName(placePrefix + strconv.Itoa(p.last))}, true
}

// keep takes a place back, if it is wanted.
func (p *places) keep(v vacancy) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.warm == 0 || len(p.vacant) >= maxVacant {
		return false
	}
	p.vacant = append(p.vacant, v)
	return true
}

// KeepWarm has services that hold use each other's places until release.
func (e *Enclave) KeepWarm() (release func(context.Context) error) {
	p := &e.places
	p.mu.Lock()
	p.warm++
	p.mu.Unlock()
	return func(ctx context.Context) error {
		p.mu.Lock()
		p.warm--
		var left []vacancy
		if p.warm == 0 {
			left, p.vacant = p.vacant, nil
		}
		p.mu.Unlock()
		return e.vacate(ctx, left)
	}
}

// vacate removes places in which nobody lives.
func (e *Enclave) vacate(ctx context.Context, left []vacancy) error {
	var group errgroup.Group
	for _, v := range left {
		group.Go(func() error {
			ctx, done, err := e.enter(ctx, v.place, removeBound, "remove the place")
			if e.life.Err() != nil {
				return nil // whoever ended it removes all
			}
			if err != nil {
				return err
			}
			defer done()
			return e.discard(ctx, v.place, true)
		})
	}
	return group.Wait()
}

// lodge finds a place for a service that is about to start, and reserves its
// address. A service that has one already, or that links have rules for, lives in a
// place of its own.
func (e *Enclave) lodge(spec backend.ServiceSpec) (vacancy, error) {
	own := vacancy{place: spec.Name}
	e.mu.Lock()
	_, reserved := e.doc.Addresses[spec.Name]
	e.mu.Unlock()
	if reserved || checkName(spec.Name) != nil || isPlace(spec.Name) || !mayMove(spec) || e.linked() {
		_, err := e.reserve(spec.Name)
		return own, err
	}
	v, warm := e.places.take()
	if !warm {
		_, err := e.reserve(spec.Name)
		return own, err
	}
	e.places.settle(spec.Name, v.place)
	if err := e.reserveIn(&v, spec.Name); err != nil {
		e.places.unsettle(spec.Name)
		return v, err
	}
	return v, nil
}

// reserveIn gives a service the address of its place.
func (e *Enclave) reserveIn(v *vacancy, name backend.ServiceName) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !v.ip.IsValid() {
		var err error
		if v.ip, err = freeAddress(e.subnet, e.doc.Addresses); err != nil {
			return fmt.Errorf("service %q: %w", name, err)
		}
	}
	err := e.editAddresses(func(m map[backend.ServiceName]netip.Addr) { m[v.place], m[name] = v.ip, v.ip })
	return diskFault(fmt.Sprintf("reserve an address for %q", name), err)
}

// mayMove tells whether a service may live where another has: one that can't change
// the place itself.
func mayMove(spec backend.ServiceSpec) bool {
	return spec.Hold && !spec.Privileged && !spec.HostPID && !spec.TTY && !spec.RestartAlways &&
		len(spec.AddCapabilities) == 0 && len(spec.Devices) == 0 && len(spec.Publish) == 0
}

// linked reports whether links have rules.
func (e *Enclave) linked() bool {
	s, err := e.shaper()
	return err != nil || s.Active()
}

// fill runs a service in a vacant place; meanwhile its name is made known.
func (e *Enclave) fill(ctx context.Context, s *service, v vacancy, plan supervise.Spec) error {
	name := s.doc.Spec.Name
	work, within := errgroup.WithContext(ctx)
	work.Go(func() error { return e.board.set(within, name, nil) })
	work.Go(func() error { return v.handle.Fill(within, plan) })
	if err := work.Wait(); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return diskFault(fmt.Sprintf("start service %q", name), withName(err, name))
	}
	s.mu.Lock()
	s.handle = v.handle
	s.mu.Unlock()
	return nil
}

// moveOut takes a service out of its numbered place, and keeps that. It reports
// whether it has; if not, all of the service is still to be discarded.
func (e *Enclave) moveOut(ctx context.Context, name backend.ServiceName, s *service) (bool, error) {
	place := e.places.at(name)
	if place == name || !e.places.isWarm() || e.linked() {
		return false, nil
	}
	h, err := e.handle(ctx, s)
	if err == nil {
		err = h.Empty(ctx)
	}
	if err == nil {
		err = e.quiet(ctx, place)
	}
	if err == nil {
		err = supervise.WriteJSON(filepath.Join(s.dir, serviceFile), serviceDoc{Phase: phaseVacant})
	}
	if err == nil {
		err = e.b.reach("vacant")
	}
	v := vacancy{place: place, handle: h, ip: e.addressOf(place).IP}
	if err == nil {
		err = e.unreserve(name)
	}
	if errors.Is(err, errCrash) {
		return false, err
	}
	if err != nil {
		e.b.log.Debug("a place is not kept", "enclave", e.id.Short(), "service", name, "err", err)
		return false, nil
	}
	e.places.unsettle(name)
	if !e.places.keep(v) {
		if err := e.vacate(ctx, []vacancy{v}); err != nil {
			e.b.log.Error("a place is not removed completely", "enclave", e.id.Short(), "place", place, "err", err)
		}
	}
	return true, nil
}

// errPortsHeld: the network of a place is not as good as a new one.
var errPortsHeld = errors.New("its ports are not free yet")

// quiet makes sure that the next service may listen on any port.
func (e *Enclave) quiet(ctx context.Context, place backend.ServiceName) error {
	n, err := e.connect(ctx)
	if err != nil {
		return err
	}
	if quiet, err := n.Quiet(string(place)); err != nil || !quiet {
		return errors.Join(err, errPortsHeld)
	}
	return nil
}

// isVacated tells errors of a vacant place whose supervisor has gone meanwhile.
func isVacated(v vacancy, err error) bool {
	return v.handle != nil && errors.Is(err, fault.ErrUnavailable)
}
