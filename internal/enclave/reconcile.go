package enclave

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file brings the store and the backend together again, after whatever
// happened between this process and the one before it.

// Report tells what Reconcile did.
type Report struct {
	Adopted  []string `json:"adopted,omitempty"`  // enclaves, by name
	Removed  []string `json:"removed,omitempty"`  // half made or half removed: "enclave x", "service y of enclave x"
	Restored []string `json:"restored,omitempty"` // services whose replacement was undone
	Lost     []string `json:"lost,omitempty"`     // rows of which the backend holds nothing
	Problems []string `json:"problems,omitempty"` // what could not be reconciled, and stays as it is
}

// reporter gathers a Report from several goroutines.
type reporter struct {
	mu  sync.Mutex
	r   Report
	log *slog.Logger
}

func (r *reporter) note(list *[]string, message string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*list = append(*list, fmt.Sprintf(message, args...))
}

func (r *reporter) problem(what string, err error) {
	r.log.Error("reconcile", "what", what, "error", err)
	r.note(&r.r.Problems, "%s: %v", what, err)
}

// Reconcile makes store and backend agree: what is done is adopted, what was
// begun and not finished is removed, a removal that was begun is finished, an
// enclave stopped or started half-way is stopped or started. An enclave or
// service that the backend holds and the store doesn't know is removed: rows
// are written before side effects, so it can only be a remnant. What fails is
// in the report and stays for the next time; the error is for what prevented
// looking at all.
func (m *Manager) Reconcile(ctx context.Context) (Report, error) {
	held, err := m.backend.Enclaves(ctx)
	if err != nil {
		return Report{}, fmt.Errorf("list enclaves of the %s backend: %w", m.backend.Name(), err)
	}
	r := &reporter{log: m.deps.Logger}
	m.mu.Lock()
	known := make(map[string]*Enclave, len(m.enclaves))
	for uuid, e := range m.enclaves {
		known[uuid] = e
	}
	m.mu.Unlock()

	var group errgroup.Group
	group.SetLimit(destroyedAtOnce)
	for _, id := range held {
		if known[string(id)] == nil {
			group.Go(func() error { m.removeStranger(ctx, id, r); return nil })
		}
	}
	for _, e := range known {
		group.Go(func() error { e.reconcile(ctx, slices.Contains(held, backend.EnclaveID(e.uuid)), r); return nil })
	}
	_ = group.Wait() // problems are in the report
	m.collect()
	for _, list := range [][]string{r.r.Adopted, r.r.Removed, r.r.Restored, r.r.Lost, r.r.Problems} {
		slices.Sort(list)
	}
	return r.r, context.Cause(ctx)
}

// removeStranger destroys an enclave that the store does not know.
func (m *Manager) removeStranger(ctx context.Context, id backend.EnclaveID, r *reporter) {
	what := "enclave " + id.Short()
	r.log.Warn("enclave unknown to the store is destroyed", "enclave", string(id))
	if err := m.wipe(ctx, enclaveRow{UUID: string(id), Name: id.Short()}); err != nil {
		r.problem(what, err)
		return
	}
	r.note(&r.r.Removed, "%s", what)
}

// wipe removes all that the backend holds of an enclave, half made or not.
func (m *Manager) wipe(ctx context.Context, row enclaveRow) error {
	id := backend.EnclaveID(row.UUID)
	handle, err := m.backend.OpenEnclave(ctx, id)
	if err != nil {
		// What can't be opened is half made, or gone. Making an enclave is
		// idempotent, and destroying it leaves nothing, so this works for both.
		handle, err = m.backend.CreateEnclave(ctx, backend.EnclaveSpec{ID: id, Name: row.Name})
	}
	if err != nil {
		return err
	}
	return handle.Destroy(ctx)
}

// reconcile does one enclave.
func (e *Enclave) reconcile(ctx context.Context, held bool, r *reporter) {
	row := e.row()
	what := fmt.Sprintf("enclave %q", row.Name)
	if row.Phase != phaseDone {
		if err := e.sweep(ctx, row, held); err != nil {
			r.problem(what, err)
			return
		}
		r.note(&r.r.Removed, "%s", what)
		return
	}
	handle, err := e.open(ctx)
	var f *fault.Fault
	switch {
	case errors.As(err, &f) && f.Code == codeGone:
		r.note(&r.r.Lost, "%s", what)
		return
	case err != nil:
		r.problem(what, err)
		return
	}
	if err := e.reconcileServices(ctx, handle, r); err != nil {
		r.problem(what, err)
	}
	if err := e.reshape(ctx); err != nil {
		r.problem(what, err)
	}
	if row.Unsettled {
		if err := e.settle(ctx, handle); err != nil {
			r.problem(what, err)
			return
		}
		row.Unsettled = false
		if err := e.putRow("enclave settled", row); err != nil {
			r.problem(what, err)
		}
	}
	if err := e.resumeFaults(); err != nil {
		r.problem(what, err)
	}
	r.note(&r.r.Adopted, "%s", row.Name)
}

