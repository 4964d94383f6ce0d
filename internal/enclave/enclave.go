package enclave

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/link"
)

// stopGrace is what a process gets between the stop signal and SIGKILL.
const stopGrace = 10 * time.Second

// An Enclave is one enclave with its services. Safe for concurrent use:
// operations on one service follow one another, others overlap.
type Enclave struct {
	m    *Manager
	uuid string

	life context.Context // ends, with a cause, when the enclave is destroyed
	end  context.CancelCauseFunc

	claims  claims
	runs    chan struct{} // holds one token: the turn of a run
	linking chan struct{} // holds one token: the turn of a change of connections

	mu        sync.Mutex
	record    enclaveRow
	services  map[string]*serviceRow // by name; rows are never changed in place
	artifacts map[string]Artifact    // by name
	handle    backend.Enclave        // nil until opened
	lost      bool                   // the backend holds nothing of it
	links     link.Topology
	shaped    bool // the backend was told of connections

	schedules     map[string]schedule // of faults that are pending, by id
	faultWatchers map[*func(ScheduledFault)]bool
	faulting      sync.WaitGroup // goroutines of schedules
}

func newEnclave(m *Manager, row enclaveRow, services []*serviceRow, artifacts []Artifact, links *link.Topology) *Enclave {
	e := &Enclave{
		m: m, uuid: row.UUID, record: row,
		links:     link.Topology{Seed: row.linkSeed()},
		runs:      make(chan struct{}, 1),
		linking:   make(chan struct{}, 1),
		services:  map[string]*serviceRow{},
		artifacts: map[string]Artifact{},
	}
	if links != nil {
		e.links, e.shaped = *links, true
	}
	e.life, e.end = context.WithCancelCause(context.Background())
	for _, s := range services {
		e.services[s.Name] = s
	}
	for _, a := range artifacts {
		e.artifacts[a.Name] = a
	}
	e.runs <- struct{}{}
	e.linking <- struct{}{}
	return e
}

// UUID gives the enclave's identity: 32 hex digits.
func (e *Enclave) UUID() string { return e.uuid }

// Name gives the enclave's name.
func (e *Enclave) Name() string { return e.row().Name }

// Life is a context that ends when the enclave is destroyed. What works in the
// enclave on its own account ends with it.
func (e *Enclave) Life() context.Context { return e.life }

func (e *Enclave) row() enclaveRow {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.record
}

// Info describes the enclave.
func (e *Enclave) Info() Info {
	e.mu.Lock()
	defer e.mu.Unlock()
	status := Running
	switch {
	case e.lost:
		status = Empty
	case e.record.Stopped, e.record.Phase == phaseRemoving:
		status = Stopped
	}
	return Info{
		UUID: e.record.UUID, ShortUUID: shortUUID(e.record.UUID), Name: e.record.Name,
		Status: status, Created: e.record.Created, Production: e.record.Production,
	}
}

