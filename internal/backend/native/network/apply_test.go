package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file tests the gateway process as a whole; package gateway has the
// details.

// gatewayPID gives the process that serves the network.
func gatewayPID(t testing.TB, n *Network) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(n.names.netDir, "status.json"))
	check(t, err)
	var status struct{ PID int }
	check(t, json.Unmarshal(data, &status))
	return status.PID
}

func apply(t testing.TB, n *Network, table Table) []Published {
	t.Helper()
	published, err := n.Apply(t.Context(), self, table)
	check(t, err)
	return published
}

func publish(n *Network, service string, i int, p uint16, proto backend.Transport, host netip.AddrPort) Rule {
	return Rule{Service: service, ID: fmt.Sprint(proto, p), Proto: proto, Host: host, Target: port(n.host(i), p)}
}

func TestPublishedPorts(t *testing.T) {
	n := newNetwork(t)
	a := addMember(t, n, "a", 2)
	a.serve(t, port(a.addr, 80))
	host := hostSpace(t)
	table := Table{Publish: []Rule{
		publish(n, "a", 2, 80, backend.TCP, netip.AddrPort{}),
		publish(n, "a", 2, 80, backend.UDP, netip.MustParseAddrPort("0.0.0.0:0")),
		publish(n, "a", 2, 81, backend.TCP, netip.AddrPort{}), // nobody listens there
	}}
	first := apply(t, n, table)
	if got := fmt.Sprint(first[0].Service, " ", first[0].ID, " ", first[0].Port, " ", first[0].Proto, " ", first[0].Host.Addr()); got != "a tcp80 80 tcp 127.0.0.1" {
		t.Errorf("published %s", got)
	}
	answers := func() {
		t.Helper()
		for i, network := range []string{"tcp", "udp"} {
			at := port(netip.MustParseAddr("127.0.0.1"), first[i].Host.Port())
			saw, err := host.ask(network, at, patience)
			if err != nil || saw != n.cfg.gateway().String() {
				t.Errorf("%s: server saw %q, error %v", network, saw, err)
			}
		}
	}
	answers()
	if _, err := host.ask("tcp", first[2].Host, patience); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("a port that is closed in the service: %v", err)
	}
	killGateway(t, n)
	if second := apply(t, n, table); fmt.Sprint(second) != fmt.Sprint(first) {
		t.Errorf("after kill -9, ports are %v, were %v", second, first)
	}
	answers()
	apply(t, n, Table{})
	if _, err := host.ask("tcp", first[0].Host, patience); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a port that is published no more: %v", err)
	}
}

func killGateway(t *testing.T, n *Network) {
	t.Helper()
	pid := gatewayPID(t, n)
	check(t, unix.Kill(pid, unix.SIGKILL))
	eventually(t, func() error {
		if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("process %d is still there", pid)
		}
		return nil
	})
}

