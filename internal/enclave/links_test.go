package enclave

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/backendtest"
	"github.com/lepto-dev/lepto/internal/backend/memory"
	"github.com/lepto-dev/lepto/internal/link"
)

func labelled(name string) ServiceConfig {
	cfg := idle()
	cfg.Subnetwork = name
	return cfg
}

// applied gives the table that the backend has.
func applied(t *testing.T, be *memory.Backend, e *Enclave) link.Table {
	t.Helper()
	handle, err := be.OpenEnclave(t.Context(), backend.EnclaveID(e.UUID()))
	if err != nil {
		t.Fatal(err)
	}
	return handle.(*memory.Enclave).Links()
}

var slow = link.Connection{Delay: link.Delay{Mean: time.Second}}

func TestLinksReachTheBackend(t *testing.T) {
	be := memory.New(memory.Options{})
	e := newTestEnclave(t, be)
	mustAdd(t, e, "early", labelled("a"))
	if got := applied(t, be, e); len(got.Members) != 0 {
		t.Errorf("without rules the backend is told of %v", got.Members)
	}
	if err := e.SetDefaultConnection(t.Context(), link.Blocked); err != nil {
		t.Fatal(err)
	}
	mustAdd(t, e, "late", labelled("b"))
	if err := e.SetConnection(t.Context(), link.Pair{"a", "b"}, link.Both, slow); err != nil {
		t.Fatal(err)
	}
	got := applied(t, be, e)
	if got.Between("early", "late") != slow || got.Between("late", "early") != slow || !got.Equal(e.LinkTable()) {
		t.Errorf("the backend has %+v", got)
	}
	moved, err := e.MoveService(t.Context(), "late", "c")
	if err != nil || moved.Subnetwork != "c" {
		t.Fatalf("moved %+v, %v", moved, err)
	}
	if got := applied(t, be, e); got.Between("early", "late") != link.Blocked {
		t.Errorf("after a move: %+v", got.Between("early", "late"))
	}
	if err := e.RemoveService(t.Context(), "late"); err != nil {
		t.Fatal(err)
	}
	if got := applied(t, be, e); len(got.Members) != 1 {
		t.Errorf("after a removal, members are %v", got.Members)
	}
	if err := e.HealConnections(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := applied(t, be, e); !got.Blank() {
		t.Errorf("after healing: %+v", got.Topology)
	}
}

// The whole topology survives a restart of the engine, the default connection
// and moves included, and is applied again.
func TestLinksSurviveARestart(t *testing.T) {
	be := memory.New(memory.Options{})
	store := openTestStore(t, filepath.Join(t.TempDir(), "engine.db"))
	first, err := NewManager(store, be, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	e, err := first.Create(t.Context(), CreateSpec{Name: "home", LinkSeed: 42})
	if err != nil {
		t.Fatal(err)
	}
	mustAdd(t, e, "one", labelled("a"))
	mustAdd(t, e, "two", idle())
	for _, err := range []error{
		e.SetDefaultConnection(t.Context(), link.Blocked),
		e.SetConnection(t.Context(), link.Pair{"b", "default"}, link.Both, slow),
		second(e.MoveService(t.Context(), "one", "b")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	before := e.LinkTable()
	if before.Seed != 42 {
		t.Errorf("seed is %d", before.Seed)
	}
	again, err := NewManager(store, be.Reopen(), Deps{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	e, err = again.Get("home")
	if err != nil {
		t.Fatal(err)
	}
	if !e.LinkTable().Equal(before) || !applied(t, be, e).Equal(before) {
		t.Errorf("after a restart: %+v, was %+v", e.LinkTable(), before)
	}
	if err := e.destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// failOnce makes the next change of links fail.
func failOnce(f *backendtest.Failing, err error) {
	f.Fail("Shape", func(backendtest.Call) error {
		f.Fail("Shape", nil)
		return err
	})
}

// What the backend refuses is taken back, as if it had not been asked for.
func TestLinksAreRolledBack(t *testing.T) {
	be := memory.New(memory.Options{})
	failing := backendtest.NewFailing(be)
	e := newTestEnclave(t, failing)
	mustAdd(t, e, "one", labelled("a"))
	if err := e.SetConnection(t.Context(), link.Pair{"a", "default"}, link.Both, slow); err != nil {
		t.Fatal(err)
	}
	before := e.LinkTable()
	broken := errors.New("no room in the kernel")
	failOnce(failing, broken)
	wantCode(t, e.SetDefaultConnection(t.Context(), link.Blocked), "E0431")
	failOnce(failing, broken)
	wantCode(t, e.SetConnection(t.Context(), link.Pair{"x", "y"}, link.Both, link.Blocked), "E0431")
	failOnce(failing, broken)
	_, err := e.MoveService(t.Context(), "one", "z")
	wantCode(t, err, "E0431")
	if !e.LinkTable().Equal(before) || !applied(t, be, e).Equal(before) {
		t.Errorf("left is %+v, was %+v", e.LinkTable(), before)
	}
	failOnce(failing, broken)
	if _, err := e.AddServices(t.Context(), []NamedConfig{{"two", labelled("b")}, {"three", idle()}}, AddOptions{}); err == nil {
		t.Error("services were added without their rules")
	}
	if !e.LinkTable().Equal(before) || !applied(t, be, e).Equal(before) {
		t.Errorf("after a batch, left is %+v", e.LinkTable())
	}
	if _, err := e.AddServices(t.Context(), []NamedConfig{{"two", labelled("b")}, {"three", idle()}}, AddOptions{}); err != nil {
		t.Error(err)
	}
}

// Rules hold for every member of a batch before the first of them starts.
func TestBatchIsShapedAhead(t *testing.T) {
	be := memory.New(memory.Options{})
	failing := backendtest.NewFailing(be)
	e := newTestEnclave(t, failing)
	if err := e.SetDefaultConnection(t.Context(), link.Blocked); err != nil {
		t.Fatal(err)
	}
	handle, err := be.OpenEnclave(t.Context(), backend.EnclaveID(e.UUID()))
	if err != nil {
		t.Fatal(err)
	}
	failing.Fail("Start", func(c backendtest.Call) error {
		table := handle.(*memory.Enclave).Links()
		if len(table.Members) != 3 || table.Between("one", "three") != link.Blocked {
			t.Errorf("%s starts under %v", c.Service, table.Members)
		}
		return nil
	})
	_, err = e.AddServices(t.Context(), []NamedConfig{{"one", labelled("a")}, {"two", labelled("b")}, {"three", idle()}}, AddOptions{Parallelism: 1})
	if err != nil {
		t.Fatal(err)
	}
}

// A service that is replaced is where its new config wants it.
func TestReplacingPutsAServiceWhereItsConfigSays(t *testing.T) {
	e := newTestEnclave(t, memory.New(memory.Options{}))
	mustAdd(t, e, "one", labelled("a"))
	if _, err := e.MoveService(t.Context(), "one", "b"); err != nil {
		t.Fatal(err)
	}
	if err := e.StopService(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	if err := e.StartService(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	if s, _ := e.Service("one"); s.Subnetwork != "b" {
		t.Errorf("after a stop and start it is in %q", s.Subnetwork)
	}
	if s := mustAdd(t, e, "one", labelled("c")); s.Subnetwork != "c" {
		t.Errorf("replaced, it is in %q", s.Subnetwork)
	}
}

// Connections of a stopped enclave can be changed: its services find the new ones.
func TestLinksOfAStoppedEnclave(t *testing.T) {
	be := memory.New(memory.Options{})
	e := newTestEnclave(t, be)
	mustAdd(t, e, "one", labelled("a"))
	if err := e.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := e.SetDefaultConnection(t.Context(), link.Blocked); err != nil {
		t.Fatal(err)
	}
	if err := e.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e.topology().Default != link.Blocked {
		t.Errorf("it has %+v", e.topology())
	}
}
