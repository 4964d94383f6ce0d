package run

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/plan"
)

// This file decides when each step is executed: in the script's order, in a
// random order that keeps to the plan's graph, or as soon as what it comes after
// is done.

// defaultWorkers is how many steps run together where no number is given. Most
// of their time steps wait; a bound keeps a plan of a thousand services from
// starting them all at the same moment.
const defaultWorkers = 32

// perform executes the steps; do executes one, and tells whether it succeeded.
// Between two steps is the safe point at which a run that was cancelled ends.
func (x *execution) perform(ctx context.Context, do func(ctx context.Context, step int) bool) bool {
	graph := plan.NewGraph(x.plan.Steps)
	if x.req.Parallel {
		return x.together(ctx, graph, do)
	}
	order := make([]int, graph.Len())
	for i := range order {
		order[i] = i
	}
	if x.req.Shuffle {
		order = graph.Shuffled(x.req.ShuffleSeed)
	}
	for _, step := range order {
		if ctx.Err() != nil || !do(ctx, step) {
			return false
		}
		x.done.Steps++
	}
	return true
}

// together executes steps in parallel, and tells what that gained.
func (x *execution) together(ctx context.Context, graph *plan.Graph, do func(context.Context, int) bool) bool {
	s := &schedule{
		graph: graph, now: x.runner.deps.Now, do: do,
		waitsFor: make([]int, graph.Len()), next: make([][]int, graph.Len()), took: make([]time.Duration, graph.Len()),
		running: map[int]context.CancelCauseFunc{}, ended: make(chan stepEnd), failed: -1,
	}
	ok := s.run(ctx, x.req.Workers)
	x.done.Steps = s.done
	if ok {
		x.done.Parallel = s.figures()
	}
	return ok
}

// schedule is the state of a parallel execution. One goroutine owns it; each
// step has one of its own, which does nothing but the step.
type schedule struct {
	graph *plan.Graph
	now   func() time.Time
	do    func(context.Context, int) bool

	waitsFor []int   // by step: how many of those it comes after are not done
	next     [][]int // by step: those that come after it
	ready    []int   // sorted: the script's order decides among them
	running  map[int]context.CancelCauseFunc
	ended    chan stepEnd

	failed int // the first, in the script's order, of those that failed; -1: none
	done   int
	took   []time.Duration
}

type stepEnd struct {
	step int
	ok   bool
	took time.Duration
}

// run executes all steps. Once one has failed none begins any more: those before
// it in the script are let finish, as they would have; those after it are
// cancelled, as they would not have begun.
func (s *schedule) run(ctx context.Context, workers int) bool {
	for i := range s.graph.Len() {
		links := s.graph.After(i)
		s.waitsFor[i] = len(links)
		for _, link := range links {
			s.next[link.Step] = append(s.next[link.Step], i)
		}
		if len(links) == 0 {
			s.ready = append(s.ready, i)
		}
	}
	for {
		for s.failed < 0 && ctx.Err() == nil && len(s.ready) > 0 && len(s.running) < workers {
			step := s.ready[0]
			s.ready = s.ready[1:]
			s.start(ctx, step)
		}
		if len(s.running) == 0 {
			return s.failed < 0 && s.done == s.graph.Len()
		}
		s.take(<-s.ended)
	}
}

// start begins a step.
func (s *schedule) start(ctx context.Context, step int) {
	ctx, cancel := context.WithCancelCause(ctx)
	s.running[step] = cancel
	began := s.now()
	go func() { // ends with the step, whose end run waits for
		ok := s.do(ctx, step)
		s.ended <- stepEnd{step, ok, s.now().Sub(began)}
	}()
}

// take notes the end of a step.
func (s *schedule) take(end stepEnd) {
	s.running[end.step](nil)
	delete(s.running, end.step)
	s.took[end.step] = end.took
	if !end.ok {
		if s.failed < 0 || end.step < s.failed {
			s.failed = end.step
		}
		for step, cancel := range s.running {
			if step > s.failed {
				cancel(fmt.Errorf("step %d failed", s.failed+1))
			}
		}
		return
	}
	s.done++
	for _, next := range s.next[end.step] {
		if s.waitsFor[next]--; s.waitsFor[next] == 0 {
			at, _ := slices.BinarySearch(s.ready, next)
			s.ready = slices.Insert(s.ready, at, next)
		}
	}
}

// figures tell what came of doing steps together.
func (s *schedule) figures() *Parallel {
	p := &Parallel{}
	var chain []int
	chain, p.Critical = s.graph.Critical(func(step int) time.Duration { return s.took[step] })
	for _, step := range chain {
		p.Chain = append(p.Chain, step+1)
	}
	for _, took := range s.took {
		p.Work += took
	}
	return p
}

// guardStep is do for a goroutine of its own: a panic in it fails the step.
func (x *execution) guardStep(step int, do func() bool) (ok bool) {
	err := x.guard(fault.CodeInternal, x.plan.Steps[step].Call().Name, func() error { ok = do(); return nil })
	if err != nil {
		x.fail(x.plan.Steps[step].Call().ID, err)
		return false
	}
	return ok
}
