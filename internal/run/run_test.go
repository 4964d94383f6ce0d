package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/memory"
	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/plan"
	"github.com/lepto-dev/lepto/internal/source"
)

func TestEventsOfWholeRuns(t *testing.T) {
	tests := []struct {
		name   string
		ok     bool
		dry    bool
		script string
	}{
		{"success", true, false, `
def run(plan, args):
    db = plan.add_service("db", ServiceConfig(image = "echo-server", ports = {"pg": PortSpec(number = 5432)}, env_vars = {"PORTS": "5432"}))
    out = plan.exec("db", ExecRecipe(command = ["echo", "hello"]))
    plan.print("it said " + out["output"])
    return {"host": db.hostname, "code": out["code"], "text": "code " + out["code"] + ", \"" + out["output"] + "\""}
`},
		{"dry", true, true, `
def run(plan):
    db = plan.add_service("db", ServiceConfig(image = "pause"))
    return db.ip_address
`},
		{"interpretation-error", false, false, `
def run(plan):
    helper(plan)

def helper(plan):
    plan.print("never")
    fail("out of ideas")
`},
		{"undefined-names", false, false, `
def run(plan):
    foo()
    bar()
`},
		{"validation-errors", false, false, `
def run(plan):
    plan.add_service("bad name", ServiceConfig(image = "pause"))
    plan.exec("nobody", ExecRecipe(command = ["true"]))
    plan.print("fine")
`},
		{"missing-image", false, false, `
def run(plan):
    plan.add_service("db", ServiceConfig(image = "nowhere:1"))
`},
		{"step-fails", false, false, `
def run(plan):
    plan.print("first")
    plan.add_service("db", ServiceConfig(image = "crash", ports = {"pg": PortSpec(number = 5432)}))
    plan.print("never")
`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := newEnclave(t, memoryBackend(memory.Options{Missing: []string{"nowhere:1"}}))
			req := script(strings.TrimPrefix(test.script, "\n"))
			req.DryRun = test.dry
			events := gather(t, newRunner(t, realHost()), e, req)
			if done := doneOf(t, events); done.OK != test.ok {
				t.Errorf("done %+v", done)
			}
			golden(t, test.name+".json", lines(t, events))
		})
	}
}

func TestSequenceHasNoGapsAndReplaysFromAnywhere(t *testing.T) {
	e := newEnclave(t, memoryBackend(memory.Options{}))
	r := newRunner(t, steps{says("a"), says("b")})
	s := r.Start(t.Context(), e, script(""))
	all := read(t, s, 1)
	for i, event := range all {
		if event.Seq != uint64(i+1) {
			t.Fatalf("event %d has number %d", i+1, event.Seq)
		}
	}
	want := "started phase plan phase phase step result step result done"
	if kinds(all) != want {
		t.Errorf("got %s, want %s", kinds(all), want)
	}
	for from := range uint64(len(all) + 2) {
		if got := read(t, s, from+1); lines(t, got) != lines(t, all[min(int(from), len(all)):]) {
			t.Errorf("from %d: %s", from+1, kinds(got))
		}
	}
	// Another process has the store alone.
	later, err := newRunner(t, nil).Stream(e, s.ID())
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, later, 1); lines(t, got) != lines(t, all) {
		t.Errorf("stored: %s", kinds(got))
	}
	_, err = r.Stream(e, "unknown")
	if !errors.Is(err, fault.ErrNotFound) {
		t.Error(err)
	}
}

func TestSlowReaderDoesNotHoldUpTheRun(t *testing.T) {
	e := newEnclave(t, memoryBackend(memory.Options{}))
	r := newRunner(t, steps{says("a"), says("b"), says("c")})
	stuck, unstick := make(chan struct{}), make(chan struct{})
	over := make(chan Done, 1)
	var seen []Event
	go func() {
		over <- r.Run(t.Context(), e, script(""), func(event Event) {
			if event.Seq == 1 {
				close(stuck)
				<-unstick
			}
			seen = append(seen, event)
		})
	}()
	<-stuck
	s := r.Live(e.UUID())
	if len(s) > 0 { // else it is over already, all the better
		if done := doneOf(t, read(t, s[0], 1)); !done.OK || done.Steps != 3 {
			t.Errorf("%+v", done)
		}
	}
	for len(r.Live("")) > 0 {
		time.Sleep(time.Millisecond)
	}
	close(unstick)
	if done := <-over; !done.OK {
		t.Errorf("%+v", done)
	}
	if len(seen) != 12 || seen[11].Kind != KindDone {
		t.Errorf("the sink saw %s", kinds(seen))
	}
}

