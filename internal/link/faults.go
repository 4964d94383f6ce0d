package link

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Action is what a fault does.
type Action string

// The actions. Those on links take subnetworks, the others services.
const (
	Partition Action = "partition" // block every pair of the subnetworks
	SetLink   Action = "set"       // set the connection of a pair, or the default one
	Heal      Action = "heal"      // take back what holds for the pairs of the subnetworks; without any, everything
	Pause     Action = "pause"     // freeze a service
	Unpause   Action = "unpause"
	Kill      Action = "kill"  // end a service at once, as a crash would
	Start     Action = "start" // run it again
)

// Actions lists them.
var Actions = []Action{Partition, SetLink, Heal, Pause, Unpause, Kill, Start}

// OnServices reports whether an action is about services.
func (a Action) OnServices() bool { return slices.Contains([]Action{Pause, Unpause, Kill, Start}, a) }

// Fault is one step of a schedule: something that happens to an enclave at a
// time. Durable as JSON.
type Fault struct {
	After  time.Duration `json:"after_ns"`            // since the schedule began
	Jitter time.Duration `json:"jitter_ns,omitempty"` // and up to that much more
	Action Action        `json:"action"`

	Subnetworks []string   `json:"subnetworks,omitempty"`
	Connection  Connection `json:"connection,omitzero"` // of SetLink
	Direction   Direction  `json:"direction,omitempty"` // of SetLink
	// Services are names; of several, one is picked.
	Services []string `json:"services,omitempty"`
}

// Validate checks the combination.
func (f Fault) Validate() error {
	switch {
	case !slices.Contains(Actions, f.Action):
		return fmt.Errorf("%q is no action", f.Action)
	case f.Action.OnServices() && len(f.Services) == 0:
		return fmt.Errorf("%s needs a service", f.Action)
	case f.Action.OnServices() && len(f.Subnetworks) > 0:
		return fmt.Errorf("%s is for services, and takes no subnetworks", f.Action)
	case !f.Action.OnServices() && len(f.Services) > 0:
		return fmt.Errorf("%s is for subnetworks, and takes no service", f.Action)
	case f.Action == Partition && len(f.Subnetworks) < 2:
		return fmt.Errorf("partition needs two subnetworks or more")
	case f.Action == SetLink && len(f.Subnetworks) != 0 && len(f.Subnetworks) != 2:
		return fmt.Errorf("set takes two subnetworks or, for the default connection, none")
	case f.Action == Heal && len(f.Subnetworks) == 1:
		return fmt.Errorf("heal takes two subnetworks or more or, for everything, none")
	case f.Direction != "" && f.Direction != Both && (f.Action != SetLink || len(f.Subnetworks) != 2):
		return fmt.Errorf("a direction is for set with two subnetworks")
	case f.Action != SetLink && twice(f.Subnetworks) != "":
		return fmt.Errorf("%s names subnetwork %q twice", f.Action, twice(f.Subnetworks))
	case f.After < 0 || f.Jitter < 0:
		return fmt.Errorf("a time must not be negative")
	}
	return f.Connection.Validate()
}

// twice gives a name that is there more than once; "" if there is none.
func twice(names []string) string {
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			return name
		}
	}
	return ""
}

// String says what the fault does.
func (f Fault) String() string {
	names := strings.Join(f.Subnetworks, " | ")
	switch {
	case f.Action.OnServices():
		return string(f.Action) + " " + strings.Join(f.Services, " or ")
	case f.Action == SetLink && names == "":
		return "set the default connection: " + f.Connection.String()
	case f.Action == SetLink:
		way := ""
		if f.Direction == Forward || f.Direction == Backward {
			way = ", " + string(f.Direction)
		}
		return fmt.Sprintf("set %s%s: %s", names, way, f.Connection)
	case f.Action == Heal && names == "":
		return "heal everything"
	}
	return string(f.Action) + " " + names
}

// Resolve draws what a seed decides: the jitter becomes part of After, and of
// several services one is left. The faults come in order of time.
func Resolve(faults []Fault, seed uint64) []Fault {
	random := rand.New(rand.NewPCG(seed, uint64(len(faults))))
	out := slices.Clone(faults)
	for i := range out {
		if out[i].Jitter > 0 {
			out[i].After += time.Duration(random.Int64N(int64(out[i].Jitter)))
			out[i].Jitter = 0
		}
		if n := len(out[i].Services); n > 1 {
			out[i].Services = []string{out[i].Services[random.IntN(n)]}
		}
	}
	slices.SortStableFunc(out, func(a, b Fault) int { return int(a.After - b.After) })
	return out
}

// Apply gives the topology after a fault on links.
func (f Fault) Apply(t Topology) Topology {
	switch {
	case f.Action == Heal && len(f.Subnetworks) == 0:
		return t.Heal()
	case f.Action == SetLink && len(f.Subnetworks) == 0:
		return t.SetDefault(f.Connection)
	case f.Action == SetLink:
		return t.Set(Pair{f.Subnetworks[0], f.Subnetworks[1]}, f.Direction, f.Connection)
	}
	for i, a := range f.Subnetworks {
		for _, b := range f.Subnetworks[i+1:] {
			if f.Action == Partition {
				t = t.Set(Pair{a, b}, Both, Blocked)
			} else {
				t, _ = t.Remove(Pair{a, b}, Both)
			}
		}
	}
	return t
}
