package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend/native/network/netspace"
)

// This file tests what networks do to the host, and undo.

// dropForward sets up the host's firewall as Docker does through iptables-nft.
func dropForward(t *testing.T, family nftables.TableFamily) {
	t.Helper()
	table := &nftables.Table{Name: "filter", Family: family}
	drop := nftables.ChainPolicyDrop
	check(t, withTables(nil, func(c *nftables.Conn) error {
		c.AddTable(table)
		chain := c.AddChain(&nftables.Chain{
			Name: "FORWARD", Table: table, Type: nftables.ChainTypeFilter, Policy: &drop,
			Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
		})
		// A rule of its own, which must stay and stay behind ours.
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}}})
		return c.Flush()
	}))
	t.Cleanup(func() {
		check(t, withTables(nil, func(c *nftables.Conn) error {
			c.DelTable(table)
			return c.Flush()
		}))
	})
}

func TestForwardPolicyDrop(t *testing.T) {
	for _, family := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyINet} {
		t.Run(fmt.Sprint("there before, family ", family), func(t *testing.T) {
			world := newInternet(t)
			dropForward(t, family)
			before := hostState(t)
			n, err := Create(t.Context(), newConfig(t))
			check(t, err)
			a, b := addMember(t, n, "a", 2), addMember(t, n, "b", 3)
			a.reaches(t, b.serve(t, port(b.addr, 80)), a.addr)
			a.reaches(t, world.serve(t, port(world.addr, 80)), world.hostAddr)
			again, err := Open(t.Context(), n.cfg)
			check(t, err)
			again.Close()
			if rules := strings.Count(hostState(t), "rule filter FORWARD"); rules != 3 {
				t.Errorf("the chain has %d rules, not the 2 of ours and the 1 of its own", rules)
			}
			check(t, n.Destroy(t.Context()))
			sameState(t, before)
		})
	}
	t.Run("later", func(t *testing.T) {
		world := newInternet(t)
		server := world.serve(t, port(world.addr, 80))
		n := newNetwork(t)
		a := addMember(t, n, "a", 2)
		dropForward(t, nftables.TableFamilyIPv4)
		a.mustNotReach(t, "the world, past a firewall", server)
		_, err := n.Apply(t.Context(), self, Table{})
		check(t, err)
		a.reaches(t, server, world.hostAddr)
	})
}

// TestTheFirewallIsMended: others change it while enclaves live.
func TestTheFirewallIsMended(t *testing.T) {
	world, other := newInternet(t), newNeighbour(t)
	server := world.serve(t, port(world.addr, 80))
	before := hostState(t)
	n, err := Create(t.Context(), newConfig(t))
	check(t, err)
	watching, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	mended := make(chan error, 100)
	go func() { ended <- Watch(watching, slog.Default(), func() { mended <- n.Mend(watching) }) }()
	a := addMember(t, n, "a", 2)
	a.reaches(t, server, world.hostAddr)
	eventually(t, func() error { // it listens
		runHost(t, "nft add table ip others")
		select {
		case err := <-mended:
			return err
		case <-time.After(2 * settle):
			return errors.New("a change goes unnoticed")
		}
	})
	for _, command := range []string{
		"nft flush ruleset",
		"nft add table ip others ; add chain ip others forward { type filter hook forward priority 0 ; policy drop ; }",
		"nft flush chain ip others forward",
	} {
		runHost(t, command)
		check(t, <-mended)
		a.reaches(t, server, world.hostAddr)
	}
	runHost(t, "nft delete table ip others")
	check(t, <-mended)
	other.mustNotReach(t, "a network that was apart", server)
	check(t, n.Destroy(t.Context()))
	stop()
	check(t, <-ended)
	for range len(mended) {
		check(t, <-mended)
	}
	sameState(t, before)
}

// TestForwardClosedByRule: firewalls that reject what is left over, as firewalld
// and the service of iptables do, have a policy that accepts.
func TestForwardClosedByRule(t *testing.T) {
	for name, commands := range map[string][]string{
		"nft":      {"nft add table inet fw", "nft add chain inet fw onward { type filter hook forward priority 10 ; policy accept ; }", "nft add rule inet fw onward ct state established accept", "nft add rule inet fw onward counter reject with icmpx type admin-prohibited"},
		"iptables": {"iptables-nft -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT", "iptables-nft -A FORWARD -j REJECT"},
		"legacy":   {"iptables-legacy -A FORWARD -j REJECT"},
		"policy":   {"iptables-legacy -P FORWARD DROP"},
	} {
		t.Run(name, func(t *testing.T) {
			if program, _, _ := strings.Cut(commands[0], " "); exec.Command(program, "-L").Run() != nil && program != "nft" {
				// The virtual machine's kernel has none. Nothing is asked for then.
				if found := legacyProgram(); found != "" {
					t.Errorf("%s does not work here, but %s is found", program, found)
				}
				return
			}
			world := newInternet(t)
			for _, command := range commands {
				runHost(t, command)
			}
			defer func() {
				_ = exec.Command("nft", "delete", "table", "inet", "fw").Run() // if it is there
				_ = exec.Command("nft", "delete", "table", "ip", "filter").Run()
				_ = exec.Command("iptables-legacy", "-P", "FORWARD", "ACCEPT").Run()
				_ = exec.Command("iptables-legacy", "-F", "FORWARD").Run()
			}()
			before, legacyBefore := hostState(t), legacyState()
			n, err := Create(t.Context(), newConfig(t))
			check(t, err)
			a := addMember(t, n, "a", 2)
			a.reaches(t, world.serve(t, port(world.addr, 80)), world.hostAddr)
			again, err := Open(t.Context(), n.cfg)
			check(t, err)
			again.Close()
			check(t, n.Destroy(t.Context()))
			sameState(t, before)
			if after := legacyState(); after != legacyBefore {
				t.Errorf("before:\n%s\nafter:\n%s", legacyBefore, after)
			}
		})
	}
}

