package enclave

import (
	"context"
	"errors"
	"fmt"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file stops, starts, pauses and kills services that are there.

// StopService stops a service and keeps its files, logs, address and config.
// Stopping a stopped service is no error.
func (e *Enclave) StopService(ctx context.Context, identifier string) error {
	return e.turnService(ctx, identifier, true)
}

// StartService runs a stopped service again, and returns once its process runs.
// One that the backend no longer holds, or never could start, is made anew from
// its config, ports awaited.
func (e *Enclave) StartService(ctx context.Context, identifier string) error {
	err := e.turnService(ctx, identifier, false)
	if !errors.Is(err, errNotHeld) {
		return err
	}
	s, err := e.Service(identifier)
	if err != nil {
		return err
	}
	_, err = e.AddService(ctx, s.Name, s.Config, AddOptions{})
	return err
}

// errNotHeld: the backend has no such service, though the store does.
var errNotHeld = fmt.Errorf("service on the backend: %w", fault.ErrNotFound)

// turnService stops or starts a service, intention first.
func (e *Enclave) turnService(ctx context.Context, identifier string, stop bool) error {
	word := map[bool]string{true: "stop", false: "start"}[stop]
	return e.onService(ctx, identifier, word, func(ctx context.Context, handle backend.Enclave, row *serviceRow) error {
		if _, err := handle.Inspect(ctx, backend.ServiceName(row.Name)); errors.Is(err, fault.ErrNotFound) {
			if stop {
				return nil // nothing of it runs
			}
			return errNotHeld
		}
		turned := *row
		turned.Stopped, turned.Unsettled = stop, true
		if err := e.change("service turn intended", change{put: []*serviceRow{&turned}}); err != nil {
			return err
		}
		if err := apply(ctx, handle, &turned); err != nil {
			if ctx.Err() != nil {
				err = errors.Join(err, e.giveUp(ctx, handle, &turned))
			}
			return err
		}
		settled := turned
		settled.Unsettled = false
		if !stop {
			settled.Failure = nil
		}
		return e.change("service turn done", change{put: []*serviceRow{&settled}})
	})
}

// giveUp enters what a service is after its turn was cancelled: the next start of
// the engine is not to go on with what nobody wants any more.
func (e *Enclave) giveUp(ctx context.Context, handle backend.Enclave, turned *serviceRow) error {
	ctx, cancel := lastWill(ctx)
	defer cancel()
	status, err := handle.Inspect(ctx, backend.ServiceName(turned.Name))
	if err != nil {
		return err
	}
	left := *turned
	left.Stopped, left.Unsettled = !status.Running(), false
	return e.change("service turn given up", change{put: []*serviceRow{&left}})
}

// apply makes a service run or not, as its row says. Idempotent.
func apply(ctx context.Context, handle backend.Enclave, row *serviceRow) error {
	if row.Stopped {
		_, err := handle.Stop(ctx, backend.ServiceName(row.Name), stopGrace)
		return err
	}
	return handle.Restart(ctx, backend.ServiceName(row.Name))
}

// PauseService freezes a service's processes, as if the machine had stalled.
func (e *Enclave) PauseService(ctx context.Context, identifier string) error {
	return e.freeze(ctx, identifier, "pause", backend.Pauser.Pause)
}

// UnpauseService lets them go on.
func (e *Enclave) UnpauseService(ctx context.Context, identifier string) error {
	return e.freeze(ctx, identifier, "unpause", backend.Pauser.Unpause)
}

func (e *Enclave) freeze(ctx context.Context, identifier, verb string, do func(backend.Pauser, context.Context, backend.ServiceName) error) error {
	return e.onService(ctx, identifier, verb, func(ctx context.Context, handle backend.Enclave, row *serviceRow) error {
		pauser, ok := handle.(backend.Pauser)
		if !ok {
			return fmt.Errorf("the %s backend: %w", e.m.backend.Name(), fault.ErrUnsupported)
		}
		return do(pauser, ctx, backend.ServiceName(row.Name))
	})
}

// KillService ends a service's processes at once, as a crash would. It may be
// started again.
func (e *Enclave) KillService(ctx context.Context, identifier string) error {
	return e.onService(ctx, identifier, "kill", func(ctx context.Context, handle backend.Enclave, row *serviceRow) error {
		_, err := handle.Stop(ctx, backend.ServiceName(row.Name), 0)
		return err
	})
}

// onService does something to a service in its turn.
func (e *Enclave) onService(ctx context.Context, identifier, verb string, do func(context.Context, backend.Enclave, *serviceRow) error) error {
	ctx, done := e.bind(ctx)
	defer done()
	row, release, err := e.claim(ctx, identifier)
	if err != nil {
		return err
	}
	defer release()
	handle, err := e.active(ctx)
	if err != nil {
		return err
	}
	if err := do(ctx, handle, row); err != nil {
		return fault.From(fmt.Errorf("%s service %q: %w", verb, row.Name, err), "E0349")
	}
	return nil
}
