package enclave

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/link"
)

// This file changes the connections between subnetworks, and the subnetworks of
// services. The topology is a row of its own: it is written before the backend
// is told, and put back if the backend can't.

// subnetwork gives where the service is: where it was moved to, or else where its
// config wants it.
func (r *serviceRow) subnetwork() string {
	switch {
	case r.Subnetwork != "":
		return r.Subnetwork
	case r.Config.Subnetwork != "":
		return r.Config.Subnetwork
	}
	return link.DefaultSubnetwork
}

// SetConnection sets the connection between two subnetworks, for one direction
// or both. It holds for all services when the call returns. On failure the old
// one holds.
func (e *Enclave) SetConnection(ctx context.Context, p link.Pair, d link.Direction, c link.Connection) error {
	return e.relink(ctx, "connection", func(t link.Topology) link.Topology { return t.Set(p, d, c) })
}

// SetDefaultConnection sets the connection of all pairs that have none of their
// own.
func (e *Enclave) SetDefaultConnection(ctx context.Context, c link.Connection) error {
	return e.relink(ctx, "default connection", func(t link.Topology) link.Topology { return t.SetDefault(c) })
}

// RemoveConnection takes back what SetConnection did: the default connection, as
// it is now, holds for the pair. Nothing set, or subnetworks that nobody knows,
// is no error.
func (e *Enclave) RemoveConnection(ctx context.Context, p link.Pair, d link.Direction) error {
	return e.relink(ctx, "connection removed", func(t link.Topology) link.Topology {
		out, changed := t.Remove(p, d)
		if !changed {
			e.m.deps.Logger.Warn("there is no connection to remove", "enclave", e.Name(), "between", p[0], "and", p[1])
		}
		return out
	})
}

// HealConnections lets everything pass again, and calls off scheduled faults.
func (e *Enclave) HealConnections(ctx context.Context) error {
	if err := e.CallOffFaults(ctx); err != nil {
		return err
	}
	return e.relink(ctx, "connections healed", link.Topology.Heal)
}

// MoveService puts a service into another subnetwork, while it runs or not. Its
// process, address and ports stay.
func (e *Enclave) MoveService(ctx context.Context, identifier, subnetwork string) (*Service, error) {
	ctx, done := e.bind(ctx)
	defer done()
	row, release, err := e.claim(ctx, identifier)
	if err != nil {
		return nil, err
	}
	defer release()
	if row.subnetwork() == subnetwork {
		return row.service(), e.reshape(ctx)
	}
	moved := *row
	moved.Subnetwork = subnetwork
	if err := e.change("service moved", change{put: []*serviceRow{&moved}}); err != nil {
		return nil, err
	}
	if err := e.reshape(ctx); err != nil {
		undo, cancel := lastWill(ctx)
		defer cancel()
		back := e.change("service moved back", change{put: []*serviceRow{row}})
		if back == nil {
			_ = e.reshape(undo) // it has just failed, and is tried again with the next change
		}
		return nil, err
	}
	return moved.service(), nil
}

