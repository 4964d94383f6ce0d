package enclave

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lepto-dev/lepto/internal/backend/memory"
)

// passage adds a service that is to be removed soon.
func passage(t *testing.T, e *Enclave, name string) {
	t.Helper()
	cfg := idle()
	cfg.Task = true
	s, err := e.AddService(t.Context(), name, cfg, AddOptions{Passing: true})
	if err != nil {
		t.Fatal(err)
	}
	if s.Starting || s.Status != ServiceRunning || s.IP == "" {
		t.Errorf("it is %+v", s)
	}
}

// A service that is passing costs two writes: it is intended, and it is gone.
func TestPassingService(t *testing.T) {
	e := newTestEnclave(t, newPrivate(memory.Options{}))
	var points []string
	e.m.store.hook = func(point string) error { points = append(points, point); return nil }
	passage(t, e, "task")
	if err := e.RemoveService(t.Context(), "task"); err != nil {
		t.Fatal(err)
	}
	want := []string{"before services intended", "after services intended", "before service removed", "after service removed"}
	if !slices.Equal(points, want) {
		t.Errorf("writes: %q", points)
	}
	history, err := e.m.store.serviceHistory(e.uuid)
	if err != nil || len(history) != 1 || history[0].Name != "task" {
		t.Errorf("history %v, %v", history, err)
	}
}

// After a crash it is removed, unless it was to stay by then.
func TestPassingServiceAfterACrash(t *testing.T) {
	for _, stays := range []bool{false, true} {
		host, path := memory.New(memory.Options{}), filepath.Join(t.TempDir(), "engine.db")
		w := world{host: host, path: path}
		m, _ := w.process(t, -1)
		e, err := m.Create(t.Context(), CreateSpec{Name: "home"})
		if err != nil {
			t.Fatal(err)
		}
		passage(t, e, "task")
		if stays {
			if err := e.Blame(t.Context(), "task", errors.New("it failed")); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.store.Close(); err != nil {
			t.Fatal(err)
		}
		next, _ := w.process(t, -1)
		if _, err := next.Reconcile(t.Context()); err != nil {
			t.Fatal(err)
		}
		if e, err = next.Get("home"); err != nil {
			t.Fatal(err)
		}
		if n := len(e.Services()); n == 1 != stays {
			t.Errorf("it stays: %v; %d services after the crash", stays, n)
		}
		history, err := e.m.store.serviceHistory(e.uuid)
		if err != nil || (len(history) == 1) != stays {
			t.Errorf("it stays: %v; history %v, %v", stays, history, err)
		}
	}
}
