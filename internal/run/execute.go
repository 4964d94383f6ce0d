package run

import (
	"context"
	"fmt"
	"strings"

	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/plan"
)

// This file is the third phase: the steps, one after the other.

// maxResult bounds the text of a result, in bytes. What is cut ends in "...".
const maxResult = 64 << 10

// execute runs the steps in order. Between two of them is the safe point at
// which a run that was cancelled ends.
func (x *execution) execute(ctx context.Context) bool {
	total := len(x.plan.Steps)
	x.enter(Execution, total)
	values := plan.NewValues(x.view.loadValue, x.view.storeValue)
	for i, step := range x.plan.Steps {
		if ctx.Err() != nil {
			return false
		}
		begin := describe(step.Call(), i+1, total)
		x.stream.emit(Event{Kind: KindBegin, Step: begin.ID, Begin: &begin})
		if x.req.DryRun {
			continue
		}
		if !x.step(ctx, step, begin, values) {
			return false
		}
		x.done.Steps++
	}
	if x.req.DryRun {
		return true
	}
	output, err := fillOutput(x.plan.Output, values)
	if err != nil {
		x.fail("", fmt.Errorf("the value that the script returns: %w", err))
		return false
	}
	x.done.Output = output
	return true
}

// step executes one step and tells what it gave.
func (x *execution) step(ctx context.Context, step plan.Step, begin Begin, values *plan.Values) bool {
	began := x.runner.deps.Now()
	with := &plan.Execution{
		Enclave:     x.enclave,
		Values:      values,
		Parallelism: x.req.Parallelism,
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
		x.warn(fmt.Sprintf("cancelled in step %d of %d, %s: %v", begin.Number, begin.Total, begin.Name, err))
		return false
	}
	for _, err := range fault.All(err) {
		f := *fault.From(err, "E0372")
		x.fail(begin.ID, f.WithFrames(step.Call().Stack...))
	}
	return false
}

// cut bounds a text at a rune's border.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit-len("...")], "") + "..."
}