// legacyState gives the legacy rules; "" without a table of them.
func legacyState() string {
	_, rules, _ := legacyForward()
	return strings.Join(rules, "\n")
}

func runHost(t *testing.T, command string) string {
	t.Helper()
	words := strings.Fields(command)
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

func TestForwardingIsGuardedAndRestored(t *testing.T) {
	world, other := newInternet(t), newNeighbour(t)
	server := world.serve(t, port(world.addr, 80))
	before := hostState(t)
	n, err := Create(t.Context(), newConfig(t))
	check(t, err)
	two := newNetwork(t)
	other.mustNotReach(t, "a network that was apart", server)
	addMember(t, n, "a", 2).reaches(t, server, world.hostAddr)
	check(t, n.Destroy(t.Context()))
	if on, _ := readSysctl("ipv4/ip_forward"); on != "1" {
		t.Error("forwarding went off while an enclave needs it")
	}
	check(t, two.Destroy(t.Context()))
	sameState(t, before)
}

// newNeighbour is a network behind the host, other than the internet.
func newNeighbour(t *testing.T) member {
	t.Helper()
	path := filepath.Join(t.TempDir(), "neighbour")
	check(t, netspace.Create(path, func() error { return nil }))
	t.Cleanup(func() { netspace.Remove(path) })
	m := open(t, path, netip.MustParseAddr("203.0.113.2"))
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "lan0"
	check(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(m.FD())}))
	t.Cleanup(func() { netlink.LinkDel(&netlink.Veth{LinkAttrs: attrs}) })
	configure(t, "lan0", "203.0.113.1/24")
	check(t, m.Do(func() error {
		configure(t, "eth0", "203.0.113.2/24")
		return netlink.RouteAdd(&netlink.Route{Gw: netip.MustParseAddr("203.0.113.1").AsSlice()})
	}))
	return m
}

func TestForwardingOfOthersStays(t *testing.T) {
	t.Run("on before", func(t *testing.T) {
		check(t, sysctl("ipv4/ip_forward", "1"))
		defer sysctl("ipv4/ip_forward", "0")
		before := hostState(t)
		n, err := Create(t.Context(), newConfig(t))
		check(t, err)
		check(t, n.Destroy(t.Context()))
		sameState(t, before)
	})
	t.Run("one link had it", func(t *testing.T) {
		newInternet(t)
		check(t, sysctl("ipv4/conf/wan/forwarding", "1"))
		before := hostState(t)
		n, err := Create(t.Context(), newConfig(t))
		check(t, err)
		check(t, n.Destroy(t.Context()))
		sameState(t, before)
	})
	t.Run("another program has come to rely on it", func(t *testing.T) {
		n, err := Create(t.Context(), newConfig(t))
		check(t, err)
		newNeighbour(t)
		check(t, n.Destroy(t.Context()))
		if on, _ := readSysctl("ipv4/ip_forward"); on != "1" {
			t.Error("forwarding went off under another program")
		}
		check(t, sysctl("ipv4/ip_forward", "0"))
	})
}

func TestDestroyLeavesNoTrace(t *testing.T) {
	newInternet(t)
	before := hostState(t)
	cfg := newConfig(t)
	n, err := Create(t.Context(), cfg)
	check(t, err)
	addPath(t, n, "a", 2)
	addPath(t, n, "b", 3)
	_, err = n.Apply(t.Context(), self, Table{
		Hosts:   map[string]netip.Addr{"a": n.host(2)},
		Publish: []Rule{{Service: "a", ID: "http", Proto: "tcp", Target: port(n.host(2), 80)}},
	})
	check(t, err)
	if hostState(t) == before {
		t.Fatal("the network does not show: the comparison is worth nothing")
	}
	for range 2 { // idempotent
		check(t, n.Destroy(t.Context()))
		sameState(t, before)
	}
	check(t, Destroy(t.Context(), cfg))
	if entries, err := os.ReadDir(cfg.Dir); err != nil || len(entries) > 0 {
		t.Errorf("files are left: %v, error %v", entries, err)
	}
}

