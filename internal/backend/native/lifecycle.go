package native

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file stops services, runs them again, freezes and removes them.

// handle gives a service's container, looking for it again where that has not
// succeeded yet.
func (e *Enclave) handle(ctx context.Context, s *service) (*supervise.Handle, error) {
	s.mu.Lock()
	h := s.handle
	s.mu.Unlock()
	if h != nil {
		return h, nil
	}
	h, err := e.b.launcher.Adopt(ctx, s.dir)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handle = h
	return h, nil
}

// reach gives a service that exists, with its container.
func (e *Enclave) reach(ctx context.Context, name backend.ServiceName) (*service, *supervise.Handle, error) {
	s, err := e.find(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	h, err := e.handle(ctx, s)
	return s, h, e.named(name, s, err)
}

// named puts a service's name into an error of its container. A service that
// was removed meanwhile is not found, whatever its container says.
func (e *Enclave) named(name backend.ServiceName, s *service, err error) error {
	if err == nil {
		return nil
	}
	e.mu.Lock()
	there := e.services[name] == s
	e.mu.Unlock()
	if !there && !errors.Is(err, fault.ErrNotFound) {
		err = fault.ErrNotFound
	}
	return fmt.Errorf("service %q: %w", name, err)
}

// setResume notes whether Resume is to run the service.
func (s *service) setResume(on bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.doc.Resume == on {
		return nil
	}
	s.doc.Resume = on
	return s.save()
}

func (s *service) record() serviceDoc {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.doc
}

// maxGrace bounds how long a stop waits for a service to end by itself.
const maxGrace = 24 * time.Hour

// Stop ends a service's processes.
func (e *Enclave) Stop(ctx context.Context, name backend.ServiceName, grace time.Duration) (backend.Exit, error) {
	ctx, done, err := e.enter(ctx, name, min(grace, maxGrace)+removeBound, "stop")
	if err != nil {
		return backend.Exit{}, err
	}
	defer done()
	s, h, err := e.reach(ctx, name)
	if err != nil {
		return backend.Exit{}, err
	}
	if err := s.setResume(false); err != nil {
		return backend.Exit{}, diskFault(fmt.Sprintf("stop service %q", name), err)
	}
	exit, err := h.Stop(ctx, grace)
	return exit, e.named(name, s, err)
}

// Restart runs a stopped service again.
func (e *Enclave) Restart(ctx context.Context, name backend.ServiceName) error {
	began := time.Now()
	ctx, done, err := e.enter(ctx, name, startBound, "restart")
	if err != nil {
		return err
	}
	defer done()
	defer e.span(ctx, "restart", name, began)
	s, h, err := e.reach(ctx, name)
	if err != nil {
		return err
	}
	state, err := h.State(ctx)
	if err != nil {
		return e.named(name, s, err)
	}
	if !state.Running() {
		if err := e.runAgain(ctx, s); err != nil {
			return err
		}
		e.watch(name, s)
	}
	return diskFault(fmt.Sprintf("restart service %q", name), s.setResume(false))
}

// runAgain runs the container of a folder anew. The network may have gone with
// a reboot, the gateway process with a crash.
func (e *Enclave) runAgain(ctx context.Context, s *service) error {
	plan, err := supervise.ReadSpec(s.dir)
	if err != nil {
		return err
	}
	if _, err := e.attach(ctx, s.record().Spec); err != nil {
		return err
	}
	err = e.launch(ctx, s, plan)
	if errors.Is(err, fault.ErrExists) {
		return nil // it is about to be restarted by its supervisor
	}
	return err
}

// Remove deletes a service and gives its address back.
func (e *Enclave) Remove(ctx context.Context, name backend.ServiceName) error {
	return e.remove(ctx, name, true)
}

// Clear deletes a service and keeps its address for the next of that name.
func (e *Enclave) Clear(ctx context.Context, name backend.ServiceName) error {
	return e.remove(ctx, name, false)
}

func (e *Enclave) remove(ctx context.Context, name backend.ServiceName, release bool) error {
	ctx, done, err := e.enter(ctx, name, removeBound, "remove")
	if err != nil {
		return err
	}
	defer done()
	defer e.span(ctx, "remove", name, time.Now())
	if err := checkName(name); err != nil {
		return nil // no such service can exist
	}
	e.mu.Lock()
	s := e.services[name]
	_, reserved := e.doc.Addresses[name]
	e.mu.Unlock()
	if s == nil && !reserved && !exists(e.container(name)) {
		return nil
	}
	if s != nil {
		defer close(s.gone)
		if err := e.retire(name, s, release); err != nil {
			return err
		}
	}
	if s != nil && release {
		if moved, err := e.moveOut(ctx, name, s); moved || err != nil {
			return err
		}
	}
	if err := e.discard(ctx, name, release); err != nil {
		return fmt.Errorf("remove service %q: %w", name, err)
	}
	return nil
}

// retire makes a service one that is not there any more: from the record on,
// whoever opens the enclave goes on removing it.
func (e *Enclave) retire(name backend.ServiceName, s *service, release bool) error {
	s.mu.Lock()
	s.doc.Phase = phaseClearing
	if release {
		s.doc.Phase = phaseRemoving
	}
	err := s.save()
	s.mu.Unlock()
	if err != nil {
		// A disk that is full must not keep services from being removed. After a
		// crash the service would be there again, as it was.
		e.b.log.Warn("the removal is not recorded", "enclave", e.id.Short(), "service", name, "err", err)
	}
	e.mu.Lock()
	delete(e.services, name)
	e.mu.Unlock()
	return e.b.reach("retired")
}

// Pause freezes a service.
func (e *Enclave) Pause(ctx context.Context, name backend.ServiceName) error {
	return e.freeze(ctx, name, (*supervise.Handle).Pause)
}

// Unpause lets it go on.
func (e *Enclave) Unpause(ctx context.Context, name backend.ServiceName) error {
	return e.freeze(ctx, name, (*supervise.Handle).Unpause)
}

func (e *Enclave) freeze(ctx context.Context, name backend.ServiceName, do func(*supervise.Handle, context.Context) error) error {
	ctx, done, err := e.enter(ctx, name, removeBound, "pause")
	if err != nil {
		return err
	}
	defer done()
	s, h, err := e.reach(ctx, name)
	if err != nil {
		return err
	}
	return e.named(name, s, do(h, ctx))
}

// Suspend stops all services and notes which ran.
func (e *Enclave) Suspend(ctx context.Context, grace time.Duration) error {
	if err := e.check(ctx); err != nil {
		return err
	}
	var group errgroup.Group
	for name := range e.all() {
		group.Go(func() error { return e.suspend(ctx, name, grace) })
	}
	return group.Wait()
}

func (e *Enclave) suspend(ctx context.Context, name backend.ServiceName, grace time.Duration) error {
	ctx, done, err := e.enter(ctx, name, min(grace, maxGrace)+removeBound, "suspend")
	if err != nil {
		return err
	}
	defer done()
	s, h, err := e.reach(ctx, name)
	if errors.Is(err, fault.ErrNotFound) {
		return nil // removed meanwhile
	}
	if err != nil {
		return err
	}
	state, err := h.State(ctx)
	if err != nil || !state.Running() && !s.record().Spec.RestartAlways {
		return e.named(name, s, err)
	}
	if err := s.setResume(true); err != nil {
		return diskFault(fmt.Sprintf("suspend service %q", name), err)
	}
	_, err = h.Stop(ctx, grace)
	return e.named(name, s, err)
}

// Resume runs what ran when the enclave was suspended, or the host went down.
func (e *Enclave) Resume(ctx context.Context) error {
	if err := e.check(ctx); err != nil {
		return err
	}
	var group errgroup.Group
	for name, s := range e.all() {
		if s.record().Resume {
			group.Go(func() error { return e.Restart(ctx, name) })
		}
	}
	return group.Wait()
}
