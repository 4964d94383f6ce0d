package run

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/artifact"
	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/memory"
	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/instruction"
	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/lang/types"
	"github.com/lepto-dev/lepto/internal/plan"
	"github.com/lepto-dev/lepto/internal/source"
)

var update = flag.Bool("update", false, "rewrite golden files")

// bound is far more than any test takes; it turns a hang into a failure.
const bound = 30 * time.Second

// noon is what every clock of these tests shows.
func noon() time.Time { return time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC) }

// counter makes ids that a test can predict.
func counter() func() string {
	var mu sync.Mutex
	n := 0
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		n++
		return fmt.Sprintf("%032x", n)
	}
}

// private is a backend that publishes no ports, so that what tests see has no
// port numbers of the host, and no real sockets hold up a synctest bubble.
type private struct{ *memory.Backend }

func (p private) Capabilities() backend.Capabilities {
	caps := p.Backend.Capabilities()
	abilities := map[backend.Ability]bool{}
	for ability, has := range caps.Abilities {
		abilities[ability] = has && ability != backend.AbilityPublishTCP && ability != backend.AbilityPublishUDP
	}
	caps.Abilities, caps.Architecture, caps.Limits = abilities, "amd64", backend.Limits{CPUMillis: 4000, MemoryBytes: 1 << 30}
	return caps
}

// stateDir gives a folder for an engine's state: in memory where the host has such a
// place, with room for trees, as every write waits for the disk.
func stateDir(t testing.TB) string {
	t.Helper()
	const memory, room = "/dev/shm", 1 << 30
	var free unix.Statfs_t
	if err := unix.Statfs(memory, &free); err != nil || free.Bavail*uint64(free.Bsize) < room {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(memory, "lepto-test")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func newEnclave(t testing.TB, be backend.Backend) *enclave.Enclave {
	t.Helper()
	dir := stateDir(t)
	store, err := enclave.OpenStore(filepath.Join(dir, "engine.db"))
	if err != nil {
		t.Fatal(err)
	}
	artifacts, err := artifact.Open(filepath.Join(dir, "artifacts"), artifact.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	manager, err := enclave.NewManager(store, be, enclave.Deps{NewID: counter(), Now: noon, Artifacts: artifacts})
	if err != nil {
		t.Fatal(err)
	}
	e, err := manager.Create(t.Context(), enclave.CreateSpec{Name: "home"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), bound)
		defer cancel()
		if _, err := manager.Clean(ctx, true); err != nil {
			t.Error(err)
		}
		store.Close()
	})
	return e
}

func memoryBackend(opts memory.Options) backend.Backend {
	opts.Architecture = "amd64"
	return private{memory.New(opts)}
}

func newRunner(t testing.TB, host Interpreter) *Runner {
	t.Helper()
	r := NewRunner(Deps{Host: host, NewID: counter(), Now: noon})
	t.Cleanup(r.Wait)
	return r
}

func realHost() Interpreter { return lang.NewHost(instruction.All(), types.All()) }

func script(text string) Request {
	return Request{Package: source.OpenScript("demo.star", text)}
}

// testStep is a step that does what a test says.
type testStep struct {
	call    plan.Call
	execute func(context.Context, *plan.Execution) (plan.Outcome, error)
}

func (s testStep) Call() plan.Call                   { return s.call }
func (s testStep) Effects() plan.Effects             { return plan.Effects{} }
func (s testStep) Validate(f *plan.Forecast) []error { return nil }
func (s testStep) Execute(ctx context.Context, x *plan.Execution) (plan.Outcome, error) {
	return s.execute(ctx, x)
}

// steps is an Interpreter whose plan is known.
type steps []testStep

func (s steps) Interpret(context.Context, lang.Request) (*plan.Plan, error) {
	p := &plan.Plan{PackageID: source.ScriptID}
	for i, step := range s {
		step.call = plan.Call{
			ID: plan.StepID(fmt.Sprintf("%032d", i+1)), Name: fmt.Sprintf("do%d", i+1), Text: fmt.Sprintf("do%d()", i+1),
			Stack: []fault.Frame{{File: source.ScriptID, Line: 1, Col: 1}},
		}
		p.Steps = append(p.Steps, step)
	}
	return p, nil
}

func says(text string) testStep {
	return testStep{execute: func(context.Context, *plan.Execution) (plan.Outcome, error) {
		return plan.Outcome{Text: text}, nil
	}}
}

// gather runs and gives the events.
func gather(t testing.TB, r *Runner, e *enclave.Enclave, req Request) []Event {
	t.Helper()
	s := r.Start(t.Context(), e, req)
	return read(t, s, 1)
}

func read(t testing.TB, s *Stream, from uint64) (out []Event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	for event, err := range s.Events(ctx, from) {
		if err != nil {
			t.Fatalf("%v; so far %s", err, kinds(out))
		}
		out = append(out, event)
	}
	if _, err := s.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	return out
}

func kinds(events []Event) string {
	var out []string
	for _, e := range events {
		out = append(out, string(e.Kind))
	}
	return strings.Join(out, " ")
}

func doneOf(t testing.TB, events []Event) Done {
	t.Helper()
	if len(events) == 0 || events[len(events)-1].Done == nil {
		t.Fatalf("no end: %s", kinds(events))
	}
	return *events[len(events)-1].Done
}

func errorsOf(events []Event) (out []*Problem) {
	for _, e := range events {
		if e.Error != nil {
			out = append(out, e.Error)
		}
	}
	return out
}

// lines gives events as a golden file has them.
func lines(t testing.TB, events []Event) string {
	t.Helper()
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	for _, e := range events {
		e.At = time.Time{}
		if err := encoder.Encode(e); err != nil {
			t.Fatal(err)
		}
	}
	return strings.ReplaceAll(out.String(), "  \"at\": \"0001-01-01T00:00:00Z\",\n", "")
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (run with -update if that is right)\ngot:\n%s", path, got)
	}
}
