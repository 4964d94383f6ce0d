package run

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/memory"
	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/plan"
	"github.com/lepto-dev/lepto/internal/source"
)

// wired is a step with given effects.
type wired struct {
	testStep
	effects plan.Effects
}

func (s wired) Effects() plan.Effects { return s.effects }

// wiring is an Interpreter whose plan is known.
type wiring []wired

func (w wiring) Interpret(context.Context, lang.Request) (*plan.Plan, error) {
	p := &plan.Plan{PackageID: source.ScriptID}
	for i, step := range w {
		step.call = plan.Call{
			ID: plan.StepID(fmt.Sprintf("%032d", i+1)), Name: fmt.Sprintf("do%d", i+1), Text: fmt.Sprintf("do%d()", i+1),
			Stack: []fault.Frame{{File: source.ScriptID, Line: 1, Col: 1}},
		}
		p.Steps = append(p.Steps, step)
	}
	return p, nil
}

// takes is a step that takes so long, after those that write what it reads.
func takes(d time.Duration, writes plan.Key, reads ...plan.Key) wired {
	return wired{
		testStep: testStep{execute: func(ctx context.Context, _ *plan.Execution) (plan.Outcome, error) {
			select {
			case <-time.After(d):
				return plan.Outcome{}, nil
			case <-ctx.Done():
				return plan.Outcome{}, context.Cause(ctx)
			}
		}},
		effects: plan.Effects{Reads: reads, Writes: []plan.Key{writes}},
	}
}

func TestParallelTakesTheCriticalPath(t *testing.T) {
	var w wiring
	for i := range 30 { // a tree of three levels: 1, 4 and 25
		parent := plan.ValueKey(fmt.Sprint((i - 1) / 4))
		if i > 4 {
			parent = plan.ValueKey(fmt.Sprint(1 + i%4))
		}
		w = append(w, takes(time.Duration(100+i)*time.Millisecond, plan.ValueKey(fmt.Sprint(i)), parent))
	}
	for workers, most := range map[int]time.Duration{0: 335 * time.Millisecond, 1: 4 * time.Second, 4: 1100 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			e := newEnclave(t, memoryBackend(memory.Options{}))
			r := NewRunner(Deps{Host: w, NewID: counter()})
			req := script("")
			req.Parallel, req.Workers = true, workers
			done := r.Run(t.Context(), e, req, nil)
			r.Wait()
			if !done.OK || done.Steps != 30 || done.Parallel == nil {
				t.Fatalf("done: %+v", done)
			}
			if done.Parallel.Critical < 330*time.Millisecond || len(done.Parallel.Chain) != 3 {
				t.Errorf("critical path: %+v", done.Parallel)
			}
			if done.Duration > most {
				t.Errorf("%d workers take %v", workers, done.Duration)
			}
		})
	}
}

func TestParallelFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fails := takes(20*time.Millisecond, "value/2")
		fails.execute = func(context.Context, *plan.Execution) (plan.Outcome, error) {
			time.Sleep(20 * time.Millisecond)
			return plan.Outcome{}, errors.New("on purpose")
		}
		w := wiring{
			takes(50*time.Millisecond, "value/1"), // before the one that fails: it is let finish
			fails,
			takes(time.Hour, "value/3"),                          // after it: it is cancelled
			takes(0, "value/4", "value/1"),                       // never begins
			takes(10*time.Millisecond, "value/5"),                // done before the failure
			takes(time.Hour, "value/6", "value/1", "value/none"), // never begins
		}
		e := newEnclave(t, memoryBackend(memory.Options{}))
		r := NewRunner(Deps{Host: w, NewID: counter()})
		req := script("")
		req.Parallel = true
		events := gather(t, r, e, req)
		done := doneOf(t, events)
		if done.OK || done.Cancelled || done.Steps != 2 || done.Duration > 60*time.Millisecond {
			t.Errorf("done: %+v", done)
		}
		var began, warned []string
		for _, event := range events {
			if event.Begin != nil {
				began = append(began, event.Begin.Name)
			}
			if event.Warning != nil {
				warned = append(warned, event.Warning.Text)
			}
		}
		slices.Sort(began)
		if got := strings.Join(began, " "); got != "do1 do2 do3 do5" {
			t.Errorf("began: %s", got)
		}
		if got := strings.Join(warned, "; "); got != "cancelled in step 3 of 6, do3: step 2 failed" {
			t.Errorf("warnings: %s", got)
		}
		if errs := errorsOf(events); len(errs) != 1 || !strings.Contains(errs[0].Summary, "on purpose") {
			t.Errorf("errors: %+v", errs)
		}
		r.Wait()
	})
}

