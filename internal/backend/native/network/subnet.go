package network

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend/native/network/netspace"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file chooses address ranges that are free on the host.

// subnetBits is the size of an enclave's range: 1021 services.
const subnetBits = 22

// subnetPools are the private ranges (RFC 1918), in order of preference.
// 172.16.0.0/16 comes first and lies outside of Docker's default pools.
var subnetPools = []netip.Prefix{
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("192.168.0.0/16"),
}

// ChooseSubnet gives a /22 out of the private ranges that overlaps none of
// taken, no route of the host, and no address of the host's name servers and
// routers. It reserves nothing: Create finds out if another was faster.
func ChooseSubnet(taken []netip.Prefix) (netip.Prefix, error) {
	handle, err := netlink.NewHandle(routeFamily)
	if err != nil {
		return netip.Prefix{}, err
	}
	defer handle.Close()
	routes, err := hostRoutes(handle)
	if err != nil {
		return netip.Prefix{}, err
	}
	used := append([]netip.Prefix(nil), taken...)
	for _, r := range routes {
		used = append(used, r.prefixes()...)
	}
	resolv, _ := os.ReadFile("/etc/resolv.conf") // without it there is nothing to keep clear of
	used = append(used, nameServers(resolv)...)
	return freeSubnet(used)
}

func freeSubnet(used []netip.Prefix) (netip.Prefix, error) {
	for _, pool := range subnetPools {
		for addr := pool.Addr(); pool.Contains(addr); {
			candidate := netip.PrefixFrom(addr, subnetBits)
			clash := overlapping(candidate, used)
			if !clash.IsValid() {
				return candidate, nil
			}
			// Go on behind the clash or the candidate, whichever is larger.
			addr = after(candidate)
			if clash.Bits() < subnetBits {
				addr = after(clash)
			}
		}
	}
	return netip.Prefix{}, fault.New("E0422", "no free /%d in the private address ranges: all are taken by routes of this host or other enclaves", subnetBits).
		WithHint("remove enclaves that are no longer needed, or routes that cover whole private ranges (ip route)")
}

// overlapping gives the first of list that overlaps p.
func overlapping(p netip.Prefix, list []netip.Prefix) netip.Prefix {
	for _, q := range list {
		if p.Overlaps(q) {
			return q
		}
	}
	return netip.Prefix{}
}

// after gives the first address behind an IPv4 prefix; invalid at the end.
func after(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	next := uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3])
	next += 1 << (32 - p.Bits())
	if next > 0xffffffff {
		return netip.Addr{}
	}
	return netip.AddrFrom4([4]byte{byte(next >> 24), byte(next >> 16), byte(next >> 8), byte(next)})
}

// hostRoute is an IPv4 route of the host.
type hostRoute struct {
	dst  netip.Prefix // 0.0.0.0/0 for a default route
	gw   netip.Addr   // invalid where there is none
	link int          // index of the outgoing link; 0 where there is none
}

// wide reports a route that stands for "everything else": the default route,
// and the halves or quarters of it that VPNs use to override the default.
func (r hostRoute) wide() bool { return r.dst.Bits() < 8 }

// prefixes are the addresses that the route lays claim to.
func (r hostRoute) prefixes() []netip.Prefix {
	var out []netip.Prefix
	if !r.wide() {
		out = append(out, r.dst)
	}
	if r.gw.IsValid() {
		out = append(out, netip.PrefixFrom(r.gw, 32))
	}
	return out
}

// hostRoutes lists the IPv4 routes of all tables.
func hostRoutes(handle *netlink.Handle) ([]hostRoute, error) {
	all := &netlink.Route{Table: unix.RT_TABLE_UNSPEC}
	list, err := netspace.Whole(func() ([]netlink.Route, error) {
		return handle.RouteListFiltered(netlink.FAMILY_V4, all, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, fmt.Errorf("list the host's routes: %w", err)
	}
	routes := make([]hostRoute, 0, len(list))
	for _, r := range list {
		route := hostRoute{dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), link: r.LinkIndex}
		if r.Dst != nil {
			route.dst = toPrefix(r.Dst)
		}
		if gw, ok := netip.AddrFromSlice(r.Gw); ok && gw.Unmap().Is4() {
			route.gw = gw.Unmap()
		}
		routes = append(routes, route)
	}
	return routes, nil
}

func toPrefix(n *net.IPNet) netip.Prefix {
	addr, _ := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), bits)
}

func toIPNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}

// nameServers gives the IPv4 addresses in a resolv.conf(5).
func nameServers(resolv []byte) []netip.Prefix {
	var out []netip.Prefix
	for lines := bufio.NewScanner(bytes.NewReader(resolv)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if addr, err := netip.ParseAddr(fields[1]); err == nil && addr.Is4() {
			out = append(out, netip.PrefixFrom(addr, 32))
		}
	}
	return out
}