// TestDestroyOfHalfMade takes single things away before Destroy, as crashes and
// other hands may.
func TestDestroyOfHalfMade(t *testing.T) {
	for what, harm := range map[string]func(n *Network) error{
		"no folder": func(n *Network) error {
			check(t, removeSpaces(n.names)) // or it could not be deleted
			return os.RemoveAll(n.cfg.Dir)
		},
		"namespace unbound": func(n *Network) error { return unix.Unmount(n.names.netns, unix.MNT_DETACH) },
		"no link record":    func(n *Network) error { return os.Remove(n.names.link) },
		"no uplink": func(n *Network) error {
			return netlink.LinkDel(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: n.names.uplink}})
		},
		"no table":         func(n *Network) error { return removeTable(n.names.table) },
		"bound twice":      func(n *Network) error { return unix.Mount(n.names.netns, n.names.netns, "", unix.MS_BIND, "") },
		"nothing made yet": func(n *Network) error { return Destroy(t.Context(), n.cfg) },
	} {
		t.Run(what, func(t *testing.T) {
			before := hostState(t)
			n, err := Create(t.Context(), newConfig(t))
			check(t, err)
			addPath(t, n, "a", 2)
			n.Close()
			check(t, harm(n))
			check(t, Destroy(t.Context(), n.cfg))
			sameState(t, before)
		})
	}
}

func TestCreateCancelledLeavesNothing(t *testing.T) {
	before := hostState(t)
	h, err := lockHost(t.Context())
	check(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), briefly)
	defer cancel()
	cfg := newConfig(t)
	done := make(chan error, 1)
	go func() {
		_, err := Create(ctx, cfg)
		done <- err
	}()
	<-ctx.Done()
	h.unlock()
	if <-done == nil {
		t.Error("no error")
	}
	sameState(t, before)
}

func TestOpenRepairs(t *testing.T) {
	world := newInternet(t)
	server := world.serve(t, port(world.addr, 80))
	for what, harm := range map[string]func(n *Network) error{
		"after a reboot": func(n *Network) error {
			// As much of one as can be had: all that lives in the kernel goes.
			check(t, removeSpaces(n.names))
			check(t, os.MkdirAll(n.names.endpoints, 0o700))
			h, err := lockHost(t.Context())
			check(t, err)
			defer h.unlock()
			check(t, h.removeUplink(n.names.uplink))
			return removeTable(n.names.table)
		},
		"uplink lost": func(n *Network) error {
			return netlink.LinkDel(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: n.names.uplink}})
		},
		"route lost": func(n *Network) error {
			return netlink.RouteDel(&netlink.Route{Dst: toIPNet(n.cfg.Subnet)})
		},
		"namespace lost":      func(n *Network) error { return unix.Unmount(n.names.netns, unix.MNT_DETACH) },
		"rules lost":          func(n *Network) error { return removeTable(n.names.table) },
		"forwarding off":      func(n *Network) error { return sysctl("ipv4/ip_forward", "0") },
		"uplink record lost":  func(n *Network) error { return os.Remove(n.names.link) },
		"uplink record empty": func(n *Network) error { return os.WriteFile(n.names.link, nil, 0o600) },
		"all is well":         func(n *Network) error { return nil },
	} {
		t.Run(what, func(t *testing.T) {
			before := hostState(t)
			n, err := Create(t.Context(), newConfig(t))
			check(t, err)
			addPath(t, n, "a", 2)
			n.Close()
			check(t, harm(n))
			n, err = Open(t.Context(), n.cfg)
			check(t, err)
			a := addMember(t, n, "a", 2)
			a.reaches(t, server, world.hostAddr)
			link, err := n.recordedUplink()
			check(t, err)
			hostSpace(t).reaches(t, a.serve(t, port(a.addr, 80)), link.Host)
			check(t, n.Destroy(t.Context()))
			sameState(t, before)
		})
	}
}

// TestNamespacesGoFromOtherMountNamespaces: a supervisor has a copy of all
// mounts there were when it started. It must not keep other enclaves alive.
func TestNamespacesGoFromOtherMountNamespaces(t *testing.T) {
	n := newNetwork(t)
	path := addPath(t, n, "a", 2)
	cmd := exec.Command("cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	stdin, err := cmd.StdinPipe()
	check(t, err)
	check(t, cmd.Start())
	defer cmd.Wait()
	defer stdin.Close()
	mounts := fmt.Sprintf("/proc/%d/mountinfo", cmd.Process.Pid)
	copied := func() bool {
		data, err := os.ReadFile(mounts)
		check(t, err)
		return strings.Contains(string(data), path)
	}
	if !copied() {
		t.Fatal("the mount was not copied: the test is worth nothing")
	}
	check(t, n.Destroy(t.Context()))
	if copied() {
		t.Error("a copy of the mount keeps the namespace")
	}
}