func TestCancellation(t *testing.T) {
	interrupted := errors.New("interrupted by the user")
	t.Run("in a step", func(t *testing.T) {
		e := newEnclave(t, memoryBackend(memory.Options{}))
		begun := make(chan struct{})
		r := newRunner(t, steps{says("a"), {execute: func(ctx context.Context, _ *plan.Execution) (plan.Outcome, error) {
			close(begun)
			<-ctx.Done()
			return plan.Outcome{}, fmt.Errorf("gave up: %w", context.Cause(ctx))
		}}, says("never")})
		s := r.Start(t.Context(), e, script(""))
		<-begun
		s.Cancel(interrupted)
		events := read(t, s, 1)
		done := doneOf(t, events)
		if done.OK || !done.Cancelled || done.Steps != 1 || done.Reason != interrupted.Error() {
			t.Errorf("%+v", done)
		}
		if len(errorsOf(events)) > 0 || !strings.HasSuffix(kinds(events), "step warning done") {
			t.Errorf("events %s", kinds(events))
		}
		if w := events[len(events)-2].Warning.Text; w != "cancelled in step 2 of 3, do2: gave up: interrupted by the user" {
			t.Error(w)
		}
	})
	t.Run("between steps", func(t *testing.T) {
		e := newEnclave(t, memoryBackend(memory.Options{}))
		var s *Stream
		ready := make(chan struct{})
		r := newRunner(t, steps{{execute: func(context.Context, *plan.Execution) (plan.Outcome, error) {
			<-ready
			s.Cancel(interrupted)
			return plan.Outcome{Text: "done all the same"}, nil
		}}, says("never")})
		s = r.Start(t.Context(), e, script(""))
		close(ready)
		done := doneOf(t, read(t, s, 1))
		if done.OK || !done.Cancelled || done.Steps != 1 {
			t.Errorf("%+v", done)
		}
	})
	t.Run("with the enclave", func(t *testing.T) {
		be := memoryBackend(memory.Options{})
		store, err := enclave.OpenStore(filepath.Join(t.TempDir(), "db"))
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		m, err := enclave.NewManager(store, be, enclave.Deps{})
		if err != nil {
			t.Fatal(err)
		}
		e, err := m.Create(t.Context(), enclave.CreateSpec{Name: "brief"})
		if err != nil {
			t.Fatal(err)
		}
		begun := make(chan struct{})
		r := newRunner(t, steps{{execute: func(ctx context.Context, _ *plan.Execution) (plan.Outcome, error) {
			close(begun)
			<-ctx.Done()
			return plan.Outcome{}, context.Cause(ctx)
		}}})
		s := r.Start(t.Context(), e, script(""))
		<-begun
		if err := m.Destroy(t.Context(), "brief"); err != nil {
			t.Fatal(err)
		}
		done := doneOf(t, read(t, s, 1))
		if !done.Cancelled || done.Reason != `enclave "brief" was destroyed` {
			t.Errorf("%+v", done)
		}
	})
}

func TestOneRunAtATime(t *testing.T) {
	e := newEnclave(t, memoryBackend(memory.Options{}))
	var running, most atomic.Int32
	gate := make(chan struct{})
	r := newRunner(t, steps{{execute: func(context.Context, *plan.Execution) (plan.Outcome, error) {
		n := running.Add(1)
		most.Store(max(most.Load(), n))
		<-gate
		running.Add(-1)
		return plan.Outcome{}, nil
	}}})
	first := r.Start(t.Context(), e, script(""))
	for running.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	second, third := r.Start(t.Context(), e, script("")), r.Start(t.Context(), e, script(""))
	for _, waiting := range []*Stream{second, third} {
		for event := range waiting.Events(t.Context(), 1) {
			if event.Progress != nil {
				if !strings.Contains(event.Progress.Text, "another run is going on") {
					t.Error(event.Progress.Text)
				}
				break
			}
		}
	}
	third.Cancel(errors.New("impatient"))
	if done := doneOf(t, read(t, third, 1)); !done.Cancelled || done.Reason != "impatient" || done.Steps != 0 {
		t.Errorf("third: %+v", done)
	}
	close(gate)
	for _, s := range []*Stream{first, second} {
		if done := doneOf(t, read(t, s, 1)); !done.OK {
			t.Errorf("%+v", done)
		}
	}
	if most.Load() != 1 {
		t.Errorf("%d steps ran together", most.Load())
	}
}

