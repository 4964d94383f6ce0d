package enclave

import (
	"fmt"
	"math/rand"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/memory"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file kills the process at every point of every operation, and checks
// that the one after it finds things in order.

// world is a host with a state file, on which processes live and die.
type world struct {
	host *memory.Backend
	path string
}

// process is a manager that may die.
func (w world) process(t *testing.T, left int) (*Manager, *mortality) {
	t.Helper()
	m := &mortality{left: left}
	store := openTestStore(t, w.path)
	store.hook = m.pass
	manager, err := NewManager(store, mortal{private{w.host.Reopen()}, m}, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	return manager, m
}

// live runs actions until the process dies, or all are done, and checks what the
// next process finds. It says whether it died, and how many failpoints it passed.
func (w world) live(t *testing.T, actions []action, left int) (died bool) {
	t.Helper()
	m, mortality := w.process(t, left)
	if _, err := m.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	acknowledged := newModel()
	worlds := []*model{acknowledged}
	for _, a := range actions {
		before := acknowledged.clone()
		err := a.do(t.Context(), m, acknowledged)
		if mortality.alive() != nil {
			worlds = []*model{before, acknowledged}
			if a.alternatives != nil {
				worlds = append(worlds, a.alternatives(before)...)
			}
			worlds = append(worlds, createdBy(a, before)...)
			break
		}
		if err != nil && !isRefusal(err) {
			t.Fatalf("%s: %v", a.name, err)
		}
	}
	died = mortality.alive() != nil
	point := mortality.point
	if err := m.store.Close(); err != nil {
		t.Fatal(err)
	}
	w.check(t, fmt.Sprintf("died %v at %q", died, point), worlds)
	return died
}

// createdBy is the world in which a create is done and its answer never arrived.
func createdBy(a action, before *model) []*model {
	var name string
	if n, _ := fmt.Sscanf(a.name, "create %s", &name); n != 1 {
		return nil
	}
	w := before.clone()
	if w.enclaves[name] == nil {
		w.enclaves[name] = map[string]known{}
	}
	return []*model{w}
}

// isRefusal is an error of an operation that random sequences ask for in vain:
// what it works on is not there, or there already, or stopped.
func isRefusal(err error) bool {
	return slices.Contains([]string{"E0341", "E0342", "E0344", "E0345"}, fault.From(err, "").Code)
}

// check lets the next process reconcile, and compares.
func (w world) check(t *testing.T, when string, worlds []*model) {
	t.Helper()
	m, _ := w.process(t, -1)
	defer m.store.Close()
	report, err := m.Reconcile(t.Context())
	if err != nil || len(report.Problems) > 0 || len(report.Lost) > 0 {
		t.Fatalf("%s: reconcile: %+v, %v", when, report, err)
	}
	found := w.look(t, m, when)
	if !slices.ContainsFunc(worlds, func(m *model) bool { return matches(m, found) }) {
		t.Fatalf("%s: found %+v\nwhich is none of %s\nreport %+v", when, *found, describe(worlds), report)
	}
	again, err := m.Reconcile(t.Context())
	if err != nil || len(again.Removed)+len(again.Restored)+len(again.Lost)+len(again.Problems) > 0 {
		t.Fatalf("%s: reconciling again still finds work: %+v, %v", when, again, err)
	}
}

func describe(worlds []*model) (out string) {
	for _, w := range worlds {
		out += fmt.Sprintf("\n  %+v", *w)
	}
	return out
}

// look gives the world as store and backend have it, and fails where they differ.
func (w world) look(t *testing.T, m *Manager, when string) *model {
	t.Helper()
	found := newModel()
	held, err := w.host.Enclaves(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(held) != len(m.List()) {
		t.Fatalf("%s: the backend holds %d enclaves, the store %d", when, len(held), len(m.List()))
	}
	for _, e := range m.List() {
		services := map[string]known{}
		all, err := e.InspectAll(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		for _, s := range all {
			if s.Starting || s.Failure != nil || s.Status == ServiceUnknown {
				t.Fatalf("%s: half made: %+v", when, s)
			}
			if row := e.serviceRow(s.Name); row.Unsettled || row.Stopped && s.Status == ServiceRunning {
				t.Fatalf("%s: half stopped or started: %+v", when, *row)
			}
			k := knownOf(s)
			if e.row().Stopped && k.running {
				t.Fatalf("%s: %s runs in a stopped enclave", when, s.Name)
			}
			k.running = k.running || e.row().Stopped && slices.Contains(e.row().Ran, s.Name)
			services[s.Name] = k
			if s.Process.UUID != s.UUID || s.Process.Image != s.Config.Image.Ref {
				t.Fatalf("%s: the store has %+v, the backend %+v", when, s, s.Process)
			}
		}
		names, err := mustOpen(t, e).Services(t.Context())
		if err != nil || len(names) != len(services) {
			t.Fatalf("%s: the backend holds %v, the store %v (%v)", when, names, services, err)
		}
		found.enclaves[e.Name()] = services
		if e.row().Stopped {
			found.stopped[e.Name()] = true
		}
	}
	return found
}

// matches compares a world that may be with the one that is.
func matches(may, is *model) bool {
	if len(may.enclaves) != len(is.enclaves) {
		return false
	}
	for name, services := range may.enclaves {
		found, ok := is.enclaves[name]
		if !ok || may.stopped[name] != is.stopped[name] || len(services) != len(found) {
			return false
		}
		for service, k := range services {
			f, ok := found[service]
			if k.uuid == wild {
				k.uuid, k.ip = f.uuid, f.ip
			}
			if !ok || k != f {
				return false
			}
		}
	}
	return true
}

func TestDeathAtEveryPoint(t *testing.T) {
	script := []action{
		create("one"), add("one", "db", "pause"), add("one", "api", "web"), stop("one", "api"),
		add("one", "db", "newer"), add("one", "api", "newer"), batch("one", "a", "b", "db", "c"),
		start("one", "api"), stop("one", "a"), turn("one", true), turn("one", false), start("one", "a"), remove("one", "b"),
		create("two"), add("two", "db", "pause"), turn("two", true), destroy("two"), destroy("one"),
	}
	points := 0
	for ; ; points++ {
		w := world{memory.New(memory.Options{}), filepath.Join(t.TempDir(), "engine.db")}
		if !w.live(t, script, points) {
			break
		}
	}
	if points < 100 {
		t.Errorf("only %d points to die at", points)
	}
	t.Logf("died at each of %d points", points)
}

func TestRandomLivesAndDeaths(t *testing.T) {
	const lives = 80
	for seed := range int64(lives) {
		random := rand.New(rand.NewSource(seed))
		var script []action
		for range 25 {
			script = append(script, randomAction(random))
		}
		w := world{memory.New(memory.Options{}), filepath.Join(t.TempDir(), "engine.db")}
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { w.live(t, script, random.Intn(160)) })
		if t.Failed() {
			return
		}
	}
}

func randomAction(random *rand.Rand) action {
	pick := func(list ...string) string { return list[random.Intn(len(list))] }
	in, name := pick("one", "one", "two"), pick("db", "api", "web")
	switch n := random.Intn(20); {
	case n < 4:
		return create(in)
	case n < 9:
		return add(in, name, pick("pause", "web", "newer"))
	case n < 12:
		return batch(in, "db", pick("x", "api"), "y")
	case n < 13:
		return remove(in, name)
	case n < 15:
		return stop(in, name)
	case n < 17:
		return start(in, name)
	case n < 19:
		return turn(in, n == 17)
	default:
		return destroy(in)
	}
}

func TestReconcileRemovesWhatTheStoreDoesNotKnow(t *testing.T) {
	host := memory.New(memory.Options{})
	stranger, err := host.CreateEnclave(t.Context(), backend.EnclaveSpec{ID: "ffffffffffffffffffffffffffffffff", Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if err := stranger.Start(t.Context(), backend.ServiceSpec{Name: "db", Image: "pause"}); err != nil {
		t.Fatal(err)
	}
	m := newTestManager(t, host)
	e, err := m.Create(t.Context(), CreateSpec{Name: "home"})
	if err != nil {
		t.Fatal(err)
	}
	if err := mustOpen(t, e).Start(t.Context(), backend.ServiceSpec{Name: "remnant", Image: "pause"}); err != nil {
		t.Fatal(err)
	}
	report, err := m.Reconcile(t.Context())
	if err != nil || len(report.Problems) > 0 {
		t.Fatal(report, err)
	}
	want := []string{"enclave ffffffffffff", `service "remnant" of enclave "home"`}
	if !slices.Equal(report.Removed, want) || !slices.Equal(report.Adopted, []string{"home"}) {
		t.Errorf("report %+v", report)
	}
	if left, _ := host.Enclaves(t.Context()); len(left) != 1 {
		t.Errorf("the backend holds %v", left)
	}
}

func TestReconcileTellsWhatIsLost(t *testing.T) {
	host := memory.New(memory.Options{})
	m := newTestManager(t, host)
	for _, name := range []string{"kept", "gone"} {
		e, err := m.Create(t.Context(), CreateSpec{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		mustAdd(t, e, "db", idle())
		mustAdd(t, e, "api", idle())
	}
	kept, _ := m.Get("kept")
	gone, _ := m.Get("gone")
	if err := mustOpen(t, kept).Remove(t.Context(), "db"); err != nil {
		t.Fatal(err)
	}
	if err := mustOpen(t, gone).Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	next, err := NewManager(m.store, host.Reopen(), Deps{})
	if err != nil {
		t.Fatal(err)
	}
	report, err := next.Reconcile(t.Context())
	if err != nil || !slices.Equal(report.Lost, []string{`enclave "gone"`, `service "db" of enclave "kept"`}) {
		t.Fatalf("%+v, %v", report, err)
	}
	e, _ := next.Get("gone")
	if e.Info().Status != Empty {
		t.Errorf("status %s", e.Info().Status)
	}
	_, err = e.AddService(t.Context(), "x", idle(), AddOptions{})
	wantCode(t, err, "E0346")
	e, _ = next.Get("kept")
	s, err := e.Inspect(t.Context(), "db")
	if err != nil || s.Failure == nil || s.Failure.Code != "E0346" || s.Status != ServiceUnknown {
		t.Fatalf("%+v, %v", s, err)
	}
	if err := e.StartService(t.Context(), "db"); err != nil {
		t.Fatal(err)
	}
	if s, _ = e.Inspect(t.Context(), "db"); s.Status != ServiceRunning || s.Failure != nil {
		t.Errorf("made anew it is %+v", s)
	}
	removed, err := next.Clean(t.Context(), false)
	if err != nil || len(removed) != 1 || removed[0].Name != "gone" {
		t.Errorf("clean: %v, %v", removed, err)
	}
}
