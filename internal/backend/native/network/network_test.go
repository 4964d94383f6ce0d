package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/network/netspace"
	"github.com/lepto-dev/lepto/internal/fault"
)

func describeRules(t testing.TB, out *strings.Builder) {
	t.Helper()
	check(t, withTables(nil, func(c *nftables.Conn) error {
		tables, err := c.ListTables()
		for _, table := range tables {
			fmt.Fprintln(out, "table", table.Family, table.Name)
		}
		if err != nil {
			return err
		}
		chains, err := c.ListChains()
		for _, chain := range chains {
			rules, err := c.GetRules(chain.Table, chain)
			if err != nil {
				return err
			}
			for _, r := range rules {
				fmt.Fprintf(out, "rule %s %s %d %q\n", chain.Table.Name, chain.Name, len(r.Exprs), r.UserData)
			}
		}
		return err
	}))
}

func TestEndpointsReachEachOther(t *testing.T) {
	n := newNetwork(t)
	a, b := addMember(t, n, "a", 2), addMember(t, n, "b", 3)
	a.reaches(t, b.serve(t, port(b.addr, 80)), a.addr)
	b.reaches(t, a.serve(t, port(a.addr, 80)), b.addr)
}

func TestEndpointIsFurnishedLikeDocker(t *testing.T) {
	n := newNetwork(t)
	a := addMember(t, n, "a", 2)
	check(t, a.Do(func() error {
		for name, want := range map[string]string{
			"ipv4/ip_unprivileged_port_start": "0",
			"ipv4/ping_group_range":           "0\t2147483647",
			"ipv6/conf/eth0/disable_ipv6":     "1",
			"ipv6/conf/lo/disable_ipv6":       "0",
		} {
			if got, err := readSysctl(name); err != nil || got != want {
				t.Errorf("%s is %q, want %q; error %v", name, got, want, err)
			}
		}
		return nil
	}))
	a.reaches(t, a.serve(t, netip.MustParseAddrPort("127.0.0.1:80")), netip.MustParseAddr("127.0.0.1"))
	a.reaches(t, a.serve(t, netip.MustParseAddrPort("[::1]:81")), netip.MustParseAddr("::1"))
}

func TestAddEndpointIsIdempotent(t *testing.T) {
	n := newNetwork(t)
	first := inode(t, addPath(t, n, "a", 2))
	if again := inode(t, addPath(t, n, "a", 2)); again != first {
		t.Errorf("the endpoint was made anew: namespace %s, then %s", first, again)
	}
	if moved := inode(t, addPath(t, n, "a", 5)); moved == first {
		t.Error("another address, but the same namespace")
	}
	b := addMember(t, n, "b", 3)
	open(t, addPath(t, n, "a", 5), n.host(5)).reaches(t, b.serve(t, port(b.addr, 80)), n.host(5))
	for range 2 {
		check(t, n.RemoveEndpoint(t.Context(), "a"))
	}
	if _, err := os.Stat(n.names.endpoints + "/a"); !os.IsNotExist(err) {
		t.Errorf("something is left of the endpoint: %v", err)
	}
}

func addPath(t *testing.T, n *Network, name string, i int) string {
	t.Helper()
	path, err := n.AddEndpoint(t.Context(), name, n.host(i))
	check(t, err)
	return path
}

// inode identifies a namespace.
func inode(t *testing.T, path string) string {
	t.Helper()
	var id string
	m := open(t, path, netip.Addr{})
	check(t, m.Do(func() (err error) {
		id, err = os.Readlink("/proc/thread-self/ns/net")
		return err
	}))
	return id
}

func TestAddEndpointRefuses(t *testing.T) {
	n := newNetwork(t)
	for _, c := range []struct {
		rule, name string
		addr       netip.Addr
	}{
		{"names that leave the folder", "../x", n.host(2)},
		{"hidden names", ".x", n.host(2)},
		{"no name", "", n.host(2)},
		{"the gateway's address", "x", n.host(1)},
		{"addresses of others", "x", netip.MustParseAddr("192.0.2.7")},
		{"IPv6", "x", netip.MustParseAddr("fd00::7")},
	} {
		if _, err := n.AddEndpoint(t.Context(), c.name, c.addr); !errors.Is(err, fault.ErrInvalid) {
			t.Errorf("%s: error %v", c.rule, err)
		}
	}
}

