// Package network makes the network of an enclave on a Linux host, and takes
// it away without a trace.
//
// Its main type is [Network]. An enclave has one network namespace of its own,
// which holds a bridge with the gateway address; each service has a network
// namespace with one veth into that bridge. One veth pair, the uplink, joins
// the enclave's namespace and the host's. Because the bridge is not in the
// host's namespace, the host's firewall never sees traffic between services,
// and taking an enclave away is a handful of steps.
//
//	service netns          enclave netns                      host netns
//	eth0 172.16.0.5/22 --- br0 172.16.0.1/22   uplink ------- lp<id> 169.254.x.1/30
//	                       DNS, masquerade     169.254.x.2    route to the subnet, masquerade
//
// Who may reach whom:
//
//   - services of an enclave reach each other, the outside world, and what the
//     host offers to the world (not what it offers on its loopback addresses);
//   - the host reaches services by their addresses; nothing beyond it does;
//   - enclaves do not reach each other, neither services nor gateways nor
//     uplinks, also not by way of the host.
//
// Networks are IPv4. Inside, IPv6 is off on every interface but lo (::1 works),
// so that no second path, with rules of its own, exists.
//
// Everything on the host is named after the enclave's id (names.go), so
// [Destroy] needs no bookkeeping and works on what a crash left half made. The
// package knows nothing of containers, services' specs or images.
package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/gateway"
	"github.com/lepto-dev/lepto/internal/backend/native/network/netspace"
	"github.com/lepto-dev/lepto/internal/fault"
)

// Config says which network.
type Config struct {
	ID backend.EnclaveID
	// Dir is the enclave's folder, absolute. The network keeps to netns and
	// net/ in it.
	Dir string
	// Subnet is the services' range, IPv4, at most a /30; see ChooseSubnet.
	Subnet netip.Prefix
	// Gateway is the bridge's address: the subnet's first if unset.
	Gateway netip.Addr
}

func (c Config) gateway() netip.Addr {
	if c.Gateway.IsValid() {
		return c.Gateway
	}
	return c.Subnet.Masked().Addr().Next()
}

func (c Config) check() error {
	if err := checkID(c.ID); err != nil {
		return err
	}
	if !c.Subnet.IsValid() || !c.Subnet.Addr().Is4() || c.Subnet.Bits() > 30 {
		return fmt.Errorf("subnet %s: %w", c.Subnet, fault.ErrInvalid)
	}
	if !c.Subnet.Contains(c.gateway()) {
		return fmt.Errorf("gateway %s is not in subnet %s: %w", c.gateway(), c.Subnet, fault.ErrInvalid)
	}
	return nil
}

// A Network is a handle on the network of an enclave. Safe for concurrent use.
type Network struct {
	cfg    Config
	names  names
	space  *netspace.Space // the enclave's namespace
	inside *netlink.Handle // works in it
	bridge int             // index of the bridge in it
	mtu    int             // of every link, bytes

	endpoints keyedLock     // by service name
	applying  chan struct{} // holds a token while nobody applies a table

	room     sync.Mutex
	roomMade bool // for many neighbours

	closing sync.Once
}

// Table is what the gateway process serves.
type Table = gateway.Table

// Rule publishes a port.
type Rule = gateway.Rule

// Published is a port as the host reaches it.
type Published = gateway.Published

// Create makes the network of an enclave, or completes it where something is
// missing. On failure nothing is left of a network that was not there before.
// fault.ErrExists if the subnet is in use on this host: choose another.
func Create(ctx context.Context, cfg Config) (*Network, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	existed := netspace.Bound(namesOf(cfg).netns)
	n, err := Open(ctx, cfg)
	if err != nil && !existed {
		// The cause may be ctx itself, and what is half made must go all the same.
		err = errors.Join(err, Destroy(context.WithoutCancel(ctx), cfg))
	}
	return n, err
}

