package network

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"

	"github.com/lepto-dev/lepto/internal/backend/native/network/netspace"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file gives services their place in the network.

// AddEndpoint gives a service its network namespace, and tells where it is
// bound: lo is up, eth0 has the address and is connected, the default route
// goes to the gateway. As in Docker, ports below 1024 and ping need no
// privilege. It is there before the service's first process and stays over
// restarts. Idempotent; with another address than before, the endpoint is made
// anew. Calls for different services do not wait for one another.
func (n *Network) AddEndpoint(ctx context.Context, name string, addr netip.Addr) (nsPath string, err error) {
	path, err := n.names.endpoint(name)
	if err != nil {
		return "", err
	}
	if !addr.Is4() || !n.cfg.Subnet.Contains(addr) || addr == n.cfg.gateway() {
		return "", fmt.Errorf("address %s for service %q in subnet %s: %w", addr, name, n.cfg.Subnet, fault.ErrInvalid)
	}
	unlock, err := n.endpoints.lock(ctx, name)
	if err != nil {
		return "", err
	}
	defer unlock()
	if err := n.addEndpoint(ctx, name, path, addr); err != nil {
		return "", fmt.Errorf("network of service %q: %w", name, err)
	}
	return path, nil
}

// EndpointPath tells where a service's namespace is bound, once it is.
func (n *Network) EndpointPath(name string) (string, error) { return n.names.endpoint(name) }

func (n *Network) addEndpoint(ctx context.Context, name, path string, addr netip.Addr) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if netspace.Bound(path) {
		port, err := n.inside.LinkByName(EndpointLink(name))
		if err == nil && port.Attrs().Alias == portAlias(name, addr) {
			return nil
		}
	}
	if err := n.removeEndpoint(name, path); err != nil {
		return err
	}
	if err := netspace.Create(path, func() error { return n.furnishEndpoint(name, addr) }); err != nil {
		return err
	}
	return n.makeRoomForMany(ctx)
}

// portAlias marks a bridge port: it tells a human whose it is, and us which
// address it was made for.
func portAlias(name string, addr netip.Addr) string {
	alias := addr.String() + " " + name
	return alias[:min(len(alias), 255)] // IFALIASZ
}

// furnishEndpoint prepares a service's fresh namespace; the calling thread is
// in it.
func (n *Network) furnishEndpoint(name string, addr netip.Addr) error {
	for name, value := range map[string]string{
		"ipv6/conf/default/disable_ipv6":     "1",
		"ipv4/ip_unprivileged_port_start":    "0",
		"ipv4/ping_group_range":              "0\t2147483647", // in the kernel's own writing
		"ipv4/conf/default/accept_redirects": "0",             // there is one way out, and no router to suggest another
	} {
		if err := sysctl(name, value); err != nil {
			return err
		}
	}
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer here.Close()
	handle, err := netlink.NewHandle(routeFamily)
	if err != nil {
		return err
	}
	defer handle.Close()
	if err := n.addPort(name, addr, int(here.Fd())); err != nil {
		return err
	}
	if err := setUp(handle, "lo"); err != nil {
		return err
	}
	return n.configureEth(handle, addr)
}

// addPort adds a veth pair: a port of the bridge, and eth0 in the service's
// namespace ns.
func (n *Network) addPort(name string, addr netip.Addr, ns int) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = EndpointLink(name)
	attrs.MTU, attrs.MasterIndex, attrs.Flags = n.mtu, n.bridge, net.FlagUp
	port := &netlink.Veth{
		LinkAttrs:        attrs,
		PeerName:         ethName,
		PeerHardwareAddr: HardwareAddr(addr),
		PeerNamespace:    netlink.NsFd(ns),
	}
	if err := n.inside.LinkAdd(port); err != nil {
		return fmt.Errorf("add link: %w", err)
	}
	return n.inside.LinkSetAlias(port, portAlias(name, addr))
}

func (n *Network) configureEth(handle *netlink.Handle, addr netip.Addr) error {
	eth, err := handle.LinkByName(ethName)
	if err != nil {
		return fmt.Errorf("%s: %w", ethName, err)
	}
	ip := &netlink.Addr{IPNet: toIPNet(netip.PrefixFrom(addr, n.cfg.Subnet.Bits()))}
	if err := handle.AddrAdd(eth, ip); err != nil {
		return fmt.Errorf("address %s: %w", addr, err)
	}
	if err := handle.LinkSetUp(eth); err != nil {
		return fmt.Errorf("%s up: %w", ethName, err)
	}
	route := &netlink.Route{LinkIndex: eth.Attrs().Index, Gw: n.cfg.gateway().AsSlice()}
	if err := handle.RouteAdd(route); err != nil {
		return fmt.Errorf("default route: %w", err)
	}
	return nil
}

// RemoveEndpoint takes a service's namespace and its link away. Processes that
// still are in it lose the network. Idempotent.
func (n *Network) RemoveEndpoint(ctx context.Context, name string) error {
	path, err := n.names.endpoint(name)
	if err != nil {
		return err
	}
	unlock, err := n.endpoints.lock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	if err := n.removeEndpoint(name, path); err != nil {
		return fmt.Errorf("remove network of service %q: %w", name, err)
	}
	return nil
}

func (n *Network) removeEndpoint(name, path string) error {
	// The link goes first: a namespace that a process holds would keep it, and
	// with it the address, in the bridge.
	port, err := n.inside.LinkByName(EndpointLink(name))
	if err == nil {
		err = n.inside.LinkDel(port)
	}
	if err != nil && !isGone(err) {
		return fmt.Errorf("remove link: %w", err)
	}
	return netspace.Remove(path)
}
