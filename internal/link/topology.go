package link

import (
	"cmp"
	"maps"
	"slices"
)

// Topology is the rules of an enclave. It is a value: its methods give a new
// one. The zero value lets everything pass. Durable as JSON.
type Topology struct {
	// Default holds between two subnetworks without an override.
	Default Connection `json:"default,omitzero"`
	// Overrides are sorted, one for each direction.
	Overrides []Override `json:"overrides,omitempty"`
	// Subnetworks are those named so far, sorted, the default one left out.
	Subnetworks []string `json:"subnetworks,omitempty"`
	// Seed makes the fates of packets; see Fate.
	Seed uint64 `json:"seed,omitempty"`
}

// Override is the connection for packets from one subnetwork to another.
type Override struct {
	From       string     `json:"from"`
	To         string     `json:"to"`
	Connection Connection `json:"connection"`
}

// Pair names two subnetworks. A rule holds both ways, so that {A, B} and {B, A}
// are the same, unless it is given for one direction.
type Pair [2]string

// Direction says which way a rule for a pair holds.
type Direction string

// The directions. The zero value is Both.
const (
	Both     Direction = "both"
	Forward  Direction = "forward"  // from the pair's first subnetwork to its second
	Backward Direction = "backward" // from its second to its first
)

// ways lists the (from, to) that a rule is for.
func (p Pair) ways(d Direction) [][2]string {
	forward, backward := [2]string{p[0], p[1]}, [2]string{p[1], p[0]}
	switch {
	case d == Forward || p[0] == p[1]:
		return [][2]string{forward}
	case d == Backward:
		return [][2]string{backward}
	}
	return [][2]string{forward, backward}
}

func order(o Override, way [2]string) int {
	return cmp.Or(cmp.Compare(o.From, way[0]), cmp.Compare(o.To, way[1]))
}

// Set overrides the connection of a pair. Subnetworks that were not known are.
func (t Topology) Set(p Pair, d Direction, c Connection) Topology {
	t = t.Know(p[0]).Know(p[1])
	t.Overrides = slices.Clone(t.Overrides)
	for _, way := range p.ways(d) {
		set := Override{From: way[0], To: way[1], Connection: c}
		if i, found := slices.BinarySearchFunc(t.Overrides, way, order); found {
			t.Overrides[i] = set
		} else {
			t.Overrides = slices.Insert(t.Overrides, i, set)
		}
	}
	return t
}

// Remove takes the override of a pair away, so that the default connection
// holds again. changed is false if there was none.
func (t Topology) Remove(p Pair, d Direction) (out Topology, changed bool) {
	ways := p.ways(d)
	kept := slices.DeleteFunc(slices.Clone(t.Overrides), func(o Override) bool {
		return slices.Contains(ways, [2]string{o.From, o.To})
	})
	changed = len(kept) < len(t.Overrides)
	if len(kept) == 0 {
		kept = nil
	}
	t.Overrides = kept
	return t, changed
}

// SetDefault replaces the default connection; overrides stay.
func (t Topology) SetDefault(c Connection) Topology {
	t.Default = c
	return t
}

// Heal lets everything pass: no override is left, and the default is Allowed.
func (t Topology) Heal() Topology {
	t.Default, t.Overrides = Allowed, nil
	return t
}

// Blank reports that no rule is set, whoever is where.
func (t Topology) Blank() bool { return t.Default == Allowed && len(t.Overrides) == 0 }

// Know makes a subnetwork known. Idempotent.
func (t Topology) Know(name string) Topology {
	if name == "" || name == DefaultSubnetwork {
		return t
	}
	if i, found := slices.BinarySearch(t.Subnetworks, name); !found {
		t.Subnetworks = slices.Insert(slices.Clone(t.Subnetworks), i, name)
	}
	return t
}

// Knows reports whether a subnetwork was ever named.
func (t Topology) Knows(name string) bool {
	_, found := slices.BinarySearch(t.Subnetworks, name)
	return found || name == DefaultSubnetwork
}

// Override gives the connection set for one direction, if there is one.
func (t Topology) Override(from, to string) (Connection, bool) {
	i, found := slices.BinarySearchFunc(t.Overrides, [2]string{from, to}, order)
	if !found {
		return Connection{}, false
	}
	return t.Overrides[i].Connection, true
}

// Connection gives what holds from one subnetwork to another: nothing within
// one, else the override, else the default.
func (t Topology) Connection(from, to string) Connection {
	if from == to {
		return Allowed
	}
	if c, ok := t.Override(from, to); ok {
		return c
	}
	return t.Default
}

// Equal compares two topologies.
func (t Topology) Equal(other Topology) bool {
	return t.Default == other.Default && t.Seed == other.Seed &&
		slices.Equal(t.Overrides, other.Overrides) && slices.Equal(t.Subnetworks, other.Subnetworks)
}

// Table is all a backend is told: the topology and who is where.
type Table struct {
	Topology
	Members map[string]string `json:"members,omitempty"` // service to subnetwork
}

// Between gives what holds for packets from one service to another. A service
// that is no member, such as the gateway, is reached as if there were no rule.
func (t Table) Between(from, to string) Connection {
	a, known := t.Members[from]
	b, knownToo := t.Members[to]
	if !known || !knownToo {
		return Allowed
	}
	return t.Connection(a, b)
}

// Peers gives the services that are reached from one over a connection that does
// something, sorted.
func (t Table) Peers(from string) []string {
	var out []string
	for to := range t.Members {
		if to != from && !t.Between(from, to).Free() {
			out = append(out, to)
		}
	}
	slices.Sort(out)
	return out
}

// Free reports that no two members are affected by any rule.
func (t Table) Free() bool {
	labels := map[string]bool{}
	for _, label := range t.Members {
		labels[label] = true
	}
	for a := range labels {
		for b := range labels {
			if !t.Connection(a, b).Free() {
				return false
			}
		}
	}
	return true
}

// Pairs counts the directions, from service to service, in which a rule does
// something.
func (t Table) Pairs() int {
	members := map[string]int{}
	for _, label := range t.Members {
		members[label]++
	}
	pairs := 0
	for from, n := range members {
		for to, m := range members {
			if !t.Connection(from, to).Free() {
				pairs += n * m
			}
		}
	}
	return pairs
}

// Equal compares two tables.
func (t Table) Equal(other Table) bool {
	return t.Topology.Equal(other.Topology) && maps.Equal(t.Members, other.Members)
}

// Stats count what happened to the packets of one direction of a link.
type Stats struct {
	From       string `json:"from"`
	To         string `json:"to"`
	Packets    uint64 `json:"packets"` // that were to go this way
	Bytes      uint64 `json:"bytes"`
	Dropped    uint64 `json:"dropped"` // by loss, or for want of room in the queue
	Delayed    uint64 `json:"delayed"`
	Duplicated uint64 `json:"duplicated,omitempty"`
	Corrupted  uint64 `json:"corrupted,omitempty"`
	Reordered  uint64 `json:"reordered,omitempty"`
	// Uncounted names those of the counters that are not known, though there may be
	// something to count: by their names in JSON.
	Uncounted []string `json:"uncounted,omitempty"`
}