// Open gives a handle on a network, repairing what is missing: after a reboot
// of the host, all of it. Services' endpoints come back with AddEndpoint, and
// the gateway process with Apply.
func Open(ctx context.Context, cfg Config) (*Network, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	n := &Network{cfg: cfg, names: namesOf(cfg), applying: make(chan struct{}, 1)}
	n.applying <- struct{}{}
	if err := n.repair(ctx); err != nil {
		n.Close()
		return nil, fmt.Errorf("network of enclave %s: %w", cfg.ID.Short(), err)
	}
	return n, nil
}

// repair brings the enclave's namespace, uplink and firewall to what they
// should be. Each step looks first, so that it is cheap when all is well.
func (n *Network) repair(ctx context.Context) error {
	if err := os.MkdirAll(n.names.endpoints, 0o700); err != nil {
		return err
	}
	host, err := lockHost(ctx)
	if err != nil {
		return err
	}
	defer host.unlock()
	link, err := n.planUplink(host)
	if err != nil {
		return err
	}
	n.mtu = link.MTU
	if err := n.openSpace(ctx); err != nil {
		return err
	}
	if err := host.enableForwarding(); err != nil {
		return err
	}
	// Rules name links that need not be there yet. Each of these spends most of
	// its time waiting for the kernel's other CPUs: together 4 ms, not 9.
	var work errgroup.Group
	work.Go(func() error { return n.ensureUplink(host, link) })
	work.Go(func() error { return n.writeInside(link) })
	work.Go(func() error { return writeOutside(n.names, link) })
	work.Go(func() error { return host.passForeignChains(n.names) })
	return work.Wait()
}

// openSpace opens the enclave's namespace with its bridge, making it first
// where it is not there.
func (n *Network) openSpace(ctx context.Context) error {
	space, err := netspace.Open(n.names.netns)
	if errors.Is(err, fs.ErrNotExist) {
		// A gateway process that still lives works in a namespace that is lost.
		if err := gateway.Stop(ctx, n.names.netDir); err != nil {
			return err
		}
		if err := netspace.Create(n.names.netns, n.furnish); err != nil {
			return err
		}
		space, err = netspace.Open(n.names.netns)
	}
	if err != nil {
		return err
	}
	n.space = space
	err = space.Do(func() (err error) {
		n.inside, err = netlink.NewHandle(routeFamily)
		return err
	})
	if err != nil {
		return err
	}
	bridge, err := n.inside.LinkByName(bridgeName)
	if err != nil {
		return fmt.Errorf("bridge: %w", err)
	}
	n.bridge = bridge.Attrs().Index
	return nil
}

// NSPath is where the enclave's namespace is bound.
func (n *Network) NSPath() string { return n.names.netns }

// Dial connects to an address from inside the enclave's network. Bounded by
// ctx. fault.ErrUnsupported for anything but TCP and UDP.
func (n *Network) Dial(ctx context.Context, proto backend.Transport, dst netip.AddrPort) (net.Conn, error) {
	if proto != backend.TCP && proto != backend.UDP {
		return nil, fmt.Errorf("connect by %s: %w", proto, fault.ErrUnsupported)
	}
	return n.space.Dial(ctx, string(proto), dst)
}

// Close lets go of the network, which stays. Idempotent.
func (n *Network) Close() error {
	var err error
	n.closing.Do(func() {
		if n.inside != nil {
			n.inside.Close()
		}
		if n.space != nil {
			err = n.space.Close()
		}
	})
	return err
}

// keyedLock is a mutex per key.
type keyedLock struct {
	mu   sync.Mutex
	held map[string]chan struct{} // closed when the key is free again
}

// lock waits for the key, bounded by ctx, and gives what frees it.
func (l *keyedLock) lock(ctx context.Context, key string) (func(), error) {
	for {
		l.mu.Lock()
		busy := l.held[key]
		if busy == nil {
			free := make(chan struct{})
			if l.held == nil {
				l.held = map[string]chan struct{}{}
			}
			l.held[key] = free
			l.mu.Unlock()
			return func() {
				l.mu.Lock()
				delete(l.held, key)
				l.mu.Unlock()
				close(free)
			}, nil
		}
		l.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
