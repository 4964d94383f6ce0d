package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lepto-dev/lepto/internal/enclave"
)

// This file compares a plan with what earlier runs have done in the enclave, and
// says what has to be done (docs/reruns.md has the rules). It is a function of
// plan and records alone; nothing is executed and nobody is asked.

// Status says what a run does about a step.
type Status string

// The statuses.
const (
	Keep     Status = "keep"     // it is done already
	Update   Status = "update"   // it says something else than before
	Recreate Status = "recreate" // it says the same, and has to be done again
	New      Status = "new"      // it was never done here
)

// Past is an enclave as earlier runs have left it.
type Past struct {
	Salt    string // of digests
	Records []enclave.StepRecord
	// Version gives what tells two states of a resource apart; empty where it is
	// not there, or nothing is known of it.
	Version func(Key) string
	// Service gives what a service is now.
	Service func(Key) Condition
}

// A Verdict is what a run does about a node, and why.
type Verdict struct {
	Status Status
	Reason string // empty for what is kept or new
	Record *enclave.StepRecord
	// Causes are there where it is not sure: the node is kept all the same if none
	// of them gives anything else than before.
	Causes []Cause
}

// A Cause is another node that has to be done, and what of it matters.
type Cause struct {
	Node int
	Key  Key
}

// Sure reports whether the node is executed, whatever others give.
func (v Verdict) Sure() bool { return v.Status != Keep && len(v.Causes) == 0 }

// Compare gives a verdict for each node of a plan.
func Compare(nodes []Node, past Past) []Verdict {
	past.Records = slices.Clone(past.Records)
	slices.SortFunc(past.Records, func(a, b enclave.StepRecord) int { return cmp.Compare(a.Number, b.Number) })
	c := &comparison{nodes: nodes, past: past, match: match(nodes, past), forced: map[int]string{}, lastWriter: map[Key]int{}}
	used := map[*enclave.StepRecord]bool{}
	for _, r := range c.match {
		used[r] = true
	}
	for i := range past.Records {
		if r := &past.Records[i]; !used[r] {
			c.foreign = append(c.foreign, r)
		}
	}
	c.saidNow = make([]map[string]string, len(nodes))
	c.refsNow = make([][]string, len(nodes))
	for i := range nodes {
		c.saidNow[i], c.refsNow[i] = nodes[i].Said(past.Salt)
		for _, k := range nodes[i].Effects.Writes {
			c.lastWriter[k] = i
		}
	}
	for range len(nodes) + 1 { // each round but the last forces at least one node
		before := len(c.forced)
		verdicts := c.walk()
		if len(c.forced) == before {
			return verdicts
		}
	}
	return c.walk()
}

// settle makes sure what can't turn out otherwise: a service that is surely made
// anew is not the same as before, whatever it is made like. Values and files may
// be.
func (w *walk) settle(i int) {
	for _, cause := range w.verdicts[i].Causes { // those before it are settled
		if cause.Node != i && isService(cause.Key) && w.verdicts[cause.Node].Sure() {
			w.verdicts[i].Causes = nil
			return
		}
	}
}

// match finds the record of each node: of the same id, else one that was about
// the same and said the same, else one that was about the same.
func match(nodes []Node, past Past) []*enclave.StepRecord {
	byID := map[string]*enclave.StepRecord{}
	byAbout := map[string][]*enclave.StepRecord{}
	for i := range past.Records {
		if r := &past.Records[i]; !r.Failed {
			byID[r.ID] = r
			byAbout[r.About] = append(byAbout[r.About], r)
		}
	}
	out := make([]*enclave.StepRecord, len(nodes))
	used := map[*enclave.StepRecord]bool{}
	for i, n := range nodes {
		if r := byID[n.ID]; r != nil {
			out[i], used[r] = r, true
		}
	}
	for _, strict := range []bool{true, false} {
		for i := range nodes {
			if out[i] != nil {
				continue
			}
			said, _ := nodes[i].Said(past.Salt)
			for _, r := range byAbout[nodes[i].About] {
				if !used[r] && (!strict || maps.Equal(r.Said, said)) {
					out[i], used[r] = r, true
					break
				}
			}
		}
	}
	return out
}

// comparison is what stays the same over the walks.
type comparison struct {
	nodes      []Node
	past       Past
	match      []*enclave.StepRecord
	saidNow    []map[string]string
	refsNow    [][]string
	foreign    []*enclave.StepRecord // of no node
	lastWriter map[Key]int
	forced     map[int]string // nodes that have to be done because of later ones
}

// walk is one walk over the nodes: the enclave as it is after those so far.
type walk struct {
	*comparison
	verdicts []Verdict
	made     map[Key]string    // version of a service
	latest   map[Key]uint64    // number of the last kept node that changed a resource
	anew     map[Key]int       // services that are made anew, by which node
	altered  map[Key]int       // resources that a node that is done changes
	adder    map[Key]int       // the node that made a service last
	turner   map[Key]int       // the node that last said what its process is to be
	is       map[Key]Condition // and what that was
	needs    []need
	done     int // the first node that is done and changes something live; -1
	world    int // the same, of those that change the world; -1
}

// need is a node that is done, and a service that it works with, as it is then.
type need struct {
	node, adder int
	key         Key
	is          Condition
}

