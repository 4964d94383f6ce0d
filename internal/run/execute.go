package run

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/plan"
)

// This file is the third phase: the steps. When each has its turn is in
// schedule.go.

// maxResult bounds the text of a result, in bytes. What is cut ends in "...".
const maxResult = 64 << 10

// laterAtOnce bounds what steps leave to be done while others go on; a step that
// has more waits.
const laterAtOnce = 4

// execute runs the steps, and fills in what the script returns.
func (x *execution) execute(ctx context.Context) bool {
	total := len(x.plan.Steps)
	x.enter(Execution, total)
	values := plan.NewValues(x.view.loadValue, x.view.storeValue)
	before, err := x.newRerun(ctx)
	if err != nil {
		x.fail("", fmt.Errorf("what earlier runs did: %w", err))
		return false
	}
	x.before = before
	if x.req.DryRun {
		x.tellChanges()
		return true
	}
	before.begin()
	defer x.enclave.WatchFaults(func(f enclave.ScheduledFault) {
		x.stream.emit(Event{Kind: KindFault, Fault: &Fault{Text: f.String(), Planned: f.At, Applied: f.Applied, Error: f.Error}})
	})()
	if x.tasks() > 1 {
		defer x.enclave.KeepWarm(ctx)()
	}
	x.later.SetLimit(laterAtOnce)
	done := x.perform(ctx, func(ctx context.Context, i int) bool {
		return x.guardStep(i, func() bool { return x.turn(ctx, i, values) })
	})
	_ = x.later.Wait() // what failed was told
	before.records.finish()
	x.done.Skipped = int(x.skipped.Load())
	x.done.Steps -= x.done.Skipped
	if !done {
		return false
	}
	output, err := fillOutput(x.plan.Output, values)
	if err != nil {
		x.fail("", fmt.Errorf("the value that the script returns: %w", err))
		return false
	}
	x.done.Output = output
	return true
}

// tasks counts the steps that are tasks.
func (x *execution) tasks() (n int) {
	for _, step := range x.plan.Steps {
		if _, is := step.(plan.Tasker); is {
			n++
		}
	}
	return n
}

// tellChanges tells what a run would do about each step.
func (x *execution) tellChanges() {
	for i, step := range x.plan.Steps {
		begin := describe(step.Call(), i+1, len(x.plan.Steps))
		begin.Change = x.before.change(i)
		begin.Skipped = begin.Change.Status == plan.Keep
		x.stream.emit(Event{Kind: KindBegin, Step: begin.ID, Begin: &begin})
	}
}

// turn does what is to be done about a step once its turn has come: nothing, if
// an earlier run has.
func (x *execution) turn(ctx context.Context, i int, values *plan.Values) bool {
	step := x.plan.Steps[i]
	begin := describe(step.Call(), i+1, len(x.plan.Steps))
	begin.Skipped = x.before.decide(i, values)
	x.stream.emit(Event{Kind: KindBegin, Step: begin.ID, Begin: &begin})
	if begin.Skipped {
		x.skipped.Add(1)
		x.stream.emit(Event{Kind: KindResult, Step: begin.ID, Result: &Result{Text: skippedText, Skipped: true}})
		return true
	}
	records := x.before.before(i, values)
	ok := x.step(ctx, step, begin, values, x.before.kept(i))
	x.before.after(i, records, !ok)
	return ok
}

// step executes one step and tells what it gave.
func (x *execution) step(ctx context.Context, step plan.Step, begin Begin, values *plan.Values, kept func(plan.Key) bool) bool {
	began := x.runner.deps.Now()
	with := &plan.Execution{
		Enclave:     x.enclave,
		Values:      values,
		Parallelism: x.req.Parallelism,
		KeepTasks:   x.req.KeepTasks,
		Kept:        kept,
		Later: func(what string, do func() error) {
			x.later.Go(func() error {
				if err := x.guard(fault.CodeInternal, begin.Name, do); err != nil {
					x.warn(fmt.Sprintf("%s: %v", what, err))
				}
				return nil
			})
		},
		Progress: func(text string) {
			x.stream.emit(Event{Kind: KindProgress, Step: begin.ID, Progress: &Progress{Text: text}})
		},
	}
	var outcome plan.Outcome
	err := x.guard("E0373", begin.Name, func() (err error) {
		outcome, err = step.Execute(ctx, with)
		return err
	})
	switch {
	case err == nil:
		x.stream.emit(Event{Kind: KindResult, Step: begin.ID, Result: &Result{
			Text: cut(outcome.Text, maxResult), Duration: x.runner.deps.Now().Sub(began),
		}})
		return true
	case ctx.Err() != nil:
		text := fmt.Sprintf("cancelled in step %d of %d, %s: %v", begin.Number, begin.Total, begin.Name, err)
		x.stream.emit(Event{Kind: KindWarning, Step: begin.ID, Warning: &Notice{Text: text}})
		return false
	}
	x.stepFailed(ctx, step, began, err)
	return false
}

// stepFailed tells why a step failed, and of the services that failed with it.
func (x *execution) stepFailed(ctx context.Context, step plan.Step, began time.Time, err error) {
	failed := x.failedSince(step, began)
	service := x.about(step, failed)
	if x.req.OnFailure == RemoveFailed {
		for _, name := range failed {
			if err := x.enclave.RemoveService(ctx, name); err != nil {
				x.warn(fmt.Sprintf("service %q, which failed, could not be removed: %v", name, err))
			}
		}
		if len(failed) > 0 {
			service = ""
		}
	}
	for _, err := range fault.All(err) {
		f := *fault.From(err, "E0372")
		if _, isTask := step.(plan.Tasker); isTask && service != "" {
			f.Hint = strings.TrimSuffix(fmt.Sprintf("look into its container: lepto service shell %s %s; %s", x.enclave.Name(), service, f.Hint), "; ")
		}
		for _, p := range problems(x.phase, x.req.Package, f.WithFrames(step.Call().Stack...)) {
			p.Service = service
			x.stream.emit(Event{Kind: KindError, Step: step.Call().ID, Error: p})
		}
	}
}

// failedSince names the services and the task of a step that have failed since
// then. Steps that run beside it have failures of their own.
func (x *execution) failedSince(step plan.Step, then time.Time) []string {
	own := func(name string) bool {
		task, isTask := step.(plan.Tasker)
		return isTask && task.Task().Name == name || slices.Contains(step.Effects().Writes, plan.ServiceKey(name))
	}
	var names []string
	for _, s := range x.enclave.Services() {
		if s.Failure != nil && !s.Failure.At.Before(then) && own(s.Name) {
			names = append(names, s.Name)
		}
	}
	return names
}

// about names the service that a failed step is about: one that failed, or that
// it did something to.
func (x *execution) about(step plan.Step, failed []string) string {
	if len(failed) > 0 {
		return failed[0]
	}
	for _, key := range step.Effects().Writes {
		if name, isService := strings.CutPrefix(string(key), string(plan.ServiceKey(""))); isService {
			if s, err := x.enclave.Service(name); err == nil {
				return s.Name
			}
		}
	}
	return ""
}

// cut bounds a text at a rune's border.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit-len("...")], "") + "..."
}
