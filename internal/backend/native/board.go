package native

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/network"
)

// board is what the gateway process of an enclave is told: the names, and the
// ports to publish. Changes that come while one is being applied are applied
// together: ten services that start at once cost two or three rounds, not ten.
type board struct {
	e    *Enclave
	turn chan struct{} // holds a token while nobody applies

	mu        sync.Mutex
	rules     map[backend.ServiceName][]network.Rule // what is in force
	published map[backend.ServiceName][]backend.Published
	waiting   []*change
}

// change replaces the rules of one service; with refresh nothing changes, but
// the names are told anew and the gateway process is there afterwards.
type change struct {
	name    backend.ServiceName
	rules   []network.Rule
	refresh bool
	done    bool
	err     error
}

func newBoard(e *Enclave) *board {
	b := &board{e: e, turn: make(chan struct{}, 1),
		rules:     map[backend.ServiceName][]network.Rule{},
		published: map[backend.ServiceName][]backend.Published{}}
	b.turn <- struct{}{}
	return b
}

// rulesOf gives the rules of a service's spec.
func rulesOf(spec backend.ServiceSpec, ip netip.Addr) []network.Rule {
	var rules []network.Rule
	for _, p := range spec.Publish {
		host := p.HostIP
		if !host.IsValid() {
			host = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		rules = append(rules, network.Rule{
			Service: string(spec.Name), ID: p.ID, Proto: p.Proto,
			Host: netip.AddrPortFrom(host, p.HostPort), Target: netip.AddrPortFrom(ip, p.Port),
		})
	}
	return rules
}

// preset says what is in force without telling the gateway process: what a
// process before this one had told it.
func (b *board) preset(name backend.ServiceName, rules []network.Rule) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rules[name] = rules
}

// set publishes the ports of a service and makes all reserved names known.
func (b *board) set(ctx context.Context, name backend.ServiceName, rules []network.Rule) error {
	return b.do(ctx, &change{name: name, rules: rules})
}

// refresh sees to it that the gateway process is there and knows all names.
func (b *board) refresh(ctx context.Context) error {
	return b.do(ctx, &change{refresh: true})
}

// of gives the published ports of a service.
func (b *board) of(name backend.ServiceName) []backend.Published {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.published[name])
}

// do queues a change and applies what is queued once it is its turn.
func (b *board) do(ctx context.Context, c *change) error {
	b.mu.Lock()
	b.waiting = append(b.waiting, c)
	b.mu.Unlock()
	select {
	case <-b.turn:
		defer func() { b.turn <- struct{}{} }()
	case <-ctx.Done():
		b.mu.Lock()
		defer b.mu.Unlock()
		if c.done { // applied by another's turn meanwhile
			return c.err
		}
		b.waiting = slices.DeleteFunc(b.waiting, func(o *change) bool { return o == c })
		return context.Cause(ctx)
	}
	b.mu.Lock()
	batch := b.waiting
	b.waiting = nil
	done, err := c.done, c.err
	b.mu.Unlock()
	if done {
		return err
	}
	b.applyAll(ctx, batch)
	return c.err
}

// applyAll applies changes together, or one by one where together they fail, so
// that a port that can't be had is the error of the service that asks for it.
// A caller's context must not fail the changes of others: only the enclave's
// end does, beside the bounds of package network.
func (b *board) applyAll(ctx context.Context, batch []*change) {
	if len(batch) > 1 {
		ctx = context.WithoutCancel(ctx)
	}
	ctx, cancel := b.e.bounded(ctx, startBound, "the gateway process")
	defer cancel()
	if err := b.apply(ctx, batch); err == nil || len(batch) == 1 {
		b.finish(batch, err)
		return
	}
	for _, c := range batch {
		b.finish([]*change{c}, b.apply(ctx, []*change{c}))
	}
}

func (b *board) finish(batch []*change, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range batch {
		c.done, c.err = true, err
	}
}

func (b *board) apply(ctx context.Context, batch []*change) error {
	n, err := b.e.connect(ctx)
	if err != nil {
		return err
	}
	b.mu.Lock()
	rules := maps.Clone(b.rules)
	b.mu.Unlock()
	for _, c := range batch {
		switch {
		case c.refresh:
		case len(c.rules) == 0:
			delete(rules, c.name)
		default:
			rules[c.name] = c.rules
		}
	}
	table := network.Table{Hosts: b.hosts()}
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		table.Publish = append(table.Publish, rules[name]...)
	}
	ports, err := n.Apply(ctx, network.Launcher{Supervisor: b.e.b.launcher.Supervisor}, table)
	if err != nil {
		return err
	}
	published := map[backend.ServiceName][]backend.Published{}
	for _, p := range ports {
		name := backend.ServiceName(p.Service)
		published[name] = append(published[name], p.Published)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rules, b.published = rules, published
	return nil
}

// hosts gives the names that resolve: all that are reserved.
func (b *board) hosts() map[string]netip.Addr {
	b.e.mu.Lock()
	defer b.e.mu.Unlock()
	hosts := make(map[string]netip.Addr, len(b.e.doc.Addresses))
	for name, ip := range b.e.doc.Addresses {
		if !isPlace(name) {
			hosts[string(name)] = ip
		}
	}
	return hosts
}
