package enclave

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file adds services: intended, started, awaited, done.

// AddOptions say how to add services. The zero value is useful.
type AddOptions struct {
	// Ready is asked once a service's ports are open, and returns when it is
	// ready, or why it will not be. Its context ends, with the cause, when the
	// process does.
	Ready func(context.Context, *Service) error
	// Progress is told what is waited for, if it takes longer than a moment.
	Progress func(text string)
	// Parallelism is how many services of AddServices are worked on together;
	// DefaultParallelism if it is less than 1.
	Parallelism int
	// Passing says that it is to be removed soon, as the container of a task is. That
	// it is there is not written down then, unless it changes: after a crash
	// it is removed. Each write that is spared is a wait for the disk.
	Passing bool
}

// DefaultParallelism is how many services of a batch are worked on together
// where nothing is said: as many as with Kurtosis.
const DefaultParallelism = 4

// NamedConfig is a service to be added.
type NamedConfig struct {
	Name   string
	Config ServiceConfig
}

// AddService adds a service and returns once it runs, its ports are open and it
// is ready. A service of that name is replaced in place: UUID and address stay.
//
// On failure the service stays for inspection, running if it runs, with its
// Failure; the error is a *fault.Fault whose first line is the cause. If ctx is
// cancelled meanwhile, a new service is removed again.
func (e *Enclave) AddService(ctx context.Context, name string, cfg ServiceConfig, opts AddOptions) (*Service, error) {
	added, err := e.add(ctx, []NamedConfig{{name, cfg}}, opts, false)
	if err != nil {
		return nil, err
	}
	return added[0], nil
}

// AddServices adds several services. Those that exist are replaced in place
// first, each on its own account; then the new ones are added, all or none: if
// one fails, all new ones are removed again, and the one fault names every
// service that failed, with its evidence.
func (e *Enclave) AddServices(ctx context.Context, configs []NamedConfig, opts AddOptions) ([]*Service, error) {
	return e.add(ctx, configs, opts, true)
}

// addition is one service on its way.
type addition struct {
	row    *serviceRow
	old    bool // it replaces one
	intact bool // the one it replaces was not touched, and holds again

	mu  sync.Mutex
	err error // why it failed
}

// fail notes why it failed; nil is no reason.
func (a *addition) fail(why error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = why
}

func (a *addition) failed() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err != nil
}

