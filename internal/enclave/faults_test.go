package enclave

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/backend/memory"
	"github.com/lepto-dev/lepto/internal/link"
)

// applied waits for n faults to be applied, and gives them.
func watchFaults(t *testing.T, e *Enclave, n int) (wait func() []ScheduledFault) {
	t.Helper()
	came := make(chan ScheduledFault, 100)
	stop := e.WatchFaults(func(f ScheduledFault) { came <- f })
	t.Cleanup(stop)
	return func() []ScheduledFault {
		t.Helper()
		var out []ScheduledFault
		for len(out) < n {
			select {
			case f := <-came:
				out = append(out, f)
			case <-time.After(20 * time.Second):
				t.Fatalf("only %d of %d faults were applied", len(out), n)
			}
		}
		return out
	}
}

func TestFaultsHappenInOrder(t *testing.T) {
	e := newTestEnclave(t, memory.New(memory.Options{}))
	mustAdd(t, e, "one", labelled("a"))
	mustAdd(t, e, "two", labelled("b"))
	wait := watchFaults(t, e, 7)
	s, err := e.ScheduleFaults(t.Context(), []link.Fault{
		{After: 50 * time.Millisecond, Action: link.Heal, Subnetworks: []string{"a", "b"}},
		{After: 10 * time.Millisecond, Action: link.Partition, Subnetworks: []string{"a", "b"}},
		{After: 20 * time.Millisecond, Action: link.Pause, Services: []string{"one"}},
		{After: 30 * time.Millisecond, Action: link.Unpause, Services: []string{"one"}},
		{After: 60 * time.Millisecond, Action: link.Kill, Services: []string{"one"}},
		{After: 70 * time.Millisecond, Action: link.Start, Services: []string{"one"}},
		{After: 80 * time.Millisecond, Action: link.Kill, Services: []string{"ghost"}},
	}, 3)
	if err != nil {
		t.Fatal(err)
	}
	if s.Seed != 3 || s.Faults[0].Action != link.Partition {
		t.Errorf("scheduled %+v", s)
	}
	var said []string
	for i, f := range wait() {
		said = append(said, f.String())
		if f.Applied.Before(f.At) || (f.Error != "") != (i == 6) {
			t.Errorf("%s was to be at %s and was at %s: %q", f, f.At, f.Applied, f.Error)
		}
	}
	if got := strings.Join(said, ", "); got != "partition a | b, pause one, unpause one, heal a | b, kill one, start one, kill ghost" {
		t.Errorf("came as %s", got)
	}
	if !e.topology().Blank() {
		t.Errorf("left is %+v", e.topology())
	}
	links, err := e.Links(t.Context())
	if err != nil || len(links.Schedules) != 1 || links.Schedules[0].Faults[6].Pending() {
		t.Errorf("schedules are %+v, %v", links.Schedules, err)
	}
	_, err = e.ScheduleFaults(t.Context(), []link.Fault{{Action: link.Kill}}, 0)
	wantCode(t, err, "E0382")
}

func TestHealingCallsFaultsOff(t *testing.T) {
	e := newTestEnclave(t, memory.New(memory.Options{}))
	if _, err := e.ScheduleFaults(t.Context(), []link.Fault{{After: time.Hour, Action: link.Partition, Subnetworks: []string{"a", "b"}}}, 0); err != nil {
		t.Fatal(err)
	}
	if err := e.HealConnections(t.Context()); err != nil {
		t.Fatal(err)
	}
	all, err := e.FaultSchedules()
	if err != nil || len(all) != 1 || !all[0].Faults[0].Cancelled {
		t.Errorf("schedules are %+v, %v", all, err)
	}
}

// Of schedules that are over only some are kept; of those that are not, all.
func TestManySchedules(t *testing.T) {
	e := newTestEnclave(t, memory.New(memory.Options{}))
	schedule := func(after time.Duration) {
		t.Helper()
		if _, err := e.ScheduleFaults(t.Context(), []link.Fault{{After: after, Action: link.Heal}}, 0); err != nil {
			t.Fatal(err)
		}
	}
	for range keptSchedules + 2 {
		schedule(time.Hour)
	}
	wait := watchFaults(t, e, keptSchedules+5)
	for range keptSchedules + 5 {
		schedule(0)
	}
	wait()
	schedule(time.Hour)
	all, err := e.FaultSchedules()
	if err != nil {
		t.Fatal(err)
	}
	pending := 0
	for _, s := range all {
		if s.Faults[0].Pending() {
			pending++
		}
	}
	if pending != keptSchedules+3 || len(all)-pending != keptSchedules {
		t.Errorf("%d schedules are pending, %d over", pending, len(all)-pending)
	}
}

// While an enclave is stopped, faults on links are for when it runs again; those on
// services can't be.
func TestFaultsOfAStoppedEnclave(t *testing.T) {
	e := newTestEnclave(t, memory.New(memory.Options{}))
	mustAdd(t, e, "one", labelled("a"))
	mustAdd(t, e, "two", labelled("b"))
	if err := e.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	wait := watchFaults(t, e, 2)
	e.follow(FaultSchedule{ID: "x", Began: time.Now(), Faults: []ScheduledFault{
		{Fault: link.Fault{Action: link.Partition, Subnetworks: []string{"a", "b"}}},
		{Fault: link.Fault{Action: link.Pause, Services: []string{"one"}}},
	}})
	came := wait()
	if came[0].Error != "" || !strings.Contains(came[1].Error, "is stopped") {
		t.Errorf("came %+v", came)
	}
	if err := e.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e.topology().Connection("a", "b") != link.Blocked {
		t.Error("the partition is not there")
	}
}

// A schedule goes on after a restart of the engine; what was due meanwhile
// happens at once.
func TestFaultsSurviveARestart(t *testing.T) {
	be := memory.New(memory.Options{})
	store := openTestStore(t, filepath.Join(t.TempDir(), "engine.db"))
	past := func() time.Time { return time.Now().Add(-2 * time.Hour) }
	first, err := NewManager(store, be, Deps{Now: past})
	if err != nil {
		t.Fatal(err)
	}
	e, err := first.Create(t.Context(), CreateSpec{Name: "home"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.ScheduleFaults(t.Context(), []link.Fault{
		{After: time.Hour, Action: link.Partition, Subnetworks: []string{"a", "b"}},
		{After: 9 * time.Hour, Action: link.Heal},
	}, 0); err != nil {
		t.Fatal(err)
	}
	e.end(errors.New("the process ends")) // without a word in the store
	e.faulting.Wait()
	again, err := NewManager(store, be.Reopen(), Deps{})
	if err != nil {
		t.Fatal(err)
	}
	e, err = again.Get("home")
	if err != nil {
		t.Fatal(err)
	}
	wait := watchFaults(t, e, 1)
	if _, err := again.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f := wait()[0]; f.Action != link.Partition || e.topology().Connection("a", "b") != link.Blocked {
		t.Errorf("applied %s", f)
	}
	if err := e.destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
}
