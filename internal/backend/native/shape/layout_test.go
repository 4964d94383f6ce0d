package shape

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/lepto-dev/lepto/internal/backend/native/relay"
	"github.com/lepto-dev/lepto/internal/link"
)

var testSubnet = netip.MustParsePrefix("10.1.0.0/22")

// onLoopback runs a test on the loopback device of a namespace that nobody sees.
func onLoopback(t testing.TB, test func(k *kernel, lo int) error) {
	t.Helper()
	if err := scratch(test); err != nil {
		t.Fatal(err)
	}
}

// someRules draws services, where they are, and what holds.
func someRules(random *rand.Rand) *relay.Table {
	t := &relay.Table{Addresses: map[string]netip.Addr{}, Links: link.Table{Members: map[string]string{}}}
	labels := 1 + random.IntN(6)
	for i := range 1 + random.IntN(12) {
		if random.IntN(4) == 0 {
			continue // comes and goes
		}
		name := fmt.Sprint("s", i)
		t.Addresses[name] = addressOf(testSubnet, uint32(2+i*37))
		t.Links.Members[name] = fmt.Sprint("n", random.IntN(labels))
	}
	if random.IntN(2) == 0 {
		t.Links.Default = link.Blocked
	}
	for range random.IntN(5) {
		c, d := link.Blocked, link.Both
		if random.IntN(2) == 0 {
			c = link.Allowed
		}
		if random.IntN(3) == 0 {
			d = link.Forward
		}
		t.Links.Topology = t.Links.Set(link.Pair{fmt.Sprint("n", random.IntN(labels)), fmt.Sprint("n", random.IntN(labels))}, d, c)
	}
	return t
}

func number(a netip.Addr) uint32 { return node(testSubnet, a) }

// eachPair visits all pairs of services, with whether a rule is for them.
func eachPair(t *relay.Table, visit func(from, to uint32, ruled bool)) {
	for a, from := range t.Addresses {
		for b, to := range t.Addresses {
			if a != b {
				visit(number(from), number(to), !t.Links.Between(a, b).Free())
			}
		}
	}
}

// From any layout to any other: in the end what a rule is for is redirected, and
// nothing else; and on the way nothing that a rule is for goes by.
func TestLayoutsChangeWithoutAHole(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	now := newLayout()
	for round := range 3000 {
		table := someRules(random)
		want := now.wanted(table, number)
		begin := map[[2]uint32]bool{}
		eachPair(table, func(from, to uint32, ruled bool) {
			if ruled && now.redirects(from, to) {
				begin[[2]uint32{from, to}] = true
			}
		})
		for _, c := range now.changes(want) {
			now.take(c)
			for pair := range begin {
				if !now.redirects(pair[0], pair[1]) {
					t.Fatalf("round %d: after %+v, packets from %d to %d go by", round, c, pair[0], pair[1])
				}
			}
		}
		if !equal(now, want) {
			t.Fatalf("round %d: came to %+v, not %+v", round, now, want)
		}
		eachPair(table, func(from, to uint32, ruled bool) {
			if now.redirects(from, to) != ruled || ruled && !now.sources[from].casts {
				t.Fatalf("round %d: from %d to %d: %v, want %v", round, from, to, now.redirects(from, to), ruled)
			}
		})
	}
}

// equal compares layouts; an empty table is as good as none.
func equal(a, b layout) bool {
	for _, id := range slices.Concat(slices.Collect(maps.Keys(a.tables)), slices.Collect(maps.Keys(b.tables))) {
		x, y := a.tables[id], b.tables[id]
		if x == nil {
			x = newTargets()
		}
		if y == nil {
			y = newTargets()
		}
		if !maps.Equal(x.redirect, y.redirect) || !maps.Equal(x.pass, y.pass) {
			return false
		}
	}
	return maps.Equal(a.sources, b.sources)
}

// Services in subnetworks of their own, or in few large ones: the filters grow with
// the services.
func TestLayoutsAreSmall(t *testing.T) {
	const services = 1000
	for labels, most := range map[int]int{1: 0, 2: 5000, 10: 5000, services: 5000} {
		table := manyServices(services, labels)
		if n := len(newLayout().changes(newLayout().wanted(table, number))); n > most {
			t.Errorf("%d services in %d subnetworks take %d filters", services, labels, n)
		}
	}
}

func manyServices(services, labels int) *relay.Table {
	table := &relay.Table{Addresses: map[string]netip.Addr{}, Links: link.Table{
		Topology: link.Topology{Default: link.Blocked}, Members: map[string]string{},
	}}
	for i := range services {
		name := fmt.Sprint("s", i)
		table.Addresses[name] = addressOf(testSubnet, uint32(2+i))
		table.Links.Members[name] = fmt.Sprint("n", i%labels)
	}
	return table
}

// The kernel has what it was told, and a process that comes later finds it.
func TestRedirectionsAreFoundAgain(t *testing.T) {
	if !ProbeRelay() {
		t.Fatal(WhyUnable)
	}
	random := rand.New(rand.NewPCG(3, 4))
	onLoopback(t, func(k *kernel, lo int) error {
		r := redirects{subnet: testSubnet}
		for round := range 60 {
			if err := r.bringTo(k, someRules(random), lo); err != nil {
				return err
			}
			found := redirects{subnet: testSubnet}
			if err := found.learn(k, lo); err != nil {
				return err
			}
			if !equal(found.now, r.now) {
				t.Fatalf("round %d: set %+v, found %+v", round, r.now, found.now)
			}
			if round%3 == 0 {
				r = found
			}
		}
		return nil
	})
}

// A device whose clsact is another's gets the block all the same.
func TestAForeignClsactGivesWay(t *testing.T) {
	onLoopback(t, func(k *kernel, lo int) error {
		foreign := &netlink.GenericQdisc{QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: lo, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
		}, QdiscType: "clsact"}
		if err := k.handle.QdiscAdd(foreign); err != nil {
			return err
		}
		for _, want := range []bool{true, false} {
			if fresh, err := k.bind(lo); fresh != want || err != nil {
				t.Errorf("the block is new: %v, want %v, %v", fresh, want, err)
			}
		}
		return nil
	})
}

// What it takes to redirect all that a thousand services send one another.
func BenchmarkRedirections(b *testing.B) {
	for _, labels := range []int{2, 10, 1000} {
		b.Run(fmt.Sprint(labels, " subnetworks"), func(b *testing.B) {
			table := manyServices(1000, labels)
			for range b.N {
				onLoopback(b, func(k *kernel, lo int) error {
					r := redirects{subnet: testSubnet}
					return r.bringTo(k, table, lo)
				})
			}
		})
	}
}