func (e *Enclave) add(ctx context.Context, configs []NamedConfig, opts AddOptions, batch bool) ([]*Service, error) {
	ctx, done := e.bind(ctx)
	defer done()
	names := make([]string, len(configs))
	for i, c := range configs {
		if slices.Contains(names[:i], c.Name) {
			return nil, fault.New("E0353", "service %q is in this batch twice", c.Name)
		}
		names[i] = c.Name
	}
	release, err := e.claims.names(ctx, names...)
	if err != nil {
		return nil, err
	}
	defer release()
	handle, err := e.active(ctx)
	if err != nil {
		return nil, err
	}
	additions, err := e.intend(ctx, handle, configs)
	if err != nil {
		return nil, err
	}
	if err := e.shapeAhead(ctx, handle, additions); err != nil {
		for _, a := range additions {
			a.err, a.intact = e.startFault(ctx, handle, a.row, err), a.old
		}
	} else {
		e.work(ctx, handle, additions, opts, batch)
	}
	if err := e.conclude(ctx, handle, additions, opts, batch); err != nil {
		return nil, errors.Join(err, e.reshapeAfter(ctx))
	}
	out := make([]*Service, len(additions))
	for i, a := range additions {
		if out[i], err = e.Inspect(ctx, a.row.UUID); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// intend writes the rows of all services, in one transaction.
func (e *Enclave) intend(ctx context.Context, handle backend.Enclave, configs []NamedConfig) ([]*addition, error) {
	var c change
	additions := make([]*addition, len(configs))
	for i, config := range configs {
		row := &serviceRow{
			Name: config.Name, UUID: e.m.deps.NewID(), Config: config.Config,
			Phase: phaseIntended, Created: e.m.deps.Now().UTC(),
		}
		row.Making = row.UUID
		previous := e.serviceRow(config.Name)
		if previous != nil {
			status, err := handle.Inspect(ctx, backend.ServiceName(config.Name))
			if err != nil && !errors.Is(err, fault.ErrNotFound) {
				return nil, fmt.Errorf("service %q: %w", config.Name, err)
			}
			row.UUID, row.Address = previous.UUID, previous.Address
			row.Phase, row.Previous, row.Ran = phaseReplacing, previous, err == nil && status.Running()
		}
		var release func()
		var err error
		if row.Trees, release, err = e.pinTrees(config.Name, config.Config); err != nil {
			return nil, err
		}
		defer release() // once the rows are written, they keep the trees
		additions[i] = &addition{row: row, old: previous != nil}
		c.put = append(c.put, row)
	}
	if err := e.change("services intended", c); err != nil {
		return nil, err
	}
	return additions, nil
}

// work starts the services, those that replace another first, and waits for their
// ports. Once all of them run, they are asked whether they are ready: a service
// may need another one of the batch for that. Of a batch of which one has failed,
// no further ones are begun.
func (e *Enclave) work(ctx context.Context, handle backend.Enclave, additions []*addition, opts AddOptions, batch bool) {
	failed := func() bool {
		return batch && slices.ContainsFunc(additions, func(a *addition) bool { return a.failed() })
	}
	start := func(a *addition) error { return e.bring(ctx, handle, a, opts) }
	older := func(a *addition) bool { return a.old }
	newer := func(a *addition) bool { return !a.old && !failed() }
	e.each(additions, opts.Parallelism, older, start)
	e.each(additions, opts.Parallelism, newer, start)
	if opts.Ready == nil || failed() {
		return
	}
	e.each(additions, opts.Parallelism, func(a *addition) bool { return !a.failed() }, func(a *addition) error {
		return e.awaitReady(ctx, handle, a.row, opts)
	})
}

// each does something to the additions of a choice, some at once. The choice is
// made when it is an addition's turn.
func (e *Enclave) each(additions []*addition, workers int, chosen func(*addition) bool, do func(*addition) error) {
	if workers < 1 {
		workers = DefaultParallelism
	}
	var group errgroup.Group
	group.SetLimit(workers)
	for _, a := range additions {
		group.Go(func() error {
			if chosen(a) {
				a.fail(e.guarded(a.row.Name, func() error { return do(a) }))
			}
			return nil
		})
	}
	_ = group.Wait() // each error stays with its service
}

// guarded does something in a goroutine of its own, whose panic would end the
// engine: a broken invariant fails the one service.
func (e *Enclave) guarded(service string, do func() error) (err error) {
	defer func() {
		if broken := recover(); broken != nil {
			e.m.deps.Logger.Error("a service's start panicked", "service", service, "panic", broken, "stack", string(debug.Stack()))
			err = fault.Internal(fmt.Sprintf("the start of service %q", service), broken)
		}
	}()
	return do()
}

// bring makes one service run, with its ports open.
func (e *Enclave) bring(ctx context.Context, handle backend.Enclave, a *addition, opts AddOptions) error {
	if ctx.Err() != nil {
		a.intact = a.old
		return e.cancelled(ctx, a.row.Name)
	}
	if a.old {
		if err := e.clear(ctx, handle, a); err != nil {
			return e.startFault(ctx, handle, a.row, err)
		}
	}
	reserve := func() error { return e.reserve(ctx, handle, a) }
	start := func() error { return handle.Start(ctx, e.spec(a.row)) }
	steps := []func() error{reserve, start}
	if a.row.Config.Task && !usesAddress(a.row.Config) {
		steps = []func() error{start, reserve} // it may get that of an earlier task: backend.Warmer
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return e.startFault(ctx, handle, a.row, err)
		}
	}
	return e.awaitPorts(ctx, handle, a.row, opts)
}

// reserve enters a service's address in its row.
func (e *Enclave) reserve(ctx context.Context, handle backend.Enclave, a *addition) error {
	address, err := handle.Reserve(ctx, backend.ServiceName(a.row.Name))
	if err != nil {
		return fmt.Errorf("address: %w", err)
	}
	addressed := *a.row
	addressed.Address = address
	a.row = &addressed
	e.show(a.row)
	return nil
}

// show makes a row visible here without a transaction: it only gains what is
// known anew, such as the address that readiness checks need.
func (e *Enclave) show(row *serviceRow) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.services[row.Name] = row
}

