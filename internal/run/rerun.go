package run

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/plan"
)

// This file finds out what of a plan earlier runs have done already, and keeps
// what this one does (docs/reruns.md).

// skippedText is the result of a step that is done already (starlark spec §9).
const skippedText = "SKIPPED - This instruction has already been run in this enclave"

// rerun is what a run knows of the runs before it. Its methods are called from
// the goroutines of steps; each touches only what belongs to its own step, and
// what the steps before it have settled.
type rerun struct {
	x        *execution
	nodes    []plan.Node
	verdicts []plan.Verdict
	byStep   [][]int // nodes
	past     plan.Past
	run      uint64 // the number of this run
	skipped  []bool // by node, once decided
	records  recorder
}

// newRerun reads what there is and compares the plan with it.
func (x *execution) newRerun(ctx context.Context) (*rerun, error) {
	r := &rerun{x: x, nodes: plan.Nodes(x.plan.Steps), byStep: make([][]int, len(x.plan.Steps))}
	for i, n := range r.nodes {
		r.byStep[n.Step] = append(r.byStep[n.Step], i)
	}
	r.skipped = make([]bool, len(r.nodes))
	records, err := x.enclave.StepRecords()
	if err != nil {
		return nil, err
	}
	var last uint64
	for _, record := range records {
		r.run, last = max(r.run, record.Ran, record.Seen), max(last, record.Number)
	}
	r.run++
	r.records.last = last
	is, err := conditions(ctx, x.enclave)
	if err != nil {
		return nil, err
	}
	r.past = plan.Past{Salt: x.enclave.UUID(), Records: records, Version: r.version, Service: is}
	if slices.Contains(x.req.Experimental, NoCaching) {
		r.verdicts = make([]plan.Verdict, len(r.nodes))
		for i := range r.verdicts {
			r.verdicts[i] = plan.Verdict{Status: plan.New}
		}
		return r, nil
	}
	r.verdicts = plan.Compare(r.nodes, r.past)
	return r, nil
}

// conditions asks what the services are now.
func conditions(ctx context.Context, e *enclave.Enclave) (func(plan.Key) plan.Condition, error) {
	services, err := e.InspectAll(ctx)
	if err != nil {
		return nil, err
	}
	is := map[plan.Key]plan.Condition{}
	for _, s := range services {
		switch {
		case s.Failure != nil:
			is[plan.ServiceKey(s.Name)] = plan.Stopped // it is not what was asked for
		case s.Status == enclave.ServiceRunning:
			is[plan.ServiceKey(s.Name)] = plan.Runs
		default:
			is[plan.ServiceKey(s.Name)] = plan.Stopped
		}
	}
	return func(k plan.Key) plan.Condition { return cmp.Or(is[k], plan.Gone) }, nil
}

// version tells states of a resource apart, as far as the enclave can.
func (r *rerun) version(k plan.Key) string {
	kind, name, _ := strings.Cut(string(k), "/")
	switch kind {
	case "world":
		byDefault, overrides := r.x.enclave.Connections()
		if text, err := json.Marshal([]any{byDefault, overrides}); err == nil {
			return plan.Digest(r.past.Salt, string(text))
		}
	case "service":
		return r.x.enclave.Making(name)
	case "value":
		if fields, err := r.x.enclave.LoadValue(name); err == nil && len(fields) > 0 {
			var text strings.Builder
			for _, field := range slices.Sorted(maps.Keys(fields)) {
				fmt.Fprintf(&text, "%q: %q\n", field, fields[field])
			}
			return plan.Digest(r.past.Salt, text.String())
		}
	case "artifact":
		return r.x.enclave.Content(name)
	case "image":
		return r.x.digests[name]
	}
	return ""
}

// decide says, once its turn has come, whether a step is done already.
func (r *rerun) decide(step int, values *plan.Values) (skip bool) {
	skip = true
	for _, node := range r.byStep[step] {
		r.skipped[node] = r.isDone(node, values)
		skip = skip && r.skipped[node]
	}
	return skip
}

// isDone decides about a node: where it depended on others, these have had their
// turn.
func (r *rerun) isDone(node int, values *plan.Values) bool {
	v := r.verdicts[node]
	if v.Status == plan.Keep || v.Sure() {
		return v.Status == plan.Keep
	}
	for _, cause := range v.Causes {
		same := cause.Node != node && r.skipped[cause.Node]
		switch {
		case same, plan.IsValue(cause.Key): // what is filled in decides
		case plan.IsArtifact(cause.Key) && r.version(cause.Key) == v.Record.Uses[string(cause.Key)]:
		default:
			return false
		}
	}
	filled, err := r.nodes[node].Filled(r.past.Salt, values)
	return err == nil && filled == v.Record.Filled && r.adopt(node)
}