func TestDryRunChangesNoState(t *testing.T) {
	dir := t.TempDir()
	store, err := enclave.OpenStore(filepath.Join(dir, "db"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	host := memory.New(memory.Options{})
	m, err := enclave.NewManager(store, host, enclave.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	e, err := m.Create(t.Context(), enclave.CreateSpec{Name: "home"})
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(filepath.Join(dir, "db"))
	if err != nil {
		t.Fatal(err)
	}
	req := script(`
def run(plan):
    s = plan.add_service("db", ServiceConfig(image = "pause"))
    plan.remove_service("db")
    return s.ip_address
`)
	req.DryRun = true
	r := newRunner(t, realHost())
	s := r.Start(t.Context(), e, req)
	done := doneOf(t, read(t, s, 1))
	if !done.OK || !done.DryRun || done.Steps != 0 || done.Output != "" {
		t.Errorf("%+v", done)
	}
	after, err := os.ReadFile(filepath.Join(dir, "db"))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(before, after) {
		t.Error("the state file has changed")
	}
	if again, err := r.Stream(e, s.ID()); err != nil || again != s {
		t.Errorf("its stream is remembered: %v", err)
	}
}

func TestPanicInAStepEndsTheRunOnly(t *testing.T) {
	e := newEnclave(t, memoryBackend(memory.Options{}))
	r := newRunner(t, steps{{execute: func(context.Context, *plan.Execution) (plan.Outcome, error) { panic("broken") }}})
	events := gather(t, r, e, script("pass"))
	if errs := errorsOf(events); len(errs) != 1 || errs[0].Code != "E0373" || errs[0].Summary != "internal error in do1: broken" {
		t.Errorf("%+v", errs)
	}
	if done := doneOf(t, events); done.OK || done.Cancelled {
		t.Errorf("%+v", done)
	}
}

// broken panics where it is told to.
type broken struct {
	private
	image bool
}

func (b broken) EnsureImage(ctx context.Context, req backend.ImageRequest, p backend.ProgressFunc) (backend.ImageInfo, error) {
	if b.image {
		panic("broken image store")
	}
	return b.private.EnsureImage(ctx, req, p)
}

type brokenHost struct{}

func (brokenHost) Interpret(context.Context, lang.Request) (*plan.Plan, error) { panic("broken host") }

type brokenCheck struct{ testStep }

func (brokenCheck) Validate(*plan.Forecast) []error { panic("broken check") }

type brokenPlan struct{}

func (brokenPlan) Interpret(context.Context, lang.Request) (*plan.Plan, error) {
	return &plan.Plan{PackageID: source.ScriptID, Steps: []plan.Step{brokenCheck{says("never")}}}, nil
}

func TestPanicBeforeExecutionEndsTheRunOnly(t *testing.T) {
	service := script("def run(plan):\n    plan.add_service(\"db\", ServiceConfig(image = \"pause\"))\n")
	for _, c := range []struct {
		host    Interpreter
		image   bool
		phase   PhaseName
		summary string
		line    int
	}{
		{host: brokenHost{}, phase: Interpretation, summary: "internal error in interpretation: broken host"},
		{host: brokenPlan{}, phase: Validation, summary: "internal error in validation: broken check"},
		{host: realHost(), image: true, phase: Validation, summary: "internal error in image \"pause\": broken image store", line: 2},
	} {
		e := newEnclave(t, broken{memoryBackend(memory.Options{}).(private), c.image})
		var log bytes.Buffer
		r := NewRunner(Deps{Host: c.host, NewID: counter(), Now: noon, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		events := gather(t, r, e, service)
		errs := errorsOf(events)
		if len(errs) != 1 || errs[0].Code != "E0001" || errs[0].Phase != c.phase || errs[0].Summary != c.summary || errs[0].Hint == "" {
			t.Fatalf("%+v", errs)
		}
		if at := errs[0].Stack; c.line > 0 && (len(at) == 0 || at[0].Line != c.line) {
			t.Errorf("at %v", at)
		}
		if done := doneOf(t, events); done.OK || done.Cancelled {
			t.Errorf("%+v", done)
		}
		if !strings.Contains(log.String(), "goroutine") || !strings.Contains(log.String(), "run_test.go") {
			t.Errorf("no stack in the log: %s", log.String())
		}
		r.Wait()
		again := newRunner(t, steps{says("fine")})
		if !doneOf(t, gather(t, again, e, script("pass"))).OK {
			t.Error("the enclave takes no more runs")
		}
	}
}

func TestLongResultsAreCut(t *testing.T) {
	e := newEnclave(t, memoryBackend(memory.Options{}))
	events := gather(t, newRunner(t, steps{says(strings.Repeat("ä", maxResult))}), e, script(""))
	i := slices.IndexFunc(events, func(e Event) bool { return e.Result != nil })
	text := events[i].Result.Text
	if len(text) > maxResult || len(text) < maxResult-4 || !strings.HasSuffix(text, "ä...") {
		t.Errorf("%d bytes, ending %q", len(text), text[len(text)-8:])
	}
}

func TestStoppedEnclaveRunsNothing(t *testing.T) {
	e := newEnclave(t, memoryBackend(memory.Options{}))
	if err := e.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	events := gather(t, newRunner(t, steps{says("never")}), e, script(""))
	if errs := errorsOf(events); len(errs) != 1 || errs[0].Code != "E0345" {
		t.Errorf("%+v", errs)
	}
}

func TestRecoverClosesWhatACrashLeftOpen(t *testing.T) {
	e := newEnclave(t, memoryBackend(memory.Options{}))
	if err := e.BeginRun("r1"); err != nil {
		t.Fatal(err)
	}
	s := newStream("r1", e.UUID(), noon)
	s.emit(Event{Kind: KindStarted, Started: &Started{RunID: "r1"}})
	s.emit(Event{Kind: KindPhase, Phase: &Phase{Name: Execution}})
	s.emit(Event{Kind: KindResult, Result: &Result{}})
	if err := s.store(e, s.events, false, nil); err != nil {
		t.Fatal(err)
	}
	r := newRunner(t, nil)
	for range 2 { // the second finds nothing to do
		if err := r.Recover(e); err != nil {
			t.Fatal(err)
		}
		found, err := r.Stream(e, "r1")
		if err != nil {
			t.Fatal(err)
		}
		events := read(t, found, 1)
		if kinds(events) != "started phase result error done" || events[4].Seq != 5 || doneOf(t, events).Steps != 1 {
			t.Errorf("%s %+v", kinds(events), events)
		}
		if p := errorsOf(events)[0]; p.Code != "E0371" || p.Phase != Execution {
			t.Errorf("%+v", p)
		}
	}
}

func TestLastRunIsKept(t *testing.T) {
	e := newEnclave(t, memoryBackend(memory.Options{}))
	req := script("def run(plan, args):\n    plan.print(args)\n")
	req.Args, req.Parallelism = `{"a": 1}`, 7
	if done := doneOf(t, gather(t, newRunner(t, realHost()), e, req)); !done.OK {
		t.Fatalf("%+v", done)
	}
	args, ok, err := e.LastRun()
	if !ok || err != nil || args.Params != req.Args || args.Parallelism != 7 || !strings.Contains(args.Script, "plan.print") {
		t.Errorf("%+v, %v", args, err)
	}
}

func TestValueIDsAreStableAcrossRuns(t *testing.T) {
	e := newEnclave(t, memoryBackend(memory.Options{}))
	text := "def run(plan):\n    s = plan.add_service(\"db\", ServiceConfig(image = \"pause\"))\n    return s.ip_address\n"
	var ids []string
	for range 2 {
		done := doneOf(t, gather(t, newRunner(t, realHost()), e, script(text)))
		if !done.OK || !strings.HasPrefix(done.Output, `"1`) {
			t.Fatalf("%+v", done)
		}
		id, err := e.ServiceValueID("db")
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if ids[0] != ids[1] || len(e.Services()) != 1 {
		t.Errorf("ids %v, services %v", ids, e.Services())
	}
}

func TestPlanWithoutAnEnclave(t *testing.T) {
	req := script("def run(plan):\n    plan.add_service(\"db\", ServiceConfig(image = \"nowhere:1\"))\n    plan.print(\"hi\")\n")
	planned := Plan(t.Context(), realHost(), req, backend.Capabilities{})
	if len(planned.Problems) > 0 || len(planned.Steps) != 2 || len(planned.Images) != 1 || planned.Images[0].Ref != "nowhere:1" {
		t.Errorf("%+v", planned)
	}
	req = script("def run(plan):\n    plan.exec(\"x\", ExecRecipe(command = [\"true\"]))\n    plan.remove_service(\"y\")\n")
	planned = Plan(t.Context(), realHost(), req, backend.Capabilities{})
	if len(planned.Problems) != 2 || planned.Problems[1].Stack[0].Line != 3 || planned.Problems[1].Phase != Validation {
		t.Errorf("%+v", planned.Problems)
	}
	planned = Plan(t.Context(), realHost(), script("def run(plan):\n    fail(\"no\")\n"), backend.Capabilities{})
	if len(planned.Problems) != 1 || planned.Plan != nil || planned.Problems[0].Excerpt.Line != 2 {
		t.Errorf("%+v", planned.Problems)
	}
}
