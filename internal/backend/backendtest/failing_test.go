package backendtest_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/backendtest"
	"github.com/lepto-dev/lepto/internal/backend/memory"
	"github.com/lepto-dev/lepto/internal/fault"
)

func TestFailingFailsWhatItIsTold(t *testing.T) {
	ctx, broken := t.Context(), errors.New("broken")
	f := backendtest.NewFailing(memory.New(memory.Options{}))
	e, err := f.CreateEnclave(ctx, backend.EnclaveSpec{ID: "0123456789abcdef0123456789abcdef"})
	if err != nil {
		t.Fatal(err)
	}
	f.FailOn("Start", "db", broken)
	f.FailWith("EnsureImage", broken)
	if err := e.Start(ctx, backend.ServiceSpec{Name: "db", Image: "pause"}); !errors.Is(err, broken) {
		t.Errorf("start db: %v", err)
	}
	if err := e.Start(ctx, backend.ServiceSpec{Name: "api", Image: "pause"}); err != nil {
		t.Errorf("start api: %v", err)
	}
	if _, err := f.EnsureImage(ctx, backend.ImageRequest{Ref: "x"}, nil); !errors.Is(err, broken) {
		t.Errorf("ensure: %v", err)
	}
	f.Fail("EnsureImage", nil)
	if _, err := f.EnsureImage(ctx, backend.ImageRequest{Ref: "x"}, nil); err != nil {
		t.Errorf("ensure: %v", err)
	}
	if _, err := f.Images(ctx); !errors.Is(err, fault.ErrUnsupported) {
		t.Errorf("images: %v", err)
	}
	want := []backendtest.Call{{"CreateEnclave", ""}, {"Start", "db"}, {"Start", "api"}, {"EnsureImage", "x"}, {"EnsureImage", "x"}, {"Images", ""}}
	if got := f.Calls(); !slices.Equal(got, want) {
		t.Errorf("calls %v", got)
	}
}

// The decorator itself keeps the contract.
func TestFailingIsABackend(t *testing.T) {
	f := backendtest.NewFailing(memory.New(memory.Options{}))
	e, err := f.CreateEnclave(t.Context(), backend.EnclaveSpec{ID: "0123456789abcdef0123456789abcdef"})
	if err != nil {
		t.Fatal(err)
	}
	for _, ok := range []bool{is[backend.Pauser](e), is[backend.Suspender](e), is[backend.Attacher](e), is[backend.ImagePuller](f)} {
		if !ok {
			t.Error("an optional interface is gone")
		}
	}
	if err := e.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func is[T any](v any) bool {
	_, ok := v.(T)
	return ok
}
