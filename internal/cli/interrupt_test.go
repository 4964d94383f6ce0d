package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/ui"
)

func quietDeps(t *testing.T) *deps {
	t.Helper()
	return &deps{term: ui.Plain(nil, io.Discard, io.Discard), getenv: func(string) string { return "" }, home: t.TempDir(), interrupts: newInterrupts()}
}

func TestEarlyInterruptLeavesALogWithoutFailure(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errInterrupted) // before anything was connected to
	d := quietDeps(t)
	o := serviceLogsOptions{follow: true, num: 1}
	if err := o.run(ctx, d, "e", []string{"db"}); err != nil {
		t.Errorf("got %v", err)
	}
	if err := interruptedOr(d.with(ctx, nil)); exitCode(err) != exitInterrupted {
		t.Errorf("any other command: %v", err)
	}
}

func TestInterruptsAreHeardFromTheStart(t *testing.T) {
	d := quietDeps(t)
	ctx, stop := d.interrupts.start()
	defer stop()
	if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ctx.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("the signal is not heard")
	}
	if !errors.Is(context.Cause(ctx), errInterrupted) {
		t.Error(context.Cause(ctx))
	}
}
