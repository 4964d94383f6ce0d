// Package shape makes an enclave's network as bad as its rules say.
//
// Its main type is [Shaper]: it has the table of an enclave (package link) put
// into force, for services that run and for those that are about to. It works at
// the ports of the enclave's bridge, where no process of a service can get at it,
// and in one of two ways ([Mechanism]): with the kernel's netem where there is
// one, else with the link relay (package relay), to which the kernel redirects what
// a rule is for.
//
// All that was asked for lies in one file of the enclave's folder, written before
// it is done. The package must not know of containers, specs or plans.
package shape

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend/native/network/netspace"
	"github.com/lepto-dev/lepto/internal/backend/native/relay"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/link"
)

// Config says which network.
type Config struct {
	Dir     string // the package's own folder, absolute; made when it is needed
	NetNS   string // where the enclave's network namespace is bound
	Subnet  netip.Prefix
	Bridge  string
	Program string // lepto-supervisor
	// Port names a service's port of the bridge, Hardware gives the link address of
	// its other end.
	Port     func(service string) string
	Hardware func(netip.Addr) []byte
	// Mechanism tells how; Probe finds out. It is asked when it matters first.
	Mechanism func() Mechanism
	// CanRelay reports whether the relay would do as well; ProbeRelay finds out.
	CanRelay func() bool
	Logger   *slog.Logger
}

// A Shaper is the rules of one enclave. Safe for concurrent use.
type Shaper struct {
	cfg  Config
	turn chan struct{} // holds a token while nobody changes anything

	mu    sync.Mutex
	table *relay.Table // in force, or about to be; nil: none

	// For the holder of the turn:
	ports     map[string]*port // what is known of them
	redirects redirects        // for the relay
}

// port is what was set up at a service's port of the bridge.
type port struct {
	index int
	// peers are those from which a netem is passed, by their address, and what it does.
	peers map[netip.Addr]link.Connection
	// late counts what their netems have delayed before they last changed.
	late map[netip.Addr]delayed
	// shares tells that the relay's filters are looked up.
	shares bool
}

// Open finds the rules of an enclave again.
func Open(cfg Config) (*Shaper, error) {
	s := &Shaper{cfg: cfg, turn: make(chan struct{}, 1), ports: map[string]*port{}, redirects: redirects{subnet: cfg.Subnet}}
	s.turn <- struct{}{}
	table, err := relay.ReadTable(cfg.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("rules of the links: %w", err)
	default:
		s.table = &table
	}
	return s, nil
}

// Active reports whether there are rules, or were.
func (s *Shaper) Active() bool { return s.current() != nil }

func (s *Shaper) current() *relay.Table {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.table
}

func (s *Shaper) enter(ctx context.Context) (func(), error) {
	select {
	case <-s.turn:
		return func() { s.turn <- struct{}{} }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Apply puts a table into force, for members whose ports are there and for those
// whose ports are to come. Addresses are those of all members.
func (s *Shaper) Apply(ctx context.Context, links link.Table, addresses map[string]netip.Addr) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if links.Free() && !s.Active() {
		return nil
	}
	if s.mechanism() == Unable {
		return fault.New("E0432", "this host's kernel can't shape links: %w", fault.ErrUnsupported).WithHint("%s", WhyUnable)
	}
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return err
	}
	before := s.mechanism()
	table := &relay.Table{NetNS: s.cfg.NetNS, Links: links, Addresses: maps.Clone(addresses), Mechanism: string(s.choose(links)), Hardware: map[string][]byte{}}
	for name, a := range addresses {
		table.Hardware[name] = s.cfg.Hardware(a)
	}
	if err := relay.WriteTable(s.cfg.Dir, *table); err != nil {
		return err
	}
	s.mu.Lock()
	s.table = table
	s.mu.Unlock()
	if s.mechanism() == before {
		return s.enforce(ctx, table, nil)
	}
	left := s.ports
	s.ports = map[string]*port{}
	if err := s.enforce(ctx, table, nil); err != nil {
		return err
	}
	return s.leaveNetem(left) // only now, so that no rule has a gap
}

// mechanism gives how the rules are kept: once it is the relay that does, it
// stays the relay.
func (s *Shaper) mechanism() Mechanism {
	if table := s.current(); table != nil && table.Mechanism != "" {
		return Mechanism(table.Mechanism)
	}
	return s.cfg.Mechanism()
}

// netemPairs is up to how many pairs have a netem each. With a normal delay one
// takes the kernel 10 KB.
const netemPairs = 20_000

// choose gives the mechanism for a table. Kernels of today refuse a netem that
// duplicates packets beside any other (since Linux 6.16, and in fixes of older
// ones): for such rules the relay takes over. It does for very many pairs too.
func (s *Shaper) choose(links link.Table) Mechanism {
	m := s.mechanism()
	duplicates := links.Default.Duplicate > 0 ||
		slices.ContainsFunc(links.Overrides, func(o link.Override) bool { return o.Connection.Duplicate > 0 })
	if m == Netem && (duplicates || links.Pairs() > netemPairs) && s.cfg.CanRelay() {
		return Relay
	}
	return m
}

