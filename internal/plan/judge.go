package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lepto-dev/lepto/internal/enclave"
)

// This file judges one node of a plan that is compared with the past.

// judgement gathers what speaks for doing a node.
type judgement struct {
	*walk
	node   int
	n      *Node
	record *enclave.StepRecord

	status Status
	reason string // the first one that is sure, else the first
	sure   bool
	causes []Cause
}

// because notes a sure reason.
func (j *judgement) because(status Status, format string, args ...any) {
	if !j.sure {
		j.status, j.reason, j.sure, j.causes = status, fmt.Sprintf(format, args...), true, nil
	}
}

// perhaps notes a reason that holds only if another node gives something else.
func (j *judgement) perhaps(cause int, k Key, format string, args ...any) {
	if j.sure {
		return
	}
	if j.reason == "" {
		j.status, j.reason = Recreate, fmt.Sprintf(format, args...)
	}
	j.causes = append(j.causes, Cause{cause, k})
}

func (w *walk) judge(i int) Verdict {
	j := &judgement{walk: w, node: i, n: &w.nodes[i], record: w.match[i], status: Keep}
	if j.record == nil {
		return Verdict{Status: New}
	}
	j.call()
	if reason, forced := w.forced[i]; forced {
		j.because(Recreate, "%s", reason)
	}
	if j.n.Forced {
		j.because(Recreate, "force_update is set")
	}
	j.surroundings()
	for _, k := range j.n.Uses() {
		switch {
		case isService(k) && slices.Contains(j.n.works(), k):
			j.worksOn(k)
		case isService(k):
			j.talksTo(k)
		default:
			j.reads(k)
		}
	}
	j.makes()
	j.overrun()
	return Verdict{Status: j.status, Reason: j.reason, Record: j.record, Causes: j.causes}
}

