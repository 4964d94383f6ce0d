package network

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/backendtest/bounds"
	"github.com/lepto-dev/lepto/internal/backend/native/gateway"
	"github.com/lepto-dev/lepto/internal/backend/native/network/netspace"
	"github.com/lepto-dev/lepto/internal/backend/native/network/scratch"
)

// This file holds what the tests share. They run in namespaces of their own:
// "the host" is a scratch one.

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "net" {
		if gateway.Main(os.Args[2]) != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(scratch.Main(m.Run))
}

// self is a launcher that starts this test binary as the gateway process.
var self = Launcher{Supervisor: "/proc/self/exe"}

func init() {
	if exe, err := os.Executable(); err == nil {
		self.Supervisor = exe
	}
}

func newConfig(t testing.TB) Config {
	t.Helper()
	id := make([]byte, 16)
	rand.Read(id)
	subnet, err := ChooseSubnet(nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), hex.EncodeToString(id))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return Config{ID: backend.EnclaveID(hex.EncodeToString(id)), Dir: dir, Subnet: subnet}
}

func newNetwork(t testing.TB) *Network {
	t.Helper()
	n, err := Create(t.Context(), newConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Destroy(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return n
}

// host gives the i-th address of the network, 1 being the gateway.
func (n *Network) host(i int) netip.Addr {
	addr := n.cfg.Subnet.Addr()
	for range i {
		addr = addr.Next()
	}
	return addr
}

// member is a service's place in a network.
type member struct {
	*netspace.Space
	addr netip.Addr
}

func addMember(t testing.TB, n *Network, name string, i int) member {
	t.Helper()
	path, err := n.AddEndpoint(t.Context(), name, n.host(i))
	if err != nil {
		t.Fatal(err)
	}
	m := open(t, path, n.host(i))
	hostSpace(t).connected(t)
	member{Space: n.space}.connected(t)
	m.connected(t)
	return m
}

// connected waits until the ports of a namespace carry packets. The kernel sees to
// that in the millisecond after a port was made, before a container can run, on a busy
// machine later; what is sent sooner is lost, and TCP sends it again a second later.
func (m member) connected(t testing.TB) {
	t.Helper()
	eventually(t, func() error {
		return m.Do(func() error {
			links, err := netlink.LinkList()
			for _, l := range links {
				if state := l.Attrs().OperState; l.Type() == "veth" && state != netlink.OperUp {
					err = errors.Join(err, fmt.Errorf("%s is %s", l.Attrs().Name, state))
				}
			}
			return err
		})
	})
}

func open(t testing.TB, path string, addr netip.Addr) member {
	t.Helper()
	space, err := netspace.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { space.Close() })
	return member{space, addr}
}

// hostSpace is the namespace the tests run in.
func hostSpace(t testing.TB) member {
	return open(t, "/proc/self/ns/net", netip.Addr{})
}

// serve answers each TCP connection and each datagram on the address with the
// peer's address.
func (m member) serve(t testing.TB, addr netip.AddrPort) netip.AddrPort {
	t.Helper()
	tcp, err := m.ListenTCP(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tcp.Close() })
	bound := netip.AddrPortFrom(addr.Addr(), tcp.Addr().(*net.TCPAddr).AddrPort().Port())
	udp, err := m.ListenUDP(bound)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { udp.Close() })
	go func() {
		for {
			conn, err := tcp.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(conn, peer(conn.RemoteAddr()))
			conn.Close()
		}
	}()
	go func() {
		for {
			_, from, err := udp.ReadFromUDPAddrPort(make([]byte, 100))
			if err != nil {
				return
			}
			udp.WriteToUDPAddrPort([]byte(from.Addr().Unmap().String()), from)
		}
	}()
	return bound
}

func peer(a net.Addr) string { return a.(*net.TCPAddr).AddrPort().Addr().Unmap().String() }

