package run

import (
	"cmp"
	"runtime/debug"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file keeps broken invariants to the run that meets them: the engine, with
// all other runs, goes on.

// guard calls f; a panic in it becomes an error of that code, and its stack goes
// to the log. Where doing is empty the phase says what was being done. It does
// not reach goroutines that f starts: they need their own.
func (x *execution) guard(code, doing string, f func() error) (err error) {
	defer func() {
		if broken := recover(); broken != nil {
			doing = cmp.Or(doing, string(x.phase), "a run")
			x.runner.deps.Logger.Error("a run panicked", "run", x.stream.id, "in", doing, "panic", broken, "stack", string(debug.Stack()))
			f := fault.Internal(doing, broken)
			f.Code = code
			err = f
		}
	}()
	return f()
}

// broken tells of a panic outside of steps. It asks nobody for an excerpt or the
// like: they may be what is broken.
func (x *execution) broken(err error) {
	f := fault.From(err, fault.CodeInternal)
	x.done.OK, x.done.Cancelled = false, false
	x.stream.emit(Event{Kind: KindError, Error: &Problem{Phase: x.phase, Code: f.Code, Summary: f.Summary, Hint: f.Hint}})
}
