package run

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/plan"
)

// An Interpreter makes a plan of a package. *lang.Host is one.
type Interpreter interface {
	Interpret(context.Context, lang.Request) (*plan.Plan, error)
}

// Deps is what a Runner needs.
type Deps struct {
	Host   Interpreter
	NewID  func() string    // 32 hex digits; random if nil
	Now    func() time.Time // the system's clock if nil
	Logger *slog.Logger
	// EnclaveVars are the variables that scripts see as members of kurtosis: a JSON
	// object; empty for none.
	EnclaveVars string
}

// A Runner runs packages in enclaves. Safe for concurrent use.
type Runner struct {
	deps Deps
	Hub
	work sync.WaitGroup
}

// NewRunner makes a Runner.
func NewRunner(deps Deps) *Runner {
	if deps.NewID == nil {
		deps.NewID = enclave.NewID
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	if deps.Logger == nil {
		deps.Logger = slog.New(slog.DiscardHandler)
	}
	return &Runner{deps: deps}
}

// Wait waits until no run is going on. Cancel them first.
func (r *Runner) Wait() { r.work.Wait() }

// Start begins a run and gives its stream. The run ends early with ctx, with
// the enclave, or with Stream.Cancel, and goes on whether or not anyone reads.
func (r *Runner) Start(ctx context.Context, e *enclave.Enclave, req Request) *Stream {
	req = req.withDefaults()
	req.ID = cmp.Or(req.ID, r.deps.NewID())
	s := newStream(req.ID, e.UUID(), r.deps.Now)
	ctx, s.cancel = context.WithCancelCause(ctx)
	unbind := context.AfterFunc(e.Life(), func() { s.Cancel(context.Cause(e.Life())) })
	r.add(s)
	r.work.Go(func() {
		defer s.cancel(nil)
		defer unbind()
		r.run(ctx, e, req, s)
		r.end(s)
		close(s.over)
	})
	return s
}

// sinkPatience is how long Run waits, once the run is over, for a sink that has
// not taken all events.
const sinkPatience = 10 * time.Second

// Run is Start for a caller who waits. sink, which may be nil, gets the events
// in order, from one goroutine; the run does not wait for it, and Run no longer
// than ten seconds after the run.
func (r *Runner) Run(ctx context.Context, e *enclave.Enclave, req Request, sink func(Event)) Done {
	s := r.Start(ctx, e, req)
	if sink == nil {
		sink = func(Event) {}
	}
	drained := make(chan struct{})
	go func() { // ends with the stream, or with a sink that never returns
		defer close(drained)
		for event, err := range s.Events(context.WithoutCancel(ctx), 1) {
			if err != nil {
				return // can't be: the context has no end
			}
			sink(event)
		}
	}()
	done, err := s.Wait(context.WithoutCancel(ctx))
	if err != nil {
		done.Reason = err.Error()
	}
	patience := time.NewTimer(sinkPatience)
	defer patience.Stop()
	select {
	case <-drained:
	case <-patience.C:
		r.deps.Logger.Warn("the reader of a run is stuck", "run", s.id)
	}
	return done
}

// run is the whole of a run, from its first event to the last one stored.
func (r *Runner) run(ctx context.Context, e *enclave.Enclave, req Request, s *Stream) {
	began := r.deps.Now()
	x := &execution{runner: r, enclave: e, req: req, stream: s, backend: e.Backend()}
	var writer sync.WaitGroup
	x.begin(&writer)
	if err := x.guard(fault.CodeInternal, "", func() error { x.work(ctx); return nil }); err != nil {
		x.broken(err)
	}
	for _, release := range x.releases {
		release()
	}
	x.done.DryRun = req.DryRun
	x.done.Duration = r.deps.Now().Sub(began)
	if x.done.Cancelled {
		x.done.Reason = cmp.Or(x.done.Reason, causeText(ctx))
	}
	s.emit(Event{Kind: KindDone, Done: &x.done})
	writer.Wait()
}

func causeText(ctx context.Context) string {
	if cause := context.Cause(ctx); cause != nil {
		return cause.Error()
	}
	return ""
}

// execution is the state of one run.
type execution struct {
	runner    *Runner
	enclave   *enclave.Enclave
	req       Request
	stream    *Stream
	backend   backend.Backend
	phase     PhaseName
	plan      *plan.Plan
	view      *view
	digestsMu sync.Mutex
	digests   map[string]string // of images, by reference, as far as they were looked for
	releases  []func()          // of what was fetched for the run
	before    *rerun            // what earlier runs have done
	skipped   atomic.Int32      // steps that they have done
	later     errgroup.Group    // what steps have left to be done
	done      Done
}

// begin sends the first event and, unless it is a dry run, has the run kept.
func (x *execution) begin(writer *sync.WaitGroup) {
	if !x.req.DryRun {
		args := x.req.args(x.enclave)
		writer.Go(func() { x.stream.keep(x.enclave, &args, x.runner.deps.Logger) })
	}
	x.stream.emit(Event{Kind: KindStarted, Started: &Started{
		RunID: x.stream.id, Enclave: x.enclave.Name(), UUID: x.enclave.UUID(),
		Package: x.req.Package.ID(), DryRun: x.req.DryRun,
	}})
}

// work goes through the phases, once it is this run's turn. Each gives whether
// to go on.
func (x *execution) work(ctx context.Context) {
	release, err := x.enclave.Turn(ctx, func() {
		x.stream.emit(Event{Kind: KindProgress, Progress: &Progress{
			Text: fmt.Sprintf("another run is going on in enclave %q; waiting for its end", x.enclave.Name()),
		}})
	})
	if err != nil {
		x.done.Cancelled = true
		x.done.Reason = err.Error()
		return
	}
	defer release()
	if err := x.enclave.Usable(ctx); err != nil {
		x.fail("", err)
		return
	}
	for _, phase := range []func(context.Context) bool{x.interpret, x.validate, x.execute} {
		if ctx.Err() != nil {
			x.done.Cancelled = true
			return
		}
		if !phase(ctx) {
			x.done.Cancelled = ctx.Err() != nil && !x.done.OK
			return
		}
	}
	x.done.OK = true
}

// enter begins a phase.
func (x *execution) enter(phase PhaseName, steps int) {
	x.phase = phase
	x.stream.emit(Event{Kind: KindPhase, Phase: &Phase{Name: phase, Steps: steps}})
}

// fail tells of an error, or of several that are joined.
func (x *execution) fail(step plan.StepID, err error) {
	for _, p := range problems(x.phase, x.req.Package, err) {
		x.stream.emit(Event{Kind: KindError, Step: step, Error: p})
	}
}

func (x *execution) warn(text string) {
	x.stream.emit(Event{Kind: KindWarning, Warning: &Notice{Text: text}})
}

// interpret makes the plan.
func (x *execution) interpret(ctx context.Context) bool {
	x.enter(Interpretation, 0)
	view, err := newView(x.enclave, clusterType(x.backend.Name()), x.runner.deps)
	if err != nil {
		x.fail("", fmt.Errorf("read enclave %q: %w", x.enclave.Name(), err))
		return false
	}
	x.view = view
	x.plan, err = x.runner.deps.Host.Interpret(ctx, x.req.interpretation(view, x.enclave.UUID()))
	if err != nil {
		if ctx.Err() == nil {
			x.fail("", err)
		}
		return false
	}
	for _, text := range x.plan.Warnings {
		x.warn(text)
	}
	steps := make([]Begin, len(x.plan.Steps))
	for i, step := range x.plan.Steps {
		steps[i] = describe(step.Call(), i+1, len(x.plan.Steps))
	}
	x.stream.emit(Event{Kind: KindPlan, Plan: &Ready{Steps: steps}})
	return true
}

// interpretation gives the request as the language host takes it.
// seed tells enclaves apart.
func (r Request) interpretation(v lang.EnclaveView, seed string) lang.Request {
	return lang.Request{
		Package: r.Package, MainFunction: r.MainFunction, Args: r.Args,
		Enclave: v, Seed: seed, AllowPrivileged: r.AllowPrivileged,
	}
}