// adopt gives a node that is done, though its call refers to other values than
// before, the values that it gave then.
func (r *rerun) adopt(node int) bool {
	n, old := &r.nodes[node], r.verdicts[node].Record
	ids := n.Values()
	if len(ids) != len(old.Values) {
		return false
	}
	for i, id := range ids {
		if id == old.Values[i] {
			continue
		}
		fields, err := r.x.enclave.LoadValue(old.Values[i])
		if err != nil || r.x.view.storeValue(id, fields) != nil {
			return false
		}
	}
	record := *old
	record.ID, record.Values, record.Seen = n.ID, ids, r.run
	record.Said, record.Refs = n.Said(r.past.Salt)
	record.Uses = maps.Clone(old.Uses) // services as they were then: some may be gone by now
	for _, k := range n.Uses() {
		if plan.IsValue(k) || plan.IsArtifact(k) {
			record.Uses[string(k)] = r.version(k)
		}
	}
	r.records.replace(record, old.ID)
	return true
}

func (r *rerun) uses(n *plan.Node) map[string]string {
	uses := map[string]string{}
	for _, k := range n.Uses() {
		uses[string(k)] = r.version(k)
	}
	return uses
}

// begin keeps which steps this plan has, and forgets those that have not been in
// a plan for long.
func (r *rerun) begin() {
	r.records.start(r.x)
	seen := map[string]bool{}
	for i := range r.nodes {
		if v := r.verdicts[i]; v.Record != nil && v.Status != plan.Update && v.Record.Seen != r.run {
			record := *v.Record
			record.Seen = r.run
			seen[record.ID] = true
			r.records.put(record)
		}
	}
	for _, record := range r.past.Records {
		if !seen[record.ID] && record.Seen+keptPlans < r.run {
			r.records.remove(record.ID)
		}
	}
}

// keptPlans is for how many runs the record of a step is kept that is in none of
// their plans.
const keptPlans = 50

// kept tells, of a step of parts, which of them are done already.
func (r *rerun) kept(step int) func(plan.Key) bool {
	return func(part plan.Key) bool {
		return slices.ContainsFunc(r.byStep[step], func(i int) bool { return r.nodes[i].Part == part && r.skipped[i] })
	}
}

// before gives what the nodes of a step use, as it is before they are done.
func (r *rerun) before(step int, values *plan.Values) []enclave.StepRecord {
	var records []enclave.StepRecord
	for _, i := range r.byStep[step] {
		if r.skipped[i] {
			continue
		}
		n := &r.nodes[i]
		record := enclave.StepRecord{ID: n.ID, About: n.About, Ran: r.run, Seen: r.run, Values: n.Values(), Uses: r.uses(n)}
		record.Said, record.Refs = n.Said(r.past.Salt)
		if filled, err := n.Filled(r.past.Salt, values); err == nil {
			record.Filled = filled
		}
		records = append(records, record)
	}
	return records
}

// after keeps that the nodes of a step are done or, where they failed, that they
// may have changed something.
func (r *rerun) after(step int, records []enclave.StepRecord, failed bool) {
	done := slices.DeleteFunc(slices.Clone(r.byStep[step]), func(i int) bool { return r.skipped[i] })
	for at, i := range done {
		n, record := &r.nodes[i], records[at]
		record.Makes = map[string]string{}
		for _, k := range n.Effects.Writes {
			record.Makes[string(k)] = r.version(k)
		}
		record.Failed = failed
		old := ""
		if before := r.verdicts[i].Record; before != nil && before.ID != record.ID {
			old = before.ID
		}
		r.records.add(record, old)
	}
}

// change says what the run does about a step, for those who watch.
func (r *rerun) change(step int) *Change {
	c := &Change{Status: plan.Keep}
	for _, i := range r.byStep[step] {
		v := r.verdicts[i]
		if v.Status == plan.Keep {
			continue
		}
		reason := v.Reason
		if len(r.byStep[step]) > 1 {
			_, name, _ := strings.Cut(string(r.nodes[i].Part), "/")
			reason = strings.TrimSuffix(name+": "+cmp.Or(reason, string(v.Status)), ": ")
		}
		if c.Status == plan.Keep {
			c.Status = v.Status
		} else if c.Status != v.Status {
			c.Status = plan.Update
		}
		if reason != "" {
			c.Reasons = append(c.Reasons, reason)
		}
		c.Sure = c.Sure || v.Sure()
	}
	if c.Status == plan.Keep {
		c.Sure = true
	}
	return c
}
