package link

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// model is the definition, word for word, to compare a Topology with: a map of
// unordered pairs.
type model struct {
	fallback  Connection
	overrides map[Pair]Connection
}

func key(a, b string) Pair {
	if a > b {
		a, b = b, a
	}
	return Pair{a, b}
}

func (m model) between(a, b string) Connection {
	if a == b {
		return Allowed
	}
	if c, ok := m.overrides[key(a, b)]; ok {
		return c
	}
	return m.fallback
}

var labels = []string{DefaultSubnetwork, "a", "b", "c", "with space", "Ä"}

// TestTopologyIsTheModel applies random changes to both.
func TestTopologyIsTheModel(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		topology, m := Topology{}, model{overrides: map[Pair]Connection{}}
		named := map[string]bool{DefaultSubnetwork: true}
		for step := range 60 {
			p := Pair{labels[r.IntN(len(labels))], labels[r.IntN(len(labels))]}
			c := Connection{Loss: float64(r.IntN(101)), Delay: Delay{Mean: time.Duration(r.IntN(3)) * time.Second}}
			before := topology
			frozen, _ := json.Marshal(before)
			switch r.IntN(4) {
			case 0:
				topology, m.fallback = topology.SetDefault(c), c
			case 1:
				_, had := m.overrides[key(p[0], p[1])]
				var changed bool
				if topology, changed = topology.Remove(p, Both); changed != had {
					t.Fatalf("removing %v tells %v", p, changed)
				}
				delete(m.overrides, key(p[0], p[1]))
			default:
				topology = topology.Set(p, Both, c)
				m.overrides[key(p[0], p[1])] = c
				named[p[0]], named[p[1]] = true, true
			}
			if again, _ := json.Marshal(before); string(again) != string(frozen) {
				t.Fatalf("a topology was changed in place at step %d", step)
			}
			for _, a := range labels {
				if topology.Knows(a) != named[a] {
					t.Fatalf("subnetwork %q is known: %v", a, topology.Knows(a))
				}
				for _, b := range labels {
					if got, want := topology.Connection(a, b), m.between(a, b); got != want {
						t.Fatalf("seed %d, step %d: from %s to %s: %v, want %v", seed, step, a, b, got, want)
					}
				}
			}
		}
		var read Topology
		text, err := json.Marshal(topology)
		if err != nil || json.Unmarshal(text, &read) != nil || !read.Equal(topology) {
			t.Fatalf("JSON does not keep it: %s", text)
		}
	}
}

func TestOneWayRules(t *testing.T) {
	topology := Topology{}.SetDefault(Blocked).Set(Pair{"a", "b"}, Forward, Allowed)
	if !topology.Connection("a", "b").Free() || topology.Connection("b", "a") != Blocked {
		t.Error("forward is not from the first to the second alone")
	}
	slow := Connection{Delay: Delay{Mean: time.Second}}
	topology = topology.Set(Pair{"a", "b"}, Backward, slow)
	if topology.Connection("b", "a") != slow || !topology.Connection("a", "b").Free() {
		t.Error("backward is not from the second to the first alone")
	}
	topology, changed := topology.Remove(Pair{"b", "a"}, Backward) // that is from a to b
	if !changed || topology.Connection("a", "b") != Blocked || topology.Connection("b", "a") != slow {
		t.Error("removing one direction")
	}
	if topology, changed = topology.Remove(Pair{"b", "a"}, Both); !changed || len(topology.Overrides) != 0 {
		t.Error("removing both directions")
	}
}

func TestTable(t *testing.T) {
	table := Table{Members: map[string]string{"s1": "a", "s2": "a", "s3": "b", "s4": DefaultSubnetwork}}
	if !table.Free() {
		t.Error("without rules it is not free")
	}
	table.Topology = table.Set(Pair{"x", "y"}, Both, Blocked).Set(Pair{"a", "a"}, Both, Blocked)
	if !table.Free() {
		t.Error("rules for nobody affect somebody")
	}
	table.Topology = table.SetDefault(Blocked)
	if table.Free() || !slices.Equal(table.Peers("s1"), []string{"s3", "s4"}) {
		t.Errorf("peers of s1: %v", table.Peers("s1"))
	}
	if !table.Between("s1", "s2").Free() || !table.Between("s1", "stranger").Free() {
		t.Error("a peer in the same subnetwork, or no member, is affected")
	}
	table.Topology = table.Heal()
	if !table.Free() || !table.Knows("x") {
		t.Error("healing")
	}
}

func TestConnectionText(t *testing.T) {
	for want, c := range map[string]Connection{
		"allowed":  {},
		"blocked":  Blocked,
		"loss 10%": {Loss: 10},
		"loss 0.5%, delay 50ms ± 10ms correlated 25%, 100 Mbit/s, duplicate 1%, corrupt 2%, reorder 3%": {
			Loss: 0.5, Delay: Delay{50 * time.Millisecond, 10 * time.Millisecond, 25}, RateMbps: 100, Duplicate: 1, Corrupt: 2, Reorder: 3,
		},
	} {
		if c.String() != want {
			t.Errorf("%q, want %q", c, want)
		}
		if err := c.Validate(); err != nil {
			t.Error(err)
		}
	}
	for _, c := range []Connection{
		{Loss: -1}, {Loss: 101}, {Loss: math.NaN()}, {Delay: Delay{Mean: -1}}, {Delay: Delay{Mean: MaxDelay + 1}},
		{RateMbps: -1}, {Reorder: 5}, {Delay: Delay{Correlation: 200}},
	} {
		if c.Validate() == nil {
			t.Errorf("%+v passes", c)
		}
	}
}