// sweep removes an enclave that was never complete, or whose removal had begun.
func (e *Enclave) sweep(ctx context.Context, row enclaveRow, held bool) error {
	if held {
		if err := e.m.wipe(ctx, row); err != nil {
			return err
		}
	}
	if err := e.m.store.deleteEnclave("enclave swept", row.UUID); err != nil {
		return err
	}
	e.m.forget(e)
	return nil
}

// reconcileServices does the services of an enclave, each on its own.
func (e *Enclave) reconcileServices(ctx context.Context, handle backend.Enclave, r *reporter) error {
	held, err := handle.Services(ctx)
	if err != nil {
		return fmt.Errorf("list services: %w", err)
	}
	var group errgroup.Group
	group.SetLimit(destroyedAtOnce)
	for _, name := range held {
		if e.serviceRow(string(name)) == nil {
			group.Go(func() error { e.removeRemnant(ctx, handle, string(name), r); return nil })
		}
	}
	for _, row := range e.serviceRows() {
		group.Go(func() error {
			if err := e.reconcileService(ctx, handle, row, slices.Contains(held, backend.ServiceName(row.Name)), r); err != nil {
				r.problem(e.label(row.Name), err)
			}
			return nil
		})
	}
	return group.Wait()
}

func (e *Enclave) label(service string) string {
	return fmt.Sprintf("service %q of enclave %q", service, e.Name())
}

// removeRemnant removes a service that has no row.
func (e *Enclave) removeRemnant(ctx context.Context, handle backend.Enclave, name string, r *reporter) {
	r.log.Warn("service unknown to the store is removed", "enclave", e.uuid, "service", name)
	if err := handle.Remove(ctx, backend.ServiceName(name)); err != nil {
		r.problem(e.label(name), err)
		return
	}
	r.note(&r.r.Removed, "%s", e.label(name))
}

// reconcileService does one service that has a row.
func (e *Enclave) reconcileService(ctx context.Context, handle backend.Enclave, row *serviceRow, held bool, r *reporter) error {
	switch row.Phase {
	case phaseIntended, phaseRemoving:
		// Also where it isn't held: its address may be reserved.
		if err := handle.Remove(ctx, backend.ServiceName(row.Name)); err != nil {
			return err
		}
		r.note(&r.r.Removed, "%s", e.label(row.Name))
		return e.change("service swept", change{remove: []string{row.Name}})
	case phaseReplacing:
		if row.Previous == nil {
			return errors.New("the row of the service before it is missing")
		}
		if err := e.restore(ctx, handle, row, held); err != nil {
			return err
		}
		r.note(&r.r.Restored, "%s", e.label(row.Name))
		return nil
	}
	if held && row.Unsettled && !e.row().Stopped {
		if err := apply(ctx, handle, row); err != nil {
			return err
		}
		settled := *row
		settled.Unsettled = false
		return e.change("service settled", change{put: []*serviceRow{&settled}})
	}
	if held || row.Failure != nil {
		return nil
	}
	r.note(&r.r.Lost, "%s", e.label(row.Name))
	lost := *row
	lost.Failure = &Failure{
		Code: codeGone, At: e.m.deps.Now().UTC(),
		Summary: fmt.Sprintf("service %q is gone from the %s backend", row.Name, e.m.backend.Name()),
		Hint:    "start it anew from its config: lepto service start " + e.Name() + " " + row.Name,
	}
	return e.change("service lost", change{put: []*serviceRow{&lost}})
}

// restore undoes a replacement that has not removed anything yet: the service
// before it holds again, and runs if it ran.
func (e *Enclave) restore(ctx context.Context, handle backend.Enclave, row *serviceRow, held bool) error {
	if held && row.Ran && !e.row().Stopped {
		if err := handle.Restart(ctx, backend.ServiceName(row.Name)); err != nil {
			return fmt.Errorf("run it again as it was: %w", err)
		}
	}
	return e.change("service restored", change{put: []*serviceRow{row.Previous}})
}