func TestEndpointsInParallel(t *testing.T) {
	n := newNetwork(t)
	var g errgroup.Group
	const count = 20
	for i := range count {
		g.Go(func() error {
			_, err := n.AddEndpoint(t.Context(), fmt.Sprint("s", i), n.host(2+i))
			return err
		})
		g.Go(func() error { // the same once more, at the same time
			_, err := n.AddEndpoint(t.Context(), fmt.Sprint("s", i), n.host(2+i))
			return err
		})
	}
	check(t, g.Wait())
	members := make([]member, count)
	for i := range members {
		members[i] = addMember(t, n, fmt.Sprint("s", i), 2+i)
	}
	server := members[0].serve(t, port(members[0].addr, 80))
	for _, m := range members {
		m.reaches(t, server, m.addr)
	}
	for i := range count {
		g.Go(func() error { return n.RemoveEndpoint(t.Context(), fmt.Sprint("s", i)) })
	}
	check(t, g.Wait())
	links, err := n.inside.LinkList()
	check(t, err)
	if len(links) != 3 {
		t.Errorf("links are left in the enclave: %v", links)
	}
}

func TestHostReachesServices(t *testing.T) {
	n := newNetwork(t)
	a := addMember(t, n, "a", 2)
	server := a.serve(t, port(a.addr, 80))
	link, err := n.recordedUplink()
	check(t, err)
	hostSpace(t).reaches(t, server, link.Host)

	for _, proto := range []backend.Transport{backend.TCP, backend.UDP} {
		conn, err := n.Dial(t.Context(), proto, server)
		check(t, err)
		conn.Close()
	}
	if _, err := n.Dial(t.Context(), backend.SCTP, server); !errors.Is(err, fault.ErrUnsupported) {
		t.Errorf("sctp: %v", err)
	}
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := n.Dial(ctx, backend.TCP, server); !errors.Is(err, cause) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	n := newNetwork(t)
	ctx, cancel := context.WithTimeout(t.Context(), briefly)
	defer cancel()
	_, err := n.Dial(ctx, backend.TCP, port(n.host(99), 80)) // nobody has this address: ARP takes 3 s
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

func TestHostLoopbackIsClosedToServices(t *testing.T) {
	n := newNetwork(t)
	a, host := addMember(t, n, "a", 2), hostSpace(t)
	link, err := n.recordedUplink()
	check(t, err)
	private := host.serve(t, netip.MustParseAddrPort("127.0.0.1:0"))
	a.mustNotReach(t, "the host's loopback service", port(link.Host, private.Port()))
	public := host.serve(t, netip.MustParseAddrPort("0.0.0.0:0"))
	a.reaches(t, port(link.Host, public.Port()), link.Enclave)

	// Even where the host would let it: loopback addresses are routed on request.
	check(t, sysctl("ipv4/conf/all/route_localnet", "1"))
	defer sysctl("ipv4/conf/all/route_localnet", "0")
	check(t, n.space.Do(func() error { return sysctl("ipv4/conf/all/route_localnet", "1") }))
	check(t, n.inside.RouteAdd(&netlink.Route{Dst: toIPNet(netip.MustParsePrefix("127.0.0.1/32")), Gw: link.Host.AsSlice()}))
	check(t, n.space.Do(func() error { // lo has the address no longer, so that the route counts
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetDown(lo)
		}
		return err
	}))
	member{n.space, link.Enclave}.mustNotReach(t, "the host's loopback service", private)
}