func (c *comparison) walk() []Verdict {
	w := &walk{
		comparison: c, verdicts: make([]Verdict, len(c.nodes)), made: map[Key]string{}, latest: map[Key]uint64{},
		anew: map[Key]int{}, altered: map[Key]int{}, adder: map[Key]int{}, turner: map[Key]int{}, is: map[Key]Condition{},
		done: -1, world: -1,
	}
	for i := range c.nodes {
		w.verdicts[i] = w.judge(i)
		w.settle(i)
		if w.verdicts[i].Status == Keep {
			w.keep(i)
		} else {
			w.redo(i)
		}
	}
	w.finish()
	return w.verdicts
}

// force has a node done in the next walk.
func (w *walk) force(node int, format string, args ...any) {
	if _, known := w.forced[node]; !known {
		w.forced[node] = fmt.Sprintf(format, args...)
	}
}

// version gives what tells the states of a service apart at this point.
func (w *walk) version(k Key) string {
	if v, known := w.made[k]; known {
		return v
	}
	return w.past.Version(k)
}

// keep goes on past a node that is not done.
func (w *walk) keep(i int) {
	n, r := &w.nodes[i], w.match[i]
	if service, ok := n.creates(); ok {
		w.made[service], w.adder[service] = r.Makes[string(service)], i
		delete(w.anew, service)
		delete(w.altered, service)
	}
	for _, k := range n.Effects.Writes {
		w.latest[k] = max(w.latest[k], r.Number)
	}
	w.turn(n, i)
}

// redo goes on past a node that is done.
func (w *walk) redo(i int) {
	n := &w.nodes[i]
	adders := maps.Clone(w.adder) // before it makes one itself
	for _, k := range n.Effects.Writes {
		if k == World && w.world < 0 {
			w.world = i
		}
		if live(k) && w.done < 0 {
			w.done = i
		}
		w.altered[k] = i
	}
	if service, ok := n.creates(); ok {
		w.anew[service], w.adder[service] = i, i
		w.made[service] = fmt.Sprintf("made by node %d", i)
		delete(w.altered, service)
	}
	w.turn(n, i)
	for _, k := range append(n.works(), n.talks...) {
		if adder, made := adders[k]; made {
			w.needs = append(w.needs, need{node: i, adder: adder, key: k, is: w.is[k]})
		}
	}
}

func (w *walk) turn(n *Node, i int) {
	for k, is := range n.Effects.Leaves {
		w.is[k], w.turner[k] = is, i
	}
}

// finish looks at what the plan leaves: services have to be what nodes that are,
// or may be, kept have left, and nodes that are done need what they work on.
func (w *walk) finish() {
	for _, k := range slices.Sorted(maps.Keys(w.is)) {
		w.checkEnd(k)
	}
	w.checkWorld()
	for _, n := range w.needs {
		if !w.verdicts[n.adder].Sure() && (n.is != w.is[n.key] || n.adder != w.adder[n.key]) {
			w.force(n.adder, "%s needs %s as it is at its place", w.name(n.node), plain(n.key))
		}
	}
}

// checkWorld sees to it that what is done between two steps that change the
// world finds it as it is at its place.
func (w *walk) checkWorld() {
	first, last := -1, -1
	for i := range w.nodes {
		if slices.Contains(w.nodes[i].Effects.Writes, World) {
			if first < 0 {
				first = i
			}
			last = i
		}
	}
	if first < 0 || w.verdicts[first].Sure() {
		return
	}
	for i := first + 1; i < last; i++ {
		n := &w.nodes[i]
		if w.verdicts[i].Status != Keep && (len(n.works())+len(n.talks) > 0 || n.Effects.Acts || slices.Contains(n.Effects.Reads, World)) {
			w.force(first, "%s needs what it sets at its place", w.name(i))
			return
		}
	}
}

// checkEnd compares a service with what the kept nodes have left.
func (w *walk) checkEnd(k Key) {
	turner := w.turner[k]
	adder, made := w.adder[k]
	if w.verdicts[turner].Sure() || made && w.verdicts[adder].Sure() {
		return // what it is now does not matter
	}
	want, is := w.is[k], w.past.Service(k)
	switch {
	case want == Gone && is != Gone:
		w.force(turner, "%s is there", plain(k))
	case want == Gone:
	case is == Gone && made:
		w.force(adder, "%s is gone", plain(k))
	case made && w.past.Version(k) != w.match[adder].Makes[string(k)]:
		w.force(adder, "%s was made by something else", plain(k))
	case want == Runs && is == Stopped && turner == adder:
		w.force(adder, "%s does not run", plain(k))
	case want != is:
		w.force(turner, "%s is to be %s", plain(k), map[Condition]string{Runs: "running", Stopped: "stopped"}[want])
	}
}

// name names a node in a reason.
func (w *walk) name(node int) string { return fmt.Sprintf("step %d", w.nodes[node].Step+1) }

// plain writes a key for people.
func plain(k Key) string {
	kind, name, found := strings.Cut(string(k), "/")
	switch {
	case !found:
		return "the " + kind
	case kind == "artifact":
		return fmt.Sprintf("files artifact %q", name)
	case kind == "value":
		return "a value"
	}
	return fmt.Sprintf("%s %q", kind, name)
}