// sample gives n delays in ms, in order of sending.
func sample(c Connection, n int) []float64 {
	f := NewFate(7, "a", "b")
	out := make([]float64, n)
	for i := range out {
		out[i] = float64(f.Decide(&c, 1000, 100).At-1000) / 1e6
	}
	return out
}

func moments(x []float64) (mean, sd, correlation float64) {
	for _, v := range x {
		mean += v / float64(len(x))
	}
	var square, lagged float64
	for i, v := range x {
		square += (v - mean) * (v - mean)
		if i > 0 {
			lagged += (v - mean) * (x[i-1] - mean)
		}
	}
	return mean, math.Sqrt(square / float64(len(x))), lagged / square
}

// distance is Kolmogorov and Smirnov's, to a normal distribution.
func distance(x []float64, mean, sd float64) float64 {
	x = slices.Sorted(slices.Values(x))
	worst := 0.0
	for i, v := range x {
		p := 0.5 * math.Erfc((mean-v)/(sd*math.Sqrt2))
		worst = max(worst, math.Abs(p-float64(i)/float64(len(x))), math.Abs(p-float64(i+1)/float64(len(x))))
	}
	return worst
}

func TestDelaysAreNormal(t *testing.T) {
	for _, correlation := range []float64{0, 50, 90} {
		x := sample(Connection{Delay: Delay{50 * time.Millisecond, 10 * time.Millisecond, correlation}}, 100_000)
		mean, sd, rho := moments(x)
		if math.Abs(mean-50) > 0.5 || math.Abs(sd-10) > 0.3 || math.Abs(rho-correlation/100) > 0.02 {
			t.Errorf("correlation %v: mean %.2f, deviation %.2f, correlation %.3f", correlation, mean, sd, rho)
		}
		if d := distance(x, 50, 10); d > 0.03 {
			t.Errorf("correlation %v: distance %.4f to the normal distribution", correlation, d)
		}
	}
	for _, v := range sample(Connection{Delay: Delay{time.Millisecond, 10 * time.Millisecond, 0}}, 1000) {
		if v < 0 {
			t.Fatalf("a delay of %v ms", v)
		}
	}
}

func TestUniformDelayIsConstant(t *testing.T) {
	for _, v := range sample(Connection{Delay: Delay{Mean: 750 * time.Millisecond}}, 10) {
		if v != 750 {
			t.Errorf("%v ms", v)
		}
	}
}

func TestShares(t *testing.T) {
	c := Connection{Loss: 10, Duplicate: 20, Corrupt: 30, Reorder: 40, Delay: Delay{Mean: time.Second}}
	f := NewFate(1, "a", "b")
	const n = 100_000
	var dropped, duplicated, corrupted, reordered float64
	for range n {
		v := f.Decide(&c, 0, 1)
		count := func(to *float64, hit bool) {
			if hit {
				*to += 100.0 / n
			}
		}
		count(&dropped, v.Drop)
		count(&duplicated, v.Duplicate)
		count(&corrupted, v.Corrupt)
		count(&reordered, v.Reordered)
		if v.Drop != (v == Verdict{Drop: true}) || v.Reordered && v.At != 0 {
			t.Fatalf("verdict %+v", v)
		}
	}
	for what, share := range map[string][2]float64{
		"dropped": {dropped, 10}, "duplicated": {duplicated, 18}, "corrupted": {corrupted, 27}, "reordered": {reordered, 36},
	} {
		if math.Abs(share[0]-share[1]) > 0.7 {
			t.Errorf("%s: %.2f%%, want %v%%", what, share[0], share[1])
		}
	}
}

func TestRateSpacesPackets(t *testing.T) {
	c := Connection{RateMbps: 8} // a byte a microsecond
	f := NewFate(1, "a", "b")
	for i := range 3 {
		if v := f.Decide(&c, 5000, 1500); v.At != 5000+int64(i+1)*1_500_000 {
			t.Errorf("packet %d at %d", i, v.At)
		}
	}
	if b := f.Backlog(5000); b != 4500*time.Microsecond {
		t.Errorf("backlog %v", b)
	}
	if v := f.Decide(&c, 10_000_000, 1000); v.At != 11_000_000 {
		t.Errorf("after a pause: %d", v.At)
	}
}

func TestSeedDecides(t *testing.T) {
	c := Connection{Loss: 50, Delay: Delay{time.Second, time.Second, 0}}
	run := func(seed uint64, to string) string {
		f, text := NewFate(seed, "a", to), ""
		for range 50 {
			v := f.Decide(&c, 0, 1)
			text += fmt.Sprint(v.Drop, v.At, " ")
		}
		return text
	}
	one := run(1, "b")
	if run(1, "b") != one {
		t.Error("the same seed gives other fates")
	}
	if one == run(2, "b") || one == run(1, "c") {
		t.Error("another seed or peer gives the same fates")
	}
}

func BenchmarkDecide(b *testing.B) {
	c := Connection{Loss: 10, Delay: Delay{50 * time.Millisecond, 10 * time.Millisecond, 25}}
	f := NewFate(1, "a", "b")
	for b.Loop() {
		f.Decide(&c, 0, 100)
	}
}