func TestParallelCancellation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := wiring{takes(time.Hour, "value/1"), takes(time.Hour, "value/2"), takes(0, "value/3", "value/1")}
		e := newEnclave(t, memoryBackend(memory.Options{}))
		r := NewRunner(Deps{Host: w, NewID: counter()})
		req := script("")
		req.Parallel = true
		s := r.Start(t.Context(), e, req)
		synctest.Wait()
		s.Cancel(errors.New("enough"))
		done, err := s.Wait(t.Context())
		if err != nil || !done.Cancelled || done.Reason != "enough" || done.Steps != 0 {
			t.Errorf("done: %+v, %v", done, err)
		}
		r.Wait()
	})
}

func TestParallelPanicFailsTheStep(t *testing.T) {
	broken := takes(0, "value/1")
	broken.execute = func(context.Context, *plan.Execution) (plan.Outcome, error) { panic("broken") }
	e := newEnclave(t, memoryBackend(memory.Options{}))
	r := newRunner(t, wiring{broken, takes(0, "value/2")})
	req := script("")
	req.Parallel = true
	if errs := errorsOf(gather(t, r, e, req)); len(errs) != 1 || errs[0].Code != "E0373" {
		t.Errorf("errors: %+v", errs)
	}
}

// program is a generated script, of services that use one another and of
// everything that can be done to them.
func program(random *rand.Rand) string {
	var b strings.Builder
	b.WriteString("def run(plan):\n")
	say := func(format string, args ...any) { fmt.Fprintf(&b, "    "+format+"\n", args...) }
	var live []string // services that are there and run
	stopped := map[string]bool{}
	some := func() string { return live[random.IntN(len(live))] }
	values := 0
	var tasks []int // numbers of tasks
	for i := range 12 + random.IntN(20) {
		if len(live) < 2 {
			name := fmt.Sprintf("s%d", i)
			say(`%s = plan.add_service(%q, ServiceConfig("pause"))`, name, name)
			live = append(live, name)
			continue
		}
		name := some()
		switch random.IntN(14) {
		case 0, 1, 2:
			added := fmt.Sprintf("s%d", i)
			text := fmt.Sprintf("%q", some()+":80")
			if random.IntN(2) == 0 {
				text = some() + ".hostname" // addresses are given in the order of starts
			}
			if values > 0 && random.IntN(2) == 0 {
				text += fmt.Sprintf(` + v%d["output"]`, random.IntN(values))
			}
			say(`%s = plan.add_service(%q, ServiceConfig("pause", env_vars = {"USES": %s}))`, added, added, text)
			live = append(live, added)
		case 3, 4, 5:
			if !stopped[name] {
				host := some() // a word, or the place of a host
				if random.IntN(3) == 0 {
					host = "http://" + host + ":80"
				}
				say(`v%d = plan.exec(%q, ExecRecipe(["sh", "-c", "echo %d >> /log; cat /log; echo %s"]))`, values, name, i, host)
				values++
			}
		case 6:
			if !stopped[name] {
				say(`plan.wait(%q, ExecRecipe(["true"]), "code", "==", 0)`, name)
			}
		case 7:
			stopped[name] = !stopped[name]
			say(`plan.%s_service(%q)`, map[bool]string{true: "stop", false: "start"}[stopped[name]], name)
		case 8:
			if values > 0 {
				say(`plan.verify(v%d["code"], "==", 0)`, random.IntN(values))
			}
		case 9:
			live = slices.DeleteFunc(live, func(s string) bool { return s == name })
			delete(stopped, name)
			say(`plan.remove_service(%q)`, name)
		case 11, 12:
			task(say, random, i, name, some(), tasks)
			tasks = append(tasks, i)
		case 13:
			if len(tasks) > 0 {
				say(`plan.print("at %d " + t%d.output)`, i, tasks[random.IntN(len(tasks))])
			}
		case 10:
			say(`plan.print("at %d " + %s.hostname)`, i, name)
		}
	}
	return b.String()
}

// task adds a task that looks for a service, which it gets told in one of several
// ways, and keeps what it saw.
func task(say func(string, ...any), random *rand.Rand, i int, name, other string, before []int) {
	run, files := fmt.Sprintf(`"look %s"`, name), "{}"
	switch kind := random.IntN(4); {
	case kind == 1:
		run = fmt.Sprintf(`"look " + %s.hostname + " %s"`, other, name)
	case kind == 2:
		say(`plan.render_templates({"f": struct(template = "{{.A}}", data = {"A": %q})}, name = "rendered%d")`, name, i)
		run, files = `"look @/in/f"`, fmt.Sprintf(`{"/in": "rendered%d"}`, i)
	case kind == 3 && len(before) > 0:
		run = fmt.Sprintf(`"look " + t%d.output`, before[random.IntN(len(before))])
	}
	say(`t%d = plan.run_sh(name = "task%d", run = %s, image = "pause", files = %s, store = ["/seen"])`, i, i, run, files)
}