// clear ends the service that is replaced. Up to the second write the old one
// is whole and can be taken up again; after it, the new one is to be.
func (e *Enclave) clear(ctx context.Context, handle backend.Enclave, a *addition) error {
	name := backend.ServiceName(a.row.Name)
	if _, err := handle.Stop(ctx, name, stopGrace); err != nil && !errors.Is(err, fault.ErrNotFound) {
		a.intact = true
		return fmt.Errorf("stop what it replaces: %w", err)
	}
	row := *a.row
	row.Phase, row.Previous, row.Ran = phaseIntended, nil, false
	if err := e.change("service cleared", change{put: []*serviceRow{&row}}); err != nil {
		a.intact = true
		return err
	}
	a.row = &row
	err := fault.ErrUnsupported
	if c, ok := handle.(backend.Clearer); ok {
		err = c.Clear(ctx, name)
	}
	if errors.Is(err, fault.ErrUnsupported) {
		err = handle.Remove(ctx, name)
	}
	if err != nil {
		return fmt.Errorf("remove what it replaces: %w", err)
	}
	return nil
}

// conclude writes what became of the services, in one transaction, after
// removing those that may not stay.
func (e *Enclave) conclude(ctx context.Context, handle backend.Enclave, additions []*addition, opts AddOptions, batch bool) error {
	failed := slices.DeleteFunc(slices.Clone(additions), func(a *addition) bool { return a.err == nil })
	if len(failed) == 0 && opts.Passing && !slices.ContainsFunc(additions, func(a *addition) bool { return a.old }) {
		e.pass(additions)
		return nil
	}
	undoNew := len(failed) > 0 && (batch || ctx.Err() != nil)
	undo, cancel := lastWill(ctx)
	defer cancel()
	var c change
	var left []error
	for _, a := range additions {
		switch {
		case a.intact:
			if err := e.restore(undo, handle, e.serviceRow(a.row.Name), true); err != nil {
				left = append(left, err)
			}
		case undoNew && !a.old:
			if err := handle.Remove(undo, backend.ServiceName(a.row.Name)); err != nil {
				left = append(left, fmt.Errorf("remove service %q again: %w", a.row.Name, err))
				continue // its row stays intended, so that Reconcile removes it
			}
			c.remove = append(c.remove, a.row.Name)
		default:
			c.settle(a, e.failure(a.err))
		}
	}
	if err := e.change("services done", c); err != nil {
		return errors.Join(append(left, err)...)
	}
	e.m.collect()
	return combine(failed, left, len(additions), undoNew && slices.ContainsFunc(additions, func(a *addition) bool { return !a.old }))
}

// pass makes services known here that the store knows as intended.
func (e *Enclave) pass(additions []*addition) {
	for _, a := range additions {
		row := *a.row
		row.Phase, row.passing = phaseDone, true
		e.show(&row)
	}
}

// settle enters a service that is there to stay, well or failed.
func (c *change) settle(a *addition, failure *Failure) {
	row := *a.row
	row.Phase, row.Failure, row.Previous, row.Ran = phaseDone, failure, nil, false
	c.put = append(c.put, &row)
	if !a.old {
		c.enter = append(c.enter, Identifier{UUID: row.UUID, Name: row.Name})
	}
}

func (e *Enclave) failure(err error) *Failure {
	if err == nil {
		return nil
	}
	f := fault.From(err, "E0333")
	return &Failure{Code: f.Code, Summary: f.Summary, Evidence: f.Evidence, Hint: f.Hint, At: e.m.deps.Now().UTC()}
}
