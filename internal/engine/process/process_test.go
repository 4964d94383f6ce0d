package process

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/fault"
)

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	if pid, held, err := Holder(path); err != nil || held || pid != 0 {
		t.Fatalf("before: %d, %v, %v", pid, held, err)
	}
	lock, err := TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if pid, held, err := Holder(path); err != nil || !held || pid != os.Getpid() {
		t.Fatalf("holder: %d, %v, %v", pid, held, err)
	}
	_, err = TryLock(path)
	if held, ok := errors.AsType[*HeldError](err); !ok || held.PID != os.Getpid() {
		t.Fatalf("second: %v", err)
	}
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
	if _, held, err := Holder(path); err != nil || held {
		t.Fatalf("after: %v, %v", held, err)
	}
}

func TestWaitLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, fault.ErrTimeout)
	defer cancel()
	if _, err := WaitLock(ctx, path); !errors.Is(err, fault.ErrTimeout) || !IsHeld(err) {
		t.Fatalf("while held: %v", err)
	}
	got := make(chan error, 1)
	go func() {
		lock, err := WaitLock(t.Context(), path)
		if err == nil {
			err = lock.Release()
		}
		got <- err
	}()
	if err := first.Release(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Fatal(err)
	}
}

func TestReport(t *testing.T) {
	var line bytes.Buffer
	if err := Report(&line, nil); err != nil {
		t.Fatal(err)
	}
	if err := ParseReport(line.Bytes()); err != nil {
		t.Errorf("ready: %v", err)
	}
	want := Held("/home", &HeldError{Path: "/home/engine.lock", PID: 7}).WithEvidence("seen", "a", "b")
	line.Reset()
	if err := Report(&line, want); err != nil {
		t.Fatal(err)
	}
	got, ok := errors.AsType[*fault.Fault](ParseReport(line.Bytes()))
	if !ok || got.Code != CodeEngineHeld || got.Summary != want.Summary || got.Hint != want.Hint ||
		!reflect.DeepEqual(got.Evidence, want.Evidence) || !errors.Is(got, fault.ErrExists) {
		t.Errorf("got %+v", got)
	}
	if err := ParseReport([]byte("panic: oh\n")); err == nil {
		t.Error("noise is taken for readiness")
	}
}