// relink changes the topology: row first, then the backend. Changes follow one
// another. The enclave may be stopped: its services will find the new rules.
func (e *Enclave) relink(ctx context.Context, point string, edit func(link.Topology) link.Topology) error {
	ctx, done := e.bind(ctx)
	defer done()
	select {
	case <-e.linking:
		defer func() { e.linking <- struct{}{} }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if _, err := e.open(ctx); err != nil {
		return err
	}
	before := e.topology()
	after := edit(before)
	if err := e.putLinks(point, after); err != nil {
		return err
	}
	if err := e.shape(ctx); err != nil {
		undo, cancel := lastWill(ctx)
		defer cancel()
		if back := e.putLinks(point+" undone", before); back == nil {
			_ = e.shape(undo) // it has just failed, and is tried again with the next change
		}
		return err
	}
	return nil
}

// putLinks writes the topology, first to the store, then here.
func (e *Enclave) putLinks(point string, t link.Topology) error {
	if err := e.m.store.putLinks(e.uuid, point, t); err != nil {
		return fmt.Errorf("enclave %q: %w", e.Name(), err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.links = t
	return nil
}

func (e *Enclave) topology() link.Topology {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.links
}

// Connections gives the rules between subnetworks.
func (e *Enclave) Connections() (byDefault link.Connection, overrides []link.Override) {
	t := e.topology()
	return t.Default, t.Overrides
}

// reshape has the backend apply what the rows say, after services came, went or
// moved.
func (e *Enclave) reshape(ctx context.Context) error {
	select {
	case <-e.linking:
		defer func() { e.linking <- struct{}{} }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return e.shape(ctx)
}

// shape is reshape in one's turn. The backend is asked only where there are
// rules, or were.
func (e *Enclave) shape(ctx context.Context) error {
	table := e.LinkTable()
	e.mu.Lock()
	idle := table.Blank() && !e.shaped
	e.mu.Unlock()
	if idle {
		return nil
	}
	handle, err := e.open(ctx)
	if err != nil {
		return err
	}
	shaper, ok := handle.(backend.Shaper)
	if !ok {
		return fault.New("E0430", "the %s backend can't shape the links between services", e.m.backend.Name()).
			WithHint("use a backend that does, such as native")
	}
	if err := shaper.Shape(ctx, table); err != nil {
		return fault.From(fmt.Errorf("connections of enclave %q: %w", e.Name(), err), "E0431")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.shaped = true
	return nil
}

// LinkTable gives the rules and who is where: services that have an address.
func (e *Enclave) LinkTable() link.Table {
	e.mu.Lock()
	defer e.mu.Unlock()
	table := link.Table{Topology: e.links, Members: map[string]string{}}
	for name, row := range e.services {
		if row.Address.IP.IsValid() && row.Phase != phaseRemoving {
			table.Members[name] = row.subnetwork()
		}
	}
	return table
}

// shapeAhead makes the rules hold for services that are about to start: every
// one of a batch has its address, and all are told of all, before the first
// process runs.
func (e *Enclave) shapeAhead(ctx context.Context, handle backend.Enclave, additions []*addition) error {
	if e.topology().Blank() {
		return nil
	}
	for _, a := range additions {
		address, err := handle.Reserve(ctx, backend.ServiceName(a.row.Name))
		if err != nil {
			return fmt.Errorf("service %q: address: %w", a.row.Name, err)
		}
		addressed := *a.row
		addressed.Address = address
		a.row = &addressed
		e.show(a.row)
	}
	return e.reshape(ctx)
}

// reshapeAfter tells the backend of who is left after services could not be
// added.
func (e *Enclave) reshapeAfter(ctx context.Context) error {
	undo, cancel := lastWill(ctx)
	defer cancel()
	return e.reshape(undo)
}

// Links tells all there is to know of the connections.
type Links struct {
	Table       link.Table   `json:"table"`
	Subnetworks []string     `json:"subnetworks"` // all that are named by a rule or a service, sorted
	Stats       []link.Stats `json:"stats,omitempty"`
	// Schedules are those of faults, over ones too, oldest first.
	Schedules []FaultSchedule `json:"schedules,omitempty"`
}

// Links describes the connections, with what the backend has counted.
func (e *Enclave) Links(ctx context.Context) (Links, error) {
	table := e.LinkTable()
	names := map[string]bool{link.DefaultSubnetwork: true}
	for _, name := range table.Subnetworks {
		names[name] = true
	}
	for _, name := range table.Members {
		names[name] = true
	}
	out := Links{Table: table, Subnetworks: slices.Sorted(maps.Keys(names))}
	var err error
	if out.Schedules, err = e.FaultSchedules(); err != nil {
		return out, err
	}
	handle, err := e.open(ctx)
	if err != nil {
		return out, err
	}
	if shaper, ok := handle.(backend.Shaper); ok {
		if out.Stats, err = shaper.LinkStats(ctx); err != nil {
			return out, fmt.Errorf("counters of the links of enclave %q: %w", e.Name(), err)
		}
	}
	return out, nil
}
