package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/lepto-dev/lepto/internal/backend/native/gateway"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file has the gateway process serve a table.

// Launcher says how to start a gateway process: `Supervisor net DIR`.
type Launcher struct{ Supervisor string }

// Apply has the enclave's gateway process, started if there is none, serve
// exactly this table of names and published ports, and gives the host ports in
// the order of its rules. A host port that can't be had is a *fault.Fault
// (E0420 where it is in use); then the table before stays in force. Calls wait
// for one another. It also repairs the way through firewalls that the host has
// got, or reloaded, meanwhile.
func (n *Network) Apply(ctx context.Context, l Launcher, t Table) ([]Published, error) {
	if err := t.Validate(); err != nil {
		return nil, fmt.Errorf("gateway table: %w: %w", fault.ErrInvalid, err)
	}
	select {
	case <-n.applying:
		defer func() { n.applying <- struct{}{} }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if err := n.openForeignChains(ctx); err != nil {
		return nil, err
	}
	_, before, err := gateway.ReadTable(n.names.netDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	published, err := n.serve(ctx, l, t)
	if err != nil {
		// What is in place must be what was accepted, for the engine may end at any
		// time. The cause may be ctx, so it doesn't bound the way back; an error
		// there has the same cause and would only repeat it.
		_, _ = n.serve(context.WithoutCancel(ctx), l, before)
		return nil, err
	}
	return published, nil
}

// serve puts a table in place and makes it take effect. Both waits are bounded
// by package gateway.
func (n *Network) serve(ctx context.Context, l Launcher, t Table) ([]Published, error) {
	setting := gateway.Setting{NetNS: n.names.netns, Gateway: n.cfg.gateway(), Subnet: n.cfg.Subnet.Masked()}
	if err := gateway.WriteTable(n.names.netDir, setting, t); err != nil {
		return nil, err
	}
	published, err := gateway.Reload(ctx, n.names.netDir)
	if !errors.Is(err, fault.ErrNotRunning) {
		return published, err
	}
	return gateway.Launch(ctx, l.Supervisor, n.names.netDir)
}

// openForeignChains looks for firewalls of others under the host's lock.
func (n *Network) openForeignChains(ctx context.Context) error {
	h, err := lockHost(ctx)
	if err != nil {
		return err
	}
	defer h.unlock()
	return h.passForeignChains(n.names)
}
