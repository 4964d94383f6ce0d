package enclave

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/backend/backendtest"
	"github.com/lepto-dev/lepto/internal/backend/memory"
)

// TestBatchIsReadyTogether: readiness is asked once all of a batch run, however
// few are started at a time; and one that never gets ready takes all with it.
func TestBatchIsReadyTogether(t *testing.T) {
	e := newTestEnclave(t, newPrivate(memory.Options{}))
	names := []string{"a", "b", "c", "d", "e"}
	var configs []NamedConfig
	for _, name := range names {
		configs = append(configs, NamedConfig{name, idle()})
	}
	together := func(ctx context.Context, s *Service) error {
		for _, name := range names {
			if other, err := e.Inspect(ctx, name); err != nil || other.Status != ServiceRunning {
				return fmt.Errorf("%s is asked while %s is %+v: %w", s.Name, name, other, err)
			}
		}
		return nil
	}
	if _, err := e.AddServices(t.Context(), configs, AddOptions{Ready: together, Parallelism: 1}); err != nil {
		t.Fatal(err)
	}
	for i := range configs {
		configs[i].Name += "2"
	}
	asked := 0
	third := func(_ context.Context, s *Service) error {
		if asked++; s.Name == "c2" {
			return errors.New("never")
		}
		return nil
	}
	_, err := e.AddServices(t.Context(), configs, AddOptions{Ready: third, Parallelism: 1})
	if f := wantCode(t, err, "E0334"); !strings.Contains(f.Summary, `"c2" is not ready: never`) || asked != 5 {
		t.Errorf("asked %d times: %+v", asked, f)
	}
	if left := e.Services(); len(left) != 5 {
		t.Errorf("%d services are left, want those of the first batch", len(left))
	}
}

// TestBatchStopsAtTheFirstFailure: what has not begun when one has failed is not
// begun at all.
func TestBatchStopsAtTheFirstFailure(t *testing.T) {
	be := backendtest.NewFailing(newPrivate(memory.Options{}))
	e := newTestEnclave(t, be)
	bad := ServiceConfig{Image: Image{Ref: "pause"}, Cmd: []string{"exit", "1"}, Ports: map[string]Port{"p": tcp(80, time.Minute)}}
	_, err := e.AddServices(t.Context(), []NamedConfig{{"a", idle()}, {"b", bad}, {"c", idle()}}, AddOptions{Parallelism: 1})
	wantCode(t, err, "E0330")
	if left := e.Services(); len(left) > 0 {
		t.Errorf("left: %+v", left)
	}
	for _, call := range be.Calls() {
		if call.Method == "Start" && call.Service == "c" {
			t.Error("c was started after b had failed")
		}
	}
}