// bind gives a context that ends with ctx or with the enclave, whichever is first.
func (e *Enclave) bind(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(e.life, func() { cancel(context.Cause(e.life)) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// codeGone is the fault of what the state knows and the backend holds no more.
const codeGone = "E0346"

// open gives the backend's handle, taking it up where that failed before.
func (e *Enclave) open(ctx context.Context) (backend.Enclave, error) {
	e.mu.Lock()
	handle, row, lost := e.handle, e.record, e.lost
	e.mu.Unlock()
	if handle != nil {
		return handle, nil
	}
	if row.Phase == phaseRemoving {
		return nil, fault.New("E0345", "enclave %q is being destroyed", row.Name).
			WithHint("finish it: lepto enclave rm -f %s", row.Name)
	}
	opened, err := e.m.backend.OpenEnclave(ctx, backend.EnclaveID(row.UUID))
	if errors.Is(err, fault.ErrNotFound) || lost && err != nil {
		e.mu.Lock()
		e.lost = true
		e.mu.Unlock()
		return nil, fault.New(codeGone, "nothing is left of enclave %q on the %s backend", row.Name, e.m.backend.Name()).
			WithHint("remove it and make it anew: lepto enclave rm -f %s", row.Name)
	}
	if err != nil {
		return nil, fault.From(fmt.Errorf("open enclave %q: %w", row.Name, err), "E0348")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.handle, e.lost = opened, false
	return opened, nil
}

// active is open for what only an enclave that isn't stopped can do.
func (e *Enclave) active(ctx context.Context) (backend.Enclave, error) {
	if row := e.row(); row.Stopped {
		err := fault.New("E0345", "enclave %q is stopped", row.Name).
			WithHint("start it first: lepto enclave start %s", row.Name)
		err.Cause = fault.ErrNotRunning
		return nil, err
	}
	return e.open(ctx)
}

// Usable tells whether services can be added and used: an E0345 if the enclave
// is stopped or being destroyed, an E0346 if nothing is left of it.
func (e *Enclave) Usable(ctx context.Context) error {
	_, err := e.active(ctx)
	return err
}

// Stop stops all services and keeps their files, addresses and configs.
// Stopping a stopped enclave is no error.
func (e *Enclave) Stop(ctx context.Context) error {
	return e.turn(ctx, true)
}

// Start runs again the services that ran when the enclave was stopped, or when the
// host went down.
func (e *Enclave) Start(ctx context.Context) error {
	return e.turn(ctx, false)
}

// turn stops or starts the enclave: the intention is written first, so that a
// crash in between is finished by Reconcile.
func (e *Enclave) turn(ctx context.Context, stop bool) error {
	ctx, done := e.bind(ctx)
	defer done()
	release, err := e.claims.all(ctx)
	if err != nil {
		return fmt.Errorf("enclave %q: %w", e.Name(), err)
	}
	defer release()
	row := e.row()
	if row.Stopped && stop && !row.Unsettled {
		return nil
	}
	handle, err := e.open(ctx)
	if err != nil {
		return err
	}
	if !row.Stopped && !stop && !row.Unsettled {
		return resume(ctx, handle, row.Name)
	}
	row.Stopped, row.Unsettled = stop, true
	if stop {
		if row.Ran, err = e.running(ctx, handle); err != nil {
			return err
		}
	}
	if err := e.putRow("enclave turn intended", row); err != nil {
		return err
	}
	if err := e.settle(ctx, handle); err != nil {
		word := map[bool]string{true: "stop", false: "start"}[stop]
		return fault.From(fmt.Errorf("%s enclave %q: %w", word, row.Name, err), "E0348")
	}
	row.Unsettled = false
	return e.putRow("enclave turn done", row)
}

// resume starts what ran in an enclave that nobody has stopped: the host went down.
func resume(ctx context.Context, handle backend.Enclave, name string) error {
	s, ok := handle.(backend.Suspender)
	if !ok {
		return nil
	}
	if err := s.Resume(ctx); err != nil && !errors.Is(err, fault.ErrUnsupported) {
		return fault.From(fmt.Errorf("start enclave %q: %w", name, err), "E0348")
	}
	return nil
}

// running names the services whose processes are there, sorted.
func (e *Enclave) running(ctx context.Context, handle backend.Enclave) ([]string, error) {
	var out []string
	for _, row := range e.serviceRows() {
		s, err := inspect(ctx, handle, row)
		if err != nil {
			return nil, err
		}
		if s.Status == ServiceRunning {
			out = append(out, row.Name)
		}
	}
	return out, nil
}

// settle makes the services be as the row says: of a stopped enclave none runs,
// of one that was started again those that ran before. Idempotent.
func (e *Enclave) settle(ctx context.Context, handle backend.Enclave) error {
	enclave := e.row()
	if s, ok := handle.(backend.Suspender); ok {
		turn := s.Resume
		if enclave.Stopped {
			turn = func(ctx context.Context) error { return s.Suspend(ctx, stopGrace) }
		}
		if err := turn(ctx); err != nil && !errors.Is(err, fault.ErrUnsupported) {
			return err
		}
	}
	held, err := handle.Services(ctx)
	if err != nil {
		return err
	}
	var group errgroup.Group
	for _, name := range held {
		group.Go(func() error {
			if enclave.Stopped || !slices.Contains(enclave.Ran, string(name)) {
				_, err := handle.Stop(ctx, name, stopGrace)
				return err
			}
			return handle.Restart(ctx, name)
		})
	}
	return group.Wait()
}

func (e *Enclave) putRow(point string, row enclaveRow) error {
	if err := e.m.store.putEnclave(point, row, false); err != nil {
		return fmt.Errorf("enclave %q: %w", row.Name, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.record = row
	return nil
}

// destroyWait bounds how long destroy waits for operations it has cancelled.
const destroyWait = 30 * time.Second

// destroy removes the enclave, cancelling what goes on in it.
func (e *Enclave) destroy(ctx context.Context) error {
	e.end(fault.New("E0345", "enclave %q was destroyed", e.Name()))
	e.faulting.Wait() // they end with the enclave's life
	waiting, cancel := context.WithTimeoutCause(ctx, destroyWait, fmt.Errorf("%w after %v", fault.ErrTimeout, destroyWait))
	defer cancel()
	release, err := e.claims.all(waiting)
	if err != nil {
		return fmt.Errorf("destroy enclave %q: %w", e.Name(), err)
	}
	defer release()
	row := e.row()
	row.Phase = phaseRemoving
	if err := e.putRow("enclave removing", row); err != nil {
		return err
	}
	// There is no way back from here: a client that leaves must not end it half way.
	ctx = context.WithoutCancel(ctx)
	if err := e.m.wipe(ctx, row); err != nil {
		// Whoever asked may have gone; and the enclave stays listed until it is.
		e.m.deps.Logger.Error("an enclave is not removed completely", "enclave", row.Name, "uuid", row.UUID, "err", err)
		return fault.From(fmt.Errorf("destroy enclave %q: %w", row.Name, err), "E0348")
	}
	if err := e.m.store.deleteEnclave("enclave removed", row.UUID); err != nil {
		return fmt.Errorf("enclave %q: %w", row.Name, err)
	}
	e.m.forget(e)
	e.m.collect()
	return nil
}

// serviceRow gives a service's row, nil if there is none.
func (e *Enclave) serviceRow(name string) *serviceRow {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.services[name]
}

// serviceRows gives all rows, by name.
func (e *Enclave) serviceRows() []*serviceRow {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]*serviceRow, 0, len(e.services))
	for _, name := range slices.Sorted(maps.Keys(e.services)) {
		out = append(out, e.services[name])
	}
	return out
}

// change writes rows of services, first to the store, then here.
func (e *Enclave) change(point string, c change) error {
	for i, row := range c.put {
		if row.passing {
			stays := *row
			stays.passing = false
			c.put[i], c.enter = &stays, append(c.enter, Identifier{UUID: row.UUID, Name: row.Name})
		}
	}
	if err := e.m.store.changeServices(e.uuid, point, c); err != nil {
		return fmt.Errorf("enclave %q: %w", e.Name(), err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, name := range c.remove {
		delete(e.services, name)
	}
	for _, row := range c.put {
		e.services[row.Name] = row
	}
	return nil
}

// Backend gives the backend that the enclave lives on.
func (e *Enclave) Backend() backend.Backend { return e.m.backend }

// Room gives what the host has left for reservations, in millicores and
// megabytes: its capacity less what the services of other enclaves reserve.
// Those of this one are left out, as a run may be about to replace them. 0 means
// that the backend can't tell its capacity; where nothing is left it is 1.
func (e *Enclave) Room() (cpuMillis, memoryMB uint64) {
	limits := e.m.backend.Capabilities().Limits
	cpuMillis, memoryMB = limits.CPUMillis, limits.MemoryBytes/megabyte
	for _, other := range e.m.List() {
		if other == e {
			continue
		}
		for _, row := range other.serviceRows() {
			cpuMillis = max(cpuMillis-min(row.Config.MinCPU, cpuMillis), min(1, cpuMillis))
			memoryMB = max(memoryMB-min(row.Config.MinMemory, memoryMB), min(1, memoryMB))
		}
	}
	return cpuMillis, memoryMB
}
