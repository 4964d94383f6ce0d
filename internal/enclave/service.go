package enclave

import (
	"context"
	"errors"
	"fmt"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file finds, removes, stops and starts services.

// resolve gives the row of the service that a full UUID, short UUID or name
// stands for. E0344 if there is none, E0343 if several fit.
func (e *Enclave) resolve(identifier string) (*serviceRow, error) {
	rows := e.serviceRows()
	ids := make([]Identifier, len(rows))
	names := make([]string, len(rows))
	for i, row := range rows {
		ids[i], names[i] = Identifier{UUID: row.UUID, Name: row.Name}, row.Name
	}
	id, err := find("service", identifier, ids)
	if errors.Is(err, fault.ErrNotFound) {
		return nil, missing("E0344", "service", identifier, names)
	}
	if err != nil {
		return nil, err
	}
	return e.serviceRow(id.Name), nil
}

// Service finds a service by full UUID, short UUID or name, as the store has
// it: its status is UNKNOWN. E0344 if there is none.
func (e *Enclave) Service(identifier string) (*Service, error) {
	row, err := e.resolve(identifier)
	if err != nil {
		return nil, err
	}
	return row.service(), nil
}

// Services lists the services by name, as the store has them.
func (e *Enclave) Services() []*Service {
	rows := e.serviceRows()
	out := make([]*Service, len(rows))
	for i, row := range rows {
		out[i] = row.service()
	}
	return out
}

// Inspect is Service with what the backend knows now.
func (e *Enclave) Inspect(ctx context.Context, identifier string) (*Service, error) {
	row, err := e.resolve(identifier)
	if err != nil {
		return nil, err
	}
	handle, err := e.open(ctx)
	if err != nil {
		return nil, err
	}
	return inspect(ctx, handle, row)
}

// InspectAll is Services with what the backend knows now.
func (e *Enclave) InspectAll(ctx context.Context) ([]*Service, error) {
	rows := e.serviceRows()
	if len(rows) == 0 {
		return nil, nil
	}
	handle, err := e.open(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]*Service, len(rows))
	for i, row := range rows {
		if out[i], err = inspect(ctx, handle, row); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func inspect(ctx context.Context, handle backend.Enclave, row *serviceRow) (*Service, error) {
	s := row.service()
	status, err := handle.Inspect(ctx, backend.ServiceName(row.Name))
	switch {
	case errors.Is(err, fault.ErrNotFound):
		return s, nil // it never began, or is gone: UNKNOWN
	case err != nil:
		return nil, fmt.Errorf("service %q: %w", row.Name, err)
	}
	s.Process, s.Status = status, ServiceStopped
	if status.Running() {
		// The host's ports stay with a stopped service, but nothing answers there.
		s.Status, s.Published = ServiceRunning, status.Published
	}
	return s, nil
}

// ServiceHistory lists every service there ever was in the enclave, live and
// removed, in order of creation. A name may come several times.
func (e *Enclave) ServiceHistory() ([]Identifier, error) { return e.m.store.serviceHistory(e.uuid) }

// claim takes the turn of one service. The row is read once the turn is there.
func (e *Enclave) claim(ctx context.Context, identifier string) (row *serviceRow, release func(), err error) {
	if row, err = e.resolve(identifier); err != nil {
		return nil, nil, err
	}
	release, err = e.claims.names(ctx, row.Name)
	if err != nil {
		return nil, nil, fmt.Errorf("service %q: %w", row.Name, err)
	}
	if row, err = e.resolve(identifier); err != nil {
		release()
		return nil, nil, err
	}
	return row, release, nil
}

// RemoveService removes a service with its files and logs. Its persistent
// directories stay with the enclave, and its identity in the history.
func (e *Enclave) RemoveService(ctx context.Context, identifier string) error {
	finish, err := e.BeginRemoval(ctx, identifier)
	if err != nil {
		return err
	}
	return finish()
}

// BeginRemoval is the first part of RemoveService: from then on nobody uses the
// service any more. finish, which must be called, is the rest, which is what takes
// time. Whoever wants the name waits for it.
func (e *Enclave) BeginRemoval(ctx context.Context, identifier string) (finish func() error, err error) {
	ctx, done := e.bind(ctx)
	defer done()
	row, release, err := e.claim(ctx, identifier)
	if err != nil {
		return nil, err
	}
	handle, err := e.open(ctx)
	if cause := context.Cause(ctx); err == nil && cause != nil {
		err = fmt.Errorf("remove service %q: %w", row.Name, cause)
	}
	if err == nil {
		removing := *row
		removing.Phase = phaseRemoving
		if row.passing { // after a crash it is removed as it is
			e.show(&removing)
		} else {
			err = e.change("service removing", change{put: []*serviceRow{&removing}})
		}
	}
	if err != nil {
		release()
		return nil, err
	}
	return func() error {
		defer release()
		return e.remove(ctx, handle, row)
	}, nil
}

// remove is the rest of a removal. One that has begun goes on to its end: half a
// service is of no use.
func (e *Enclave) remove(ctx context.Context, handle backend.Enclave, row *serviceRow) error {
	ctx, cancel := lastWill(ctx)
	defer cancel()
	if err := handle.Remove(ctx, backend.ServiceName(row.Name)); err != nil {
		return fault.From(fmt.Errorf("remove service %q: %w", row.Name, err), "E0349")
	}
	gone := change{remove: []string{row.Name}}
	if row.passing {
		gone.enter = []Identifier{{UUID: row.UUID, Name: row.Name}}
	}
	if err := e.change("service removed", gone); err != nil {
		return err
	}
	if len(row.Trees) > 0 {
		e.m.collect()
	}
	if err := e.reshape(ctx); err != nil {
		// The service is gone; rules for its address hurt nobody.
		e.m.deps.Logger.Warn("connections after a service was removed", "enclave", e.uuid, "service", row.Name, "error", err)
	}
	return nil
}
