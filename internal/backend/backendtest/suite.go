// Package backendtest holds every backend to the contract of package backend.
//
// [Run] is the suite: one subtest per rule of the contract, skipped only where
// the backend's capabilities say that it can't. [ProbeImages] builds the images
// its services run. [Failing] is a decorator that injects failures into any
// backend, for the tests of the rooms above.
//
// The package knows no backend; it must not look behind the contract.
package backendtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/backendtest/bounds"
)

// Fixture is a backend under test and what the suite needs to know of it.
type Fixture struct {
	Backend backend.Backend
	// Reopen gives what a new process on the same host would have: another
	// Backend on the same state. Backend stays open.
	Reopen func(t *testing.T) backend.Backend
	// Image holds the program "probe" (package probe), in the PATH, and the
	// files of ProbeImages. Foreign is an image for another architecture.
	Image, Foreign string
	// Footprint lists what the backend has made on the host, one thing a line,
	// so that the suite can tell that nothing is left of an enclave.
	Footprint func(t *testing.T, id backend.EnclaveID) []string
}

// The bounds of the suite. They are wide: a loaded machine is no failure.
var (
	bound = bounds.Wide(60 * time.Second) // of any wait
	soon  = bounds.Wide(10 * time.Second) // within which a cancelled call returns
)

// rule is one sentence of the contract.
type rule struct {
	name  string
	needs []backend.Ability
	check func(*world)
}

// Run holds a backend to the contract.
func Run(t *testing.T, newBackend func(t *testing.T) Fixture) {
	fixture := newBackend(t)
	for _, part := range []struct {
		name  string
		rules []rule
	}{
		{"enclave", enclaveRules}, {"reserve", reserveRules}, {"start", startRules}, {"stop", stopRules},
		{"exec", execRules}, {"files", fileRules}, {"logs", logRules}, {"network", networkRules}, {"links", linkRules},
		{"resources", resourceRules}, {"pause", pauseRules}, {"suspend", suspendRules}, {"together", togetherRules},
		{"reopen", reopenRules}, {"images", imageRules}, {"destroy", destroyRules},
	} {
		t.Run(part.name, func(t *testing.T) {
			for _, r := range part.rules {
				t.Run(r.name, func(t *testing.T) {
					for _, a := range r.needs {
						if !fixture.Backend.Capabilities().Has(a) {
							t.Skipf("not able: %s (%s)", a, fixture.Backend.Capabilities().Missing[a])
						}
					}
					t.Parallel()
					r.check(newWorld(t, fixture))
				})
			}
		})
	}
}

// world is one rule's own enclave.
type world struct {
	*testing.T
	Fixture
	ctx     context.Context
	id      backend.EnclaveID
	enclave backend.Enclave
}

func newWorld(t *testing.T, f Fixture) *world {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), 2*bound, errors.New("the rule's test took too long"))
	t.Cleanup(cancel)
	w := &world{T: t, Fixture: f, ctx: ctx}
	w.id, w.enclave = w.another()
	return w
}

// another makes one more enclave, which goes with the test.
func (w *world) another() (backend.EnclaveID, backend.Enclave) {
	w.Helper()
	id := newID()
	e, err := w.Backend.CreateEnclave(w.ctx, backend.EnclaveSpec{ID: id, Name: "suite-" + id.Short()})
	w.must(err)
	w.Cleanup(func() {
		ctx, cancel := context.WithTimeoutCause(context.Background(), bound, errors.New("destroy took too long"))
		defer cancel()
		if err := e.Destroy(ctx); err != nil {
			w.Errorf("destroy: %v", err)
		}
	})
	return id, e
}

func newID() backend.EnclaveID {
	raw := make([]byte, 16)
	rand.Read(raw)
	return backend.EnclaveID(hex.EncodeToString(raw))
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// wantErr checks that an error is of a kind.
func (w *world) wantErr(err, kind error) {
	w.Helper()
	if !errors.Is(err, kind) {
		w.Fatalf("got error %v, want %v", err, kind)
	}
}

// eventually waits until f gives "": all is well. The last text is the failure.
func (w *world) eventually(what string, f func() string) {
	w.Helper()
	deadline := time.Now().Add(bound)
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		problem := f()
		if problem == "" {
			return
		}
		if time.Now().After(deadline) || w.ctx.Err() != nil {
			w.Fatalf("%s: %s", what, problem)
		}
		time.Sleep(pause)
	}
}

// spec is a service that runs the probe with these arguments.
func (w *world) spec(name backend.ServiceName, steps string) backend.ServiceSpec {
	return backend.ServiceSpec{Name: name, UUID: string(newID()), Image: w.Image, Cmd: command(steps)}
}

// command splits steps at spaces; see package probe.
func command(steps string) []string { return append([]string{"probe"}, strings.Fields(steps)...) }

// start runs a service, with changes to its spec.
func (w *world) start(name backend.ServiceName, steps string, change ...func(*backend.ServiceSpec)) {
	w.Helper()
	spec := w.spec(name, steps)
	for _, c := range change {
		c(&spec)
	}
	w.must(w.enclave.Start(w.ctx, spec))
}

// exited waits for a service's end.
func (w *world) exited(name backend.ServiceName) backend.Exit {
	w.Helper()
	ctx, cancel := context.WithTimeoutCause(w.ctx, bound, errors.New("the service did not end"))
	defer cancel()
	exit, err := w.enclave.Wait(ctx, name)
	w.must(err)
	return exit
}

func (w *world) inspect(name backend.ServiceName) backend.Status {
	w.Helper()
	s, err := w.enclave.Inspect(w.ctx, name)
	w.must(err)
	return s
}

// run executes probe steps in a service and gives code, stdout and stderr.
func (w *world) run(name backend.ServiceName, steps string, change ...func(*backend.ExecSpec)) (int, string, string) {
	w.Helper()
	var out, errs bytes.Buffer
	spec := backend.ExecSpec{Args: command(steps), Stdout: &out, Stderr: &errs}
	for _, c := range change {
		c(&spec)
	}
	code, err := w.enclave.Exec(w.ctx, name, spec)
	w.must(err)
	return code, strings.TrimSuffix(out.String(), "\n"), strings.TrimSuffix(errs.String(), "\n")
}

// logged gives the stored lines of a service, as text.
func (w *world) logged(name backend.ServiceName) []string {
	w.Helper()
	lines, err := collect(w.enclave.Logs(w.ctx, name, backend.LogQuery{Tail: -1}))
	w.must(err)
	var out []string
	for _, l := range lines {
		out = append(out, l.Text)
	}
	return out
}

// waitLine waits until a service has written a line.
func (w *world) waitLine(name backend.ServiceName, line string) {
	w.Helper()
	w.eventually("output of "+string(name), func() string {
		for _, l := range w.logged(name) {
			if l == line {
				return ""
			}
		}
		return "no line " + line
	})
}

// ask sends a message through Dial and gives the answer.
func (w *world) ask(e backend.Enclave, name backend.ServiceName, proto backend.Transport, port uint16, message string) string {
	w.Helper()
	var answer string
	w.eventually("answer of "+string(name), func() string {
		var err error
		answer, err = dialAndAsk(w.ctx, e, name, proto, port, message)
		if err != nil {
			return err.Error()
		}
		return ""
	})
	return answer
}
