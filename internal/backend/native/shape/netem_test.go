package shape

import (
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/link"
)

// attributes reads what follows struct tc_netem_qopt.
func attributes(t *testing.T, data []byte) (head [6]uint32, attrs map[uint16][]byte) {
	t.Helper()
	for i := range head {
		head[i] = binary.NativeEndian.Uint32(data[4*i:])
	}
	attrs = map[uint16][]byte{}
	for rest := data[24:]; len(rest) > 0; {
		size, kind := int(binary.NativeEndian.Uint16(rest)), binary.NativeEndian.Uint16(rest[2:])
		if size < 4 || size > len(rest) {
			t.Fatalf("an attribute of %d bytes in %d", size, len(rest))
		}
		attrs[kind] = rest[4:size]
		rest = rest[min(len(rest), (size+3)&^3):]
	}
	return head, attrs
}

func TestNetemOptions(t *testing.T) {
	head, attrs := attributes(t, netemOptions(link.Connection{
		Loss: 100, Duplicate: 50, Corrupt: 25, Reorder: 10, RateMbps: 8,
		Delay: link.Delay{Mean: 50 * time.Millisecond, StdDev: 10 * time.Millisecond, Correlation: 75},
	}, 42))
	if head[1] != netemLimit || head[2] != math.MaxUint32 || head[3] != 1 || head[4] != share(50) {
		t.Errorf("limit, loss, gap, duplicate are %v", head)
	}
	long := func(kind uint16) uint64 { return binary.NativeEndian.Uint64(attrs[kind]) }
	short := func(kind uint16) uint32 { return binary.NativeEndian.Uint32(attrs[kind]) }
	for what, ok := range map[string]bool{
		"latency":     long(netemLatency64) == 50e6,
		"jitter":      long(netemJitter64) == 10e6,
		"correlation": short(netemCorr) == share(75),
		"corrupt":     short(netemCorrupt) == share(25),
		"reorder":     short(netemReorder) == share(10),
		"rate":        short(netemRate) == 1_000_000,
		"seed":        long(netemSeed) == 42,
		"table":       len(attrs[netemDelayDist]) == 2*distPoints,
	} {
		if !ok {
			t.Errorf("%s is wrong", what)
		}
	}
	head, attrs = attributes(t, netemOptions(link.Connection{Delay: link.Delay{Mean: time.Second}, RateMbps: 1e5}, 1))
	if _, table := attrs[netemDelayDist]; table || head[3] != 0 || binary.NativeEndian.Uint64(attrs[netemRate64]) != 1.25e10 {
		t.Errorf("a constant delay at 100 Gbit/s: %v", head)
	}
}

// The table is the normal distribution's: netem draws from it with equal chances.
func TestNormalTable(t *testing.T) {
	table := normalTable()
	var mean, square float64
	values := make([]float64, 0, distPoints)
	for i := range distPoints {
		v := float64(int16(binary.NativeEndian.Uint16(table[2*i:]))) / distScale
		values = append(values, v)
		mean += v / distPoints
		square += v * v / distPoints
	}
	if !slices.IsSorted(values) || math.Abs(mean) > 0.001 || math.Abs(square-1) > 0.01 {
		t.Errorf("mean %.4f, variance %.4f", mean, square)
	}
}

func TestNodes(t *testing.T) {
	subnet := netip.MustParsePrefix("172.16.252.0/22")
	seen := map[uint32]bool{}
	for a := subnet.Addr().Next(); subnet.Contains(a); a = a.Next() {
		n := node(subnet, a)
		if n == 0 || n > 1023 || seen[n] || addressOf(subnet, n) != a {
			t.Fatalf("%s is node %d, which is %s", a, n, addressOf(subnet, n))
		}
		seen[n] = true
	}
}

// What one process has set up at a port, the next one finds, and takes away.
func TestNetemsAreFoundAgain(t *testing.T) {
	if Probe() != Netem {
		t.Log("this kernel has no netem: nothing to see")
		return
	}
	subnet := netip.MustParsePrefix("10.1.0.0/22")
	all := trial
	all.Duplicate = 0 // netems that duplicate bear no others
	a, b := netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("10.1.3.3")
	onLoopback(t, func(k *kernel, lo int) error {
		s := &Shaper{cfg: Config{Subnet: subnet}}
		fresh := func() *port { return &port{index: lo, peers: map[netip.Addr]link.Connection{}} }
		p := fresh()
		for _, want := range []map[netip.Addr]link.Connection{
			{a: all, b: link.Blocked}, {a: link.Blocked, b: all}, {b: all}, {}, {a: all},
		} {
			if err := s.netemAt(k, p, want, 1); err != nil {
				return err
			}
			p = fresh()
			if err := k.learnNetem(p, subnet); err != nil {
				return err
			}
			if len(p.peers) != len(want) {
				t.Errorf("set %v, found %v", want, p.peers)
			}
			for peer := range want {
				if _, found := p.peers[peer]; !found {
					t.Errorf("the rule for %s is not found: %v", peer, p.peers)
				}
			}
		}
		return nil
	})
}