func TestEnclavesAreApart(t *testing.T) {
	world := newInternet(t)
	one, two := newNetwork(t), newNetwork(t)
	if one.cfg.Subnet.Overlaps(two.cfg.Subnet) {
		t.Fatalf("%s and %s overlap", one.cfg.Subnet, two.cfg.Subnet)
	}
	a, b := addMember(t, one, "a", 2), addMember(t, two, "a", 2)
	link, err := two.recordedUplink()
	check(t, err)
	inner := member{two.space, link.Enclave}
	host := hostSpace(t)
	targets := map[string]netip.AddrPort{
		"another enclave's service":           b.serve(t, port(b.addr, 80)),
		"another enclave's gateway":           inner.serve(t, port(two.host(1), 81)),
		"another enclave's uplink":            inner.serve(t, port(link.Enclave, 82)),
		"the host's side of another's uplink": host.serve(t, port(link.Host, 83)),
	}
	a.mustNotReachAny(t, targets)
	host.reaches(t, targets["another enclave's service"], link.Host)

	// A neighbour of the host that routes by way of it.
	check(t, world.Do(func() error {
		for _, dst := range []netip.Prefix{two.cfg.Subnet, uplinkPool} {
			if err := netlink.RouteAdd(&netlink.Route{Dst: toIPNet(dst), Gw: world.hostAddr.AsSlice()}); err != nil {
				return err
			}
		}
		return nil
	}))
	delete(targets, "the host's side of another's uplink") // which is the host's own
	world.mustNotReachAny(t, targets)
}

func TestOutboundIsMasqueraded(t *testing.T) {
	world := newInternet(t)
	n := newNetwork(t)
	a := addMember(t, n, "a", 2)
	a.reaches(t, world.serve(t, port(world.addr, 80)), world.hostAddr)
}

func TestLinksTakeTheMTUOfTheWayOut(t *testing.T) {
	newInternet(t)
	wan, err := netlink.LinkByName("wan")
	check(t, err)
	check(t, netlink.LinkSetMTU(wan, 1400))
	n := newNetwork(t)
	a := addMember(t, n, "a", 2)
	check(t, a.Do(func() error {
		eth, err := netlink.LinkByName(ethName)
		if err == nil && eth.Attrs().MTU != 1400 {
			t.Errorf("eth0 has MTU %d", eth.Attrs().MTU)
		}
		return err
	}))
}

func TestChooseSubnet(t *testing.T) {
	newInternet(t)
	configure(t, "wan", "172.16.0.9/24")
	p := netip.MustParsePrefix
	for _, c := range []struct {
		rule  string
		taken []netip.Prefix
		want  string
	}{
		{"the host's networks are left alone", nil, "172.16.4.0/22"},
		{"taken ones too", []netip.Prefix{p("172.16.4.0/22"), p("172.16.8.0/24")}, "172.16.12.0/22"},
		{"large ones are jumped over", []netip.Prefix{p("172.16.0.0/13")}, "172.24.0.0/22"},
		{"then 10.0.0.0/8", []netip.Prefix{p("172.16.0.0/12")}, "10.0.0.0/22"},
		{"then 192.168.0.0/16", []netip.Prefix{p("172.16.0.0/12"), p("10.0.0.0/8")}, "192.168.0.0/22"},
		{"then none", []netip.Prefix{p("172.16.0.0/12"), p("10.0.0.0/8"), p("192.168.0.0/16")}, "invalid Prefix"},
	} {
		got, err := ChooseSubnet(c.taken)
		if got.String() != c.want || (err != nil) != (c.want == "invalid Prefix") {
			t.Errorf("%s: got %s, want %s; error %v", c.rule, got, c.want, err)
		}
	}
	var f *fault.Fault
	if _, err := freeSubnet(subnetPools); !errors.As(err, &f) {
		t.Errorf("no subnet left is no fault: %v", err)
	}
}

func TestCreateRefusesASubnetInUse(t *testing.T) {
	n := newNetwork(t)
	before := hostState(t)
	cfg := newConfig(t)
	cfg.Subnet = n.cfg.Subnet
	if _, err := Create(t.Context(), cfg); !errors.Is(err, fault.ErrExists) {
		t.Errorf("error %v", err)
	}
	sameState(t, before)
	if netspace.Bound(namesOf(cfg).netns) {
		t.Error("a namespace is left")
	}
}