// look tells which of some services are there, by their own names, and keeps it.
func look(ctx context.Context, p *memory.Proc) int {
	for _, host := range p.Args[1:] {
		if file, ok := strings.CutPrefix(host, "@"); ok {
			data, _ := p.Files.ReadFile(file)
			host = string(data)
		}
		state := "there"
		if _, err := p.Dial(ctx, backend.TCP, host, 80); errors.Is(err, fault.ErrNotFound) {
			state = "gone"
		}
		fmt.Fprintf(p.Stdout, "%s %s ", host, state)
	}
	if err := p.Files.WriteFile("/seen", []byte(fmt.Sprint(p.Args)), 0o644); err != nil {
		fmt.Fprintln(p.Stderr, err)
		return 1
	}
	return 0
}

// state is what is left of a run: services, what they are and have done, and
// what was printed.
func state(t *testing.T, e *enclave.Enclave, events []Event) string {
	t.Helper()
	var out []string
	services, err := e.InspectAll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range services {
		log := ""
		if s.Status == enclave.ServiceRunning {
			var text strings.Builder
			if _, err := e.Exec(t.Context(), s.Name, backend.ExecSpec{Args: []string{"cat", "/log"}, Stdout: &text}); err != nil {
				t.Fatal(err)
			}
			log = text.String()
		}
		out = append(out, fmt.Sprintf("%s %s uses %q did %q", s.Name, s.Status, s.Config.Env["USES"], log))
	}
	for _, event := range events {
		if event.Result != nil && strings.HasPrefix(event.Result.Text, "at ") {
			out = append(out, event.Result.Text)
		}
	}
	return strings.Join(out, "\n")
}

func TestEveryLegalOrderLeavesTheSame(t *testing.T) {
	plans, orders := 8, 4
	for seed := range uint64(plans) {
		text := program(rand.New(rand.NewPCG(seed, 1)))
		run := func(change func(*Request)) string {
			e := newEnclave(t, memoryBackend(memory.Options{Commands: map[string]memory.Program{"look": look}}))
			r := newRunner(t, realHost())
			req := script(text)
			change(&req)
			events := gather(t, r, e, req)
			if !doneOf(t, events).OK {
				t.Fatalf("plan %d fails: %+v\n%s", seed, errorsOf(events)[0], text)
			}
			return state(t, e, events)
		}
		want := run(func(*Request) {})
		for order := range uint64(orders) {
			if got := run(func(r *Request) { r.Shuffle, r.ShuffleSeed = true, order }); got != want {
				t.Fatalf("plan %d, order %d leaves\n%s\nwhere the script's order leaves\n%s\n%s", seed, order, got, want, text)
			}
		}
		if got := run(func(r *Request) { r.Parallel = true }); got != want {
			t.Fatalf("plan %d in parallel leaves\n%s\nwhere the script's order leaves\n%s\n%s", seed, got, want, text)
		}
	}
}

func TestATreeUnderFiftySeeds(t *testing.T) {
	text := `
def run(plan):
    root = plan.add_service("root", ServiceConfig("pause"))
    branches = [plan.add_service("b{}".format(i), ServiceConfig("pause", env_vars = {"USES": root.hostname})) for i in range(5)]
    for i in range(24):
        plan.add_service("l{}".format(i), ServiceConfig("pause", env_vars = {"USES": branches[i % 5].hostname}))
        plan.exec("b{}".format(i % 5), ExecRecipe(["sh", "-c", "echo {} >> /log".format(i)]))
`
	leaves := func(change func(*Request)) string {
		e := newEnclave(t, memoryBackend(memory.Options{}))
		req := script(text)
		change(&req)
		events := gather(t, newRunner(t, realHost()), e, req)
		if !doneOf(t, events).OK {
			t.Fatalf("it fails: %+v", errorsOf(events)[0])
		}
		return state(t, e, events)
	}
	want := leaves(func(*Request) {})
	for seed := range uint64(50) {
		if got := leaves(func(r *Request) { r.Shuffle, r.ShuffleSeed = true, seed }); got != want {
			t.Fatalf("seed %d leaves\n%s\nwant\n%s", seed, got, want)
		}
	}
}

func TestParallelFailuresAreOfTheirOwnSteps(t *testing.T) {
	e := newEnclave(t, memoryBackend(memory.Options{}))
	req := script(`
def run(plan):
    plan.add_service("one", ServiceConfig("crash", ports = {"p": PortSpec(1)}))
    plan.add_service("two", ServiceConfig("crash", ports = {"p": PortSpec(1)}))
    plan.add_service("three", ServiceConfig("pause"))
`)
	req.Parallel, req.OnFailure = true, KeepFailed
	events := gather(t, newRunner(t, realHost()), e, req)
	for _, event := range events {
		if event.Error == nil {
			continue
		}
		name := map[int]string{1: "one", 2: "two"}[numberOf(events, event)]
		if event.Error.Service != name {
			t.Errorf("the failure of %q is told of %q", name, event.Error.Service)
		}
	}
	if doneOf(t, events).OK {
		t.Error("the run succeeds")
	}
}

// numberOf gives the number of the step of an event.
func numberOf(events []Event, of Event) int {
	for _, event := range events {
		if event.Begin != nil && event.Step == of.Step {
			return event.Begin.Number
		}
	}
	return 0
}