func TestApplyTellsWhoHasThePort(t *testing.T) {
	one, two := newNetwork(t), newNetwork(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer listener.Close()
	taken := netip.MustParseAddrPort(listener.Addr().String())
	kept := apply(t, one, Table{Publish: []Rule{publish(one, "a", 2, 80, backend.TCP, netip.AddrPort{})}})
	hostPort := kept[0].Host

	for _, c := range []struct {
		port netip.AddrPort
		want string
	}{
		{taken, fmt.Sprintf("port %s is already in use by %q, process %d", taken, filepath.Base(os.Args[0]), os.Getpid())},
		{hostPort, fmt.Sprintf("port %s is already in use by a service of enclave %s", hostPort, one.cfg.ID.Short())},
		{netip.MustParseAddrPort("192.0.2.77:80"), `port "tcp80" of service "b" can't be published on 192.0.2.77:80: `},
	} {
		free := publish(two, "free", 3, 80, backend.TCP, netip.AddrPort{})
		_, err := two.Apply(t.Context(), self, Table{Publish: []Rule{free, publish(two, "b", 2, 80, backend.TCP, c.port)}})
		var f *fault.Fault
		if !errors.As(err, &f) || !strings.HasPrefix(f.Summary, c.want) || f.Hint == "" {
			t.Errorf("fault is %v, want %s", err, c.want)
		}
		if ports, err := os.ReadFile(filepath.Join(two.names.netDir, "ports.json")); string(ports) != "null" {
			t.Errorf("a table that was refused is served in part: %s %v", ports, err)
		}
	}
}

func TestApplyKeepsTheTableBefore(t *testing.T) {
	n := newNetwork(t)
	a := addMember(t, n, "a", 2)
	a.serve(t, port(a.addr, 80))
	before := Table{Publish: []Rule{publish(n, "a", 2, 80, backend.TCP, netip.AddrPort{})}}
	served := apply(t, n, before)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer listener.Close()
	_, err = n.Apply(t.Context(), self, Table{Publish: []Rule{publish(n, "b", 3, 80, backend.TCP, netip.MustParseAddrPort(listener.Addr().String()))}})
	if err == nil {
		t.Fatal("a port that is in use was published")
	}
	if _, err := hostSpace(t).ask("tcp", served[0].Host, patience); err != nil {
		t.Errorf("the port from before: %v", err)
	}
	killGateway(t, n)
	if again := apply(t, n, before); fmt.Sprint(again) != fmt.Sprint(served) {
		t.Errorf("ports are %v, were %v", again, served)
	}
}

func TestApplyRefuses(t *testing.T) {
	n := newNetwork(t)
	good := publish(n, "a", 2, 80, backend.TCP, netip.AddrPort{})
	sctp, aimless := good, good
	sctp.Proto, aimless.Target = backend.SCTP, netip.AddrPort{}
	for rule, table := range map[string]Table{
		"a port twice":   {Publish: []Rule{good, good}},
		"sctp":           {Publish: []Rule{sctp}},
		"no target":      {Publish: []Rule{aimless}},
		"an IPv6 host":   {Hosts: map[string]netip.Addr{"a": netip.MustParseAddr("fd00::1")}},
		"a host unnamed": {Hosts: map[string]netip.Addr{"": n.host(2)}},
	} {
		if _, err := n.Apply(t.Context(), self, table); !errors.Is(err, fault.ErrInvalid) {
			t.Errorf("%s: error %v", rule, err)
		}
	}
	_, err := n.Apply(t.Context(), Launcher{Supervisor: "/bin/false"}, Table{})
	var f *fault.Fault
	if !errors.As(err, &f) || f.Code != "E0424" {
		t.Errorf("a gateway process that ends at once: %v", err)
	}
}

func TestApplyInParallel(t *testing.T) {
	n := newNetwork(t)
	var all sync.WaitGroup
	for i := range 10 {
		all.Go(func() {
			if _, err := n.Apply(t.Context(), self, Table{Hosts: map[string]netip.Addr{fmt.Sprint("s", i): n.host(2 + i)}}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestNamesResolve(t *testing.T) {
	n := newNetwork(t)
	a := addMember(t, n, "a", 2)
	apply(t, n, Table{Hosts: map[string]netip.Addr{"a": n.host(2), "my_db": n.host(3), "Web": n.host(4)}})
	// The upstream is the host's own, found by its resolv.conf.
	upstream, err := net.ListenPacket("udp", "127.0.0.9:53")
	check(t, err)
	defer upstream.Close()
	go func() {
		buf := make([]byte, 512)
		for {
			size, from, err := upstream.ReadFrom(buf)
			if err != nil {
				return
			}
			// The question, answered with one address: 203.0.113.9.
			answer := append([]byte(nil), buf[:size]...)
			answer[2], answer[3], answer[7] = 0x81, 0x80, 1
			answer[11] = 0 // drop EDNS options
			end := 12
			for answer[end] != 0 {
				end += int(answer[end]) + 1
			}
			answer = append(answer[:end+5], 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, 9)
			upstream.WriteTo(answer, from)
		}
	}()
	useResolvConf(t, "search example\nnameserver 127.0.0.9\n")
	for _, network := range []string{"udp", "tcp"} {
		resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return a.Dial(ctx, network, port(n.cfg.gateway(), 53))
		}}
		for name, want := range map[string]netip.Addr{
			"a.": n.host(2), "my_db.": n.host(3), "web.": n.host(4), "WEB.enclave.": n.host(4),
			"elsewhere.example.org.": netip.MustParseAddr("203.0.113.9"),
		} {
			if network == "tcp" && want == netip.MustParseAddr("203.0.113.9") {
				continue // the upstream has no TCP
			}
			got, err := resolver.LookupNetIP(t.Context(), "ip4", name)
			if err != nil || len(got) != 1 || got[0] != want {
				t.Errorf("%s: %s is %v, want %v; error %v", network, name, got, want, err)
			}
		}
		var dns *net.DNSError
		if _, err := resolver.LookupNetIP(t.Context(), "ip4", "nobody.enclave."); !errors.As(err, &dns) || !dns.IsNotFound {
			t.Errorf("%s: unknown name: %v", network, err)
		}
		if names, err := resolver.LookupAddr(t.Context(), n.host(4).String()); err != nil || fmt.Sprint(names) != "[web.enclave.]" {
			t.Errorf("%s: names of %s: %v %v", network, n.host(4), names, err)
		}
	}
}

// useResolvConf has the host name other name servers, for a while.
func useResolvConf(t *testing.T, content string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "resolv.conf")
	check(t, os.WriteFile(path, []byte(content), 0o600))
	check(t, unix.Mount(path, "/etc/resolv.conf", "", unix.MS_BIND, ""))
	t.Cleanup(func() { unix.Unmount("/etc/resolv.conf", unix.MNT_DETACH) })
}

func TestGatewayProcessEndsWithItsTable(t *testing.T) {
	n := newNetwork(t)
	apply(t, n, Table{})
	pid := gatewayPID(t, n)
	check(t, os.Remove(filepath.Join(n.names.netDir, "table.json")))
	eventually(t, func() error {
		if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("process %d is still there", pid)
		}
		return nil
	})
}

func TestDestroyEndsAStoppedGatewayProcess(t *testing.T) {
	before := hostState(t)
	n := newNetwork(t)
	apply(t, n, Table{})
	check(t, unix.Kill(gatewayPID(t, n), unix.SIGSTOP)) // it can't see that the table goes
	check(t, n.Destroy(t.Context()))
	sameState(t, before)
}

// TestLongFolder: socket addresses hold 107 bytes, folders may lie deeper.
func TestLongFolder(t *testing.T) {
	cfg := newConfig(t)
	cfg.Dir = filepath.Join(cfg.Dir, strings.Repeat("deep/", 30))
	check(t, os.MkdirAll(cfg.Dir, 0o700))
	n, err := Create(t.Context(), cfg)
	check(t, err)
	apply(t, n, Table{})
	check(t, n.Destroy(t.Context()))
}