// ask connects and gives the peer address that the server saw.
func (m member) ask(network string, addr netip.AddrPort, patience time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := m.Dial(ctx, network, addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if network == "udp" {
		fmt.Fprint(conn, "?")
		answer := make([]byte, 100)
		n, err := conn.Read(answer)
		return string(answer[:n]), err
	}
	answer, err := io.ReadAll(conn)
	return string(answer), err
}

var patience = bounds.Wide(5 * time.Second) // with what must work

const briefly = 300 * time.Millisecond // with what must not

// reaches checks that the server sees the member as want, by TCP and UDP.
func (m member) reaches(t testing.TB, addr netip.AddrPort, want netip.Addr) {
	t.Helper()
	for _, network := range []string{"tcp", "udp"} {
		saw, err := m.ask(network, addr, patience)
		if err != nil || saw != want.String() {
			t.Errorf("%s to %s: server saw %q, want %s; error %v", network, addr, saw, want, err)
		}
	}
}

func (m member) mustNotReach(t testing.TB, what string, addr netip.AddrPort) {
	t.Helper()
	m.mustNotReachAny(t, map[string]netip.AddrPort{what: addr})
}

// mustNotReachAny tries all at once: each takes its time to be given up.
func (m member) mustNotReachAny(t testing.TB, targets map[string]netip.AddrPort) {
	t.Helper()
	var tries sync.WaitGroup
	defer tries.Wait()
	for what, addr := range targets {
		for _, network := range []string{"tcp", "udp"} {
			tries.Go(func() {
				if saw, err := m.ask(network, addr, briefly); err == nil {
					t.Errorf("%s is reached by %s on %s, as %s", what, network, addr, saw)
				}
			})
		}
	}
}

// internet is a namespace beyond the host: 192.0.2.1 is the host's router, and
// the host is 192.0.2.2.
type internet struct {
	member
	hostAddr netip.Addr
}

func newInternet(t testing.TB) internet {
	t.Helper()
	path := filepath.Join(t.TempDir(), "internet")
	check(t, netspace.Create(path, func() error { return nil }))
	t.Cleanup(func() { netspace.Remove(path) })
	net := internet{open(t, path, netip.MustParseAddr("192.0.2.1")), netip.MustParseAddr("192.0.2.2")}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "wan"
	check(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "lan", PeerNamespace: netlink.NsFd(net.FD())}))
	t.Cleanup(func() { netlink.LinkDel(&netlink.Veth{LinkAttrs: attrs}) })
	configure(t, "wan", "192.0.2.2/24")
	check(t, netlink.RouteAdd(&netlink.Route{Gw: net.addr.AsSlice()}))
	check(t, net.Do(func() error {
		configure(t, "lan", "192.0.2.1/24")
		return nil
	}))
	net.connected(t)
	hostSpace(t).connected(t)
	return net
}

func configure(t testing.TB, link, addr string) {
	t.Helper()
	l, err := netlink.LinkByName(link)
	check(t, err)
	// IPv6 would change addresses and routes at its own pace.
	check(t, sysctl("ipv6/conf/"+link+"/disable_ipv6", "1"))
	a, err := netlink.ParseAddr(addr)
	check(t, err)
	check(t, netlink.AddrAdd(l, a))
	check(t, netlink.LinkSetUp(l))
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func port(addr netip.Addr, p uint16) netip.AddrPort { return netip.AddrPortFrom(addr, p) }

// hostState describes everything of the host that a network may touch.
func hostState(t testing.TB) string {
	t.Helper()
	var out strings.Builder
	links, err := netlink.LinkList()
	check(t, err)
	for _, l := range links {
		addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		check(t, err)
		fmt.Fprintln(&out, "link", l.Attrs().Name, l.Type(), addrs)
	}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{}, netlink.RT_FILTER_TABLE)
	check(t, err)
	for _, r := range routes {
		fmt.Fprintln(&out, "route", r)
	}
	describeRules(t, &out)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	check(t, err)
	for line := range strings.Lines(string(mounts)) {
		if !strings.Contains(line, "/native/") { // an engine's on this machine: they come and go
			out.WriteString(line)
		}
	}
	describeSysctls(&out)
	describeProcesses(&out)
	return out.String()
}

func describeSysctls(out *strings.Builder) {
	_ = filepath.WalkDir("/proc/sys/net", func(path string, d os.DirEntry, _ error) error {
		const counter = "nf_conntrack_count" // changes all the time
		if value, err := os.ReadFile(path); err == nil && d.Name() != counter {
			fmt.Fprintln(out, path, strings.TrimSpace(string(value)))
		}
		return nil
	})
}

func describeProcesses(out *strings.Builder) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		cmdline, err := os.ReadFile(dir + "/cmdline")
		if err == nil && len(cmdline) > 0 { // none: has ended, and waits to be reaped
			fmt.Fprintf(out, "process %s %q\n", filepath.Base(dir), cmdline)
		}
	}
}

// sameState waits until the host is as it was: ends of processes and of
// namespaces take their time in the kernel.
func sameState(t testing.TB, before string) {
	t.Helper()
	var now string
	eventually(t, func() error {
		if now = hostState(t); now != before {
			return errors.New("the host is not as before:\n" + difference(before, now))
		}
		return nil
	})
}

// difference lists lines that only one of two texts has.
func difference(a, b string) string {
	var out strings.Builder
	for _, x := range []struct{ mark, has, lacks string }{{"- ", a, b}, {"+ ", b, a}} {
		lines := map[string]bool{}
		for line := range strings.Lines(x.lacks) {
			lines[line] = true
		}
		for line := range strings.Lines(x.has) {
			if !lines[line] {
				out.WriteString(x.mark + line)
			}
		}
	}
	return out.String()
}

// eventually repeats a check of the outside world until it holds.
func eventually(t testing.TB, holds func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := holds()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
