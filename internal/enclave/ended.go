package enclave

import (
	"context"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file tells whoever uses a service that its process has ended, so that
// nobody waits for what can't come any more.

// WhileRuns gives a context that ends when the process of a service does, at
// once if it has ended already, with an E0347 that says how as its cause. In
// production a process that ends is started again: there it only ends with ctx.
// The function lets go of what the context holds.
func (e *Enclave) WhileRuns(ctx context.Context, identifier string) (context.Context, func()) {
	handle, name, err := e.locate(ctx, identifier)
	if err != nil {
		return ctx, func() {} // whoever uses it will meet the same
	}
	return e.watch(ctx, handle, string(name), func(exit backend.Exit) error {
		look, cancel := context.WithTimeoutCause(ctx, evidenceTime, fault.ErrTimeout)
		defer cancel()
		if ended := e.endOf(look, handle, name); ended != nil {
			return ended
		}
		f := fault.New("E0347", "service %q was started anew meanwhile: it %s", name, ending(exit))
		f.Cause = fault.ErrNotRunning
		return f
	})
}

// Ended gives an E0347 that says how the process of a service ended, or nil if it
// runs. It looks again for as long as it is told: a process ends a moment before
// its end is recorded.
func (e *Enclave) Ended(ctx context.Context, identifier string, patience time.Duration) *fault.Fault {
	ctx, cancel := context.WithTimeoutCause(ctx, evidenceTime, fault.ErrTimeout)
	defer cancel()
	handle, name, err := e.locate(ctx, identifier)
	if err != nil {
		return nil
	}
	if patience > 0 {
		soon, cancel := context.WithTimeoutCause(ctx, patience, fault.ErrTimeout)
		defer cancel()
		_, _ = handle.Wait(soon, name) // what became of it is asked below
	}
	return e.endOf(ctx, handle, name)
}
