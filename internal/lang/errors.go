package lang

import (
	"context"
	"errors"
	"strings"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file makes faults of what can go wrong while a script is interpreted.

// An Error is a fault of an interpretation, together with what the wire API's
// text form needs beyond it: see LegacyText.
type Error struct {
	Fault *fault.Fault

	message  string        // the text form's first line, if it differs from the summary
	cause    string        // its second
	frames   []legacyFrame // outermost first
	multiple bool          // one of several found before anything ran
}

// Error gives the fault's summary.
func (e *Error) Error() string { return e.Fault.Error() }

// Unwrap gives the fault.
func (e *Error) Unwrap() error { return e.Fault }

// wrap makes faults of an error of the Starlark interpreter.
func (in *interpretation) wrap(err error) error {
	if cause := context.Cause(in.ctx); cause != nil {
		// Whatever failed, for instance a fetch, failed because of this.
		return wrapEnded(err, cancelled(cause))
	}
	if ended := in.endedBy(); ended != nil && strings.Contains(err.Error(), "cancelled") {
		return wrapEnded(err, ended)
	}
	return wrapError(err)
}

func cancelled(cause error) error {
	return fault.New("E0204", "interpretation was cancelled: %w", cause)
}

// wrapEnded tells why the thread was cancelled, and where it was then.
func wrapEnded(err, ended error) error {
	f := *fault.From(ended, "E0204")
	e := &Error{Fault: &f}
	if evalErr := (*starlark.EvalError)(nil); errors.As(err, &evalErr) {
		e.fromEval(evalErr)
		e.message = f.Summary
		f.WithFrames(userFrames(evalErr.CallStack)...)
	}
	return e
}

func wrapError(err error) error {
	var evalErr *starlark.EvalError
	if !errors.As(err, &evalErr) {
		return static(err, nil)
	}
	cause := evalErr.Unwrap()
	if isStatic(cause) {
		return static(cause, evalErr)
	}
	e := &Error{}
	e.fromEval(evalErr)
	e.Fault = evalFault(evalErr, cause)
	return e
}

// evalFault makes the fault of an error while the script ran.
func evalFault(evalErr *starlark.EvalError, cause error) *fault.Fault {
	var f fault.Fault
	var known *fault.Fault
	if problems, ok := asArgsError(cause); ok {
		f = *fault.New("E0202", "%s", problems)
		f.Hint = problems.hint()
	} else if errors.As(cause, &known) {
		f = *known
		if cause.Error() != known.Summary {
			f.Summary = cause.Error()
		}
	} else {
		f = *fault.New("E0201", "%s", evalErr.Msg)
		f.Hint = hintOf(evalHints, evalErr.Msg)
	}
	f.WithFrames(userFrames(evalErr.CallStack)...)
	return &f
}

// isStatic reports an error found before code ran: by parser or resolver.
func isStatic(err error) bool {
	var parsed *syntaxError
	var list resolve.ErrorList
	return errors.As(err, &parsed) || errors.As(err, &list)
}

// static makes faults of syntax and name errors; outer is the import that led to
// the file, if any.
func static(err error, outer *starlark.EvalError) error {
	var outerFrames []fault.Frame
	var outerLegacy []legacyFrame
	if outer != nil {
		outerFrames = userFrames(outer.CallStack)
		outerLegacy = legacyFrames(outer.CallStack)
	}
	one := func(f *fault.Fault, pos syntax.Position, legacy string, multiple bool) *Error {
		frame := fault.Frame{File: pos.Filename(), Line: int(pos.Line), Col: int(pos.Col)}
		f.WithFrames(append([]fault.Frame{frame}, outerFrames...)...)
		frame.Func = legacy
		return &Error{Fault: f, message: legacyDefault, multiple: multiple, frames: []legacyFrame{{frame: frame}}}
	}
	if e := (*syntaxError)(nil); errors.As(err, &e) {
		out := one(e.plain.fault(), e.shown, e.parsed.Msg, false)
		out.frames[0].frame.Line, out.frames[0].frame.Col = int(e.legacy.Line), int(e.legacy.Col)
		out.frames = append(out.frames, outerLegacy...)
		return out
	}
	var list resolve.ErrorList
	if !errors.As(err, &list) {
		return err
	}
	var names *namesError
	errors.As(err, &names)
	all := make([]error, len(list))
	for i, found := range list {
		e := one(names.fault(found.Msg), found.Pos, found.Msg, true)
		if i == len(list)-1 { // in the text form, the import comes once, after all errors of the file
			e.frames = append(e.frames, outerLegacy...)
		}
		all[i] = e
	}
	if len(all) == 1 {
		return all[0]
	}
	return errors.Join(all...)
}