// call compares what the step says.
func (j *judgement) call() {
	now, then := j.saidNow[j.node], j.record.Said
	var changed []string
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if then[name] != now[name] {
			changed = append(changed, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(then)) {
		if _, still := now[name]; !still {
			changed = append(changed, name)
		}
	}
	if len(changed) > shownChanges {
		changed = append(changed[:shownChanges], "…")
	}
	if len(changed) > 0 {
		j.because(Update, "changed: %s", strings.Join(changed, ", "))
	}
}

// shownChanges bounds how many changed arguments a reason names.
const shownChanges = 6

// surroundings judges by what concerns all.
func (j *judgement) surroundings() {
	if j.world >= 0 {
		j.afresh()
		j.because(Recreate, "%s may have changed everything", j.name(j.walk.world))
	}
	if slices.Contains(j.n.Effects.Writes, World) && j.done >= 0 {
		j.because(Recreate, "what it does depends on what %s does", j.name(j.done))
	}
	for _, k := range j.n.Effects.Writes {
		if by, done := j.altered[k]; done && live(k) && !isService(k) && k != World && !strings.HasPrefix(string(k), "persistent/") {
			j.because(Recreate, "%s is changed by %s", plain(k), j.name(by))
		}
	}
}

// worksOn judges by a service that the step reads, touches or changes.
func (j *judgement) worksOn(k Key) {
	by, anew := j.anew[k]
	if anew {
		j.perhaps(by, k, "%s is made anew", plain(k))
	}
	if by, altered := j.altered[k]; altered {
		if !anew || !j.verdicts[j.anew[k]].Sure() {
			j.again(k, by)
		}
		j.perhaps(by, k, "%s is changed by %s", plain(k), j.name(by))
		return
	}
	if anew {
		return
	}
	if then, now := j.record.Uses[string(k)], j.version(k); then != now {
		j.because(Recreate, "%s was made anew since", plain(k))
		return
	}
	if j.latest[k] > j.record.Number {
		j.again(k, -1)
		j.because(Recreate, "it was done before what now comes before it")
	}
}

// again sees to it that no step changes a service a second time, unless the
// script says so: the service is made anew, and all steps on it done from the
// first. by is the node that comes in between; -1: they have changed places.
func (j *judgement) again(k Key, by int) {
	adder, made := j.adder[k]
	if !made || !j.n.changes(k) {
		return
	}
	if by < 0 {
		j.force(adder, "what is done to it has changed its order")
	} else {
		j.force(adder, "%s now comes before %s, which was done to it before", j.name(by), j.name(j.node))
	}
	j.because(Recreate, "%s has to be made anew", plain(k))
}

// talksTo judges by a service that the step only connects to.
func (j *judgement) talksTo(k Key) {
	if by, anew := j.anew[k]; anew {
		j.afresh() // also where that is not sure: it can't be made up for once it is
		j.perhaps(by, k, "%s is made anew", plain(k))
		return
	}
	if by, altered := j.altered[k]; altered && j.n.Effects.Acts {
		j.afterChange(k, by)
		return
	}
	if then, now := j.record.Uses[string(k)], j.version(k); then != now {
		j.afresh()
		j.because(Recreate, "%s was made anew since", plain(k))
	}
}

// afterChange judges a command that reaches a service to which something is done
// before it now: it may have changed it, too.
func (j *judgement) afterChange(k Key, by int) {
	j.afresh()
	if adder, made := j.adder[k]; made && !j.n.Effects.looks() {
		j.force(adder, "%s now comes before %s, which reached it before", j.name(by), j.name(j.node))
	}
	j.perhaps(by, k, "%s is changed by %s", plain(k), j.name(by))
}

// afresh sees to it that a command that is done again finds the services that it
// changes without what it did to them before.
func (j *judgement) afresh() {
	for _, k := range j.n.works() {
		if adder, made := j.adder[k]; made && j.n.changes(k) {
			j.force(adder, "%s, which was done to it before, is done again", j.name(j.node))
		}
	}
}

// reads judges by a value, files artifact or image.
func (j *judgement) reads(k Key) {
	if by, altered := j.altered[k]; altered {
		j.perhaps(by, k, "%s may change: %s is done", plain(k), j.name(by))
		return
	}
	then, known := j.record.Uses[string(k)]
	now := j.past.Version(k)
	switch {
	case isImage(k) && (now == "" || then == ""):
	case known && then != now:
		j.because(Update, "%s has changed", plain(k))
	case !known && IsValue(k):
		// It says the same of another value, one that is known. What that is, is
		// seen when its turn comes.
		j.perhaps(j.node, k, "it uses another value")
	case !known:
		j.because(Update, "%s is used anew", plain(k))
	}
}

// makes judges by what the step has made.
func (j *judgement) makes() {
	if service, creates := j.n.creates(); creates {
		for _, done := range []map[Key]int{j.anew, j.altered} {
			if by, is := done[service]; is {
				j.because(Recreate, "%s is changed by %s", plain(service), j.name(by))
			}
		}
	}
	for _, k := range j.n.Effects.Writes {
		if j.lastWriter[k] != j.node {
			continue
		}
		_, address := j.n.Effects.Addresses[k]
		switch then, now := j.record.Makes[string(k)], j.past.Version(k); {
		case k == World && then != now:
			first := slices.IndexFunc(j.nodes, func(n Node) bool { return slices.Contains(n.Effects.Writes, World) })
			j.force(first, "what was set was changed by something else")
		case IsArtifact(k):
			if now := j.past.Version(k); now == "" {
				j.because(Recreate, "%s is gone", plain(k))
			} else if then, known := j.record.Makes[string(k)]; known && then != now {
				j.because(Recreate, "%s was changed by something else", plain(k))
			}
		case address && j.past.Version(k) == "":
			j.because(Recreate, "the address of its service is not known")
		}
	}
	for _, id := range j.record.Values {
		if j.past.Version(ValueKey(id)) == "" {
			j.because(Recreate, "what it gave is not known")
		}
	}
}

// overrun judges by steps that are in this plan no more, but ran over what this
// one did while it was not in the plan either.
func (j *judgement) overrun() {
	for _, other := range j.foreign {
		if other.Number <= j.record.Number || other.Ran <= j.record.Seen {
			continue
		}
		for _, k := range j.n.Effects.Writes {
			if then, makes := other.Makes[string(k)]; makes && live(k) && then == j.version(k) && j.n.changes(k) {
				if made, creates := j.n.creates(); creates && made == k {
					continue // what was done to it is the business of those who do it
				}
				if adder, made := j.adder[k]; made && isService(k) {
					j.force(adder, "another plan has changed %s since", plain(k))
				}
				j.because(Recreate, "another plan has changed %s since", plain(k))
			}
		}
	}
}