// UsesRelay reports whether there is a relay to watch.
func (s *Shaper) UsesRelay() bool { return s.Active() && s.mechanism() == Relay }

// Attach makes the rules hold at the port of a service that was made just now.
// Without rules it does nothing. Until it returns, the service must not send.
func (s *Shaper) Attach(ctx context.Context, service string) error {
	if !s.Active() {
		return nil
	}
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return s.enforce(ctx, s.current(), []string{service})
}

// enforce does what a table says, at the ports of some members, or of all.
func (s *Shaper) enforce(ctx context.Context, table *relay.Table, services []string) error {
	k, err := s.openKernel()
	if err != nil {
		return err
	}
	defer k.close()
	if s.mechanism() == Relay {
		device, err := s.ensureRelay(ctx, k, services == nil)
		if err != nil {
			return err
		}
		if err := s.redirects.bringTo(k, table, device); err != nil {
			return err
		}
	}
	if services == nil {
		for service := range s.ports {
			if _, member := table.Addresses[service]; !member {
				delete(s.ports, service)
			}
		}
		for service := range table.Addresses {
			services = append(services, service)
		}
	}
	for _, service := range services {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := s.enforceAt(k, table, service); err != nil {
			return fmt.Errorf("links of service %q: %w", service, err)
		}
	}
	return nil
}

// enforceAt brings one port to what the table says.
func (s *Shaper) enforceAt(k *kernel, table *relay.Table, service string) error {
	address, member := table.Addresses[service]
	if !member {
		return nil
	}
	at, err := k.handle.LinkByName(s.cfg.Port(service))
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) || errors.Is(err, unix.ENODEV) {
		delete(s.ports, service)
		return nil // it does not run yet; Attach comes before it does
	}
	if err != nil {
		return err
	}
	p := s.ports[service]
	if p == nil || p.index != at.Attrs().Index {
		if p, err = s.learn(k, at, address); err != nil {
			return err
		}
		s.ports[service] = p
	}
	if s.mechanism() == Relay {
		if !p.shares {
			_, err = k.bind(p.index)
			p.shares = err == nil
		}
		return err
	}
	want := map[netip.Addr]link.Connection{}
	for peer, at := range table.Addresses {
		if c := table.Links.Between(peer, service); !c.Free() && peer != service {
			want[at] = c
		}
	}
	return s.netemAt(k, p, want, table.Links.Seed)
}

// learn looks at a port that was not known: what is set up there was by a process
// before this one. The bridge is told who is behind it, so that it need not find
// out by flooding.
func (s *Shaper) learn(k *kernel, at netlink.Link, address netip.Addr) (*port, error) {
	p := &port{index: at.Attrs().Index, peers: map[netip.Addr]link.Connection{}}
	err := k.handle.NeighSet(&netlink.Neigh{
		LinkIndex: p.index, Family: unix.AF_BRIDGE, State: netlink.NUD_NOARP, Flags: netlink.NTF_MASTER,
		HardwareAddr: s.cfg.Hardware(address),
	})
	if err != nil {
		return nil, fmt.Errorf("forwarding entry of the bridge: %w", err)
	}
	if s.mechanism() == Netem {
		return p, k.learnNetem(p, s.cfg.Subnet)
	}
	return p, nil
}

// Stats counts what happened to packets.
func (s *Shaper) Stats(ctx context.Context) ([]link.Stats, error) {
	table := s.current()
	if table == nil {
		return nil, nil
	}
	if s.mechanism() == Netem {
		return s.netemStats(ctx, table)
	}
	stats, err := relay.Stats(ctx, s.cfg.Dir)
	if errors.Is(err, fault.ErrNotRunning) {
		return nil, nil // it is about to be started again
	}
	return stats, err
}

// openKernel connects to the enclave's namespace.
func (s *Shaper) openKernel() (k *kernel, err error) {
	space, err := netspace.Open(s.cfg.NetNS)
	if err != nil {
		return nil, fmt.Errorf("network namespace of the enclave: %w", err)
	}
	defer space.Close()
	err = space.Do(func() error {
		k, err = newKernel()
		return err
	})
	return k, err
}

// node numbers an address in its subnet: from 1 to 1022, so that it fits into the
// handles of filters and classes.
func node(subnet netip.Prefix, a netip.Addr) uint32 {
	x, y := subnet.Masked().Addr().As4(), a.As4()
	return (uint32(y[2])<<8 | uint32(y[3])) - (uint32(x[2])<<8 | uint32(x[3]))
}

// addressOf is the inverse of node.
func addressOf(subnet netip.Prefix, node uint32) netip.Addr {
	b := subnet.Masked().Addr().As4()
	low := uint32(b[2])<<8 | uint32(b[3]) + node
	b[2], b[3] = byte(low>>8), byte(low)
	return netip.AddrFrom4(b)
}

// Destroy ends what the package has started for an enclave, by its folder alone.
// What is set up at ports goes with them.
func Destroy(ctx context.Context, dir string) error {
	if err := relay.Stop(ctx, dir); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}
