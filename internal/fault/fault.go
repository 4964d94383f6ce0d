// Package fault holds the errors that a user can act on.
//
// A [Fault] carries a stable code, a one-line summary, the user's own call
// stack, the cause, the evidence and a hint. Everything that reaches a user is
// a Fault, or is reported as an internal error. The package renders nothing:
// excerpts, carets and colours are the business of package ui.
//
// The sentinels (ErrNotFound, …) classify errors that code acts on; they are
// used with [errors.Is] and say nothing to a user by themselves.
package fault

import (
	"errors"
	"fmt"
	"strings"
)

// Kinds of errors that callers decide on. Wrap them with the identity of the
// thing: fmt.Errorf("service %q: %w", name, fault.ErrNotFound).
var (
	ErrNotFound    = errors.New("not found")
	ErrExists      = errors.New("already exists")
	ErrUnavailable = errors.New("unavailable")
	ErrUnsupported = errors.New("not supported")
	ErrInvalid     = errors.New("invalid")
	ErrNotRunning  = errors.New("not running")
	ErrTimeout     = errors.New("timed out")
)

// A Frame is one user frame of a call stack: a place in a script. Line and Col
// count from 1; 0 means unknown.
type Frame struct {
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	Col  int    `json:"col,omitempty"`
	Func string `json:"func,omitempty"`
}

// String gives file[line:col], or [line:col] where there is no file.
func (f Frame) String() string { return fmt.Sprintf("%s[%d:%d]", f.File, f.Line, f.Col) }

// Evidence is something that was seen when a Fault arose: the last lines of a
// log, the ports that really listen, the last answer of a probe.
type Evidence struct {
	Title string   `json:"title"`
	Lines []string `json:"lines,omitempty"`
}

// A Fault is an error a user can act on.
type Fault struct {
	Code     string     // stable and documented in docs/errors.md, such as "E0312"
	Summary  string     // what + which, lower case, one line: the cause comes first
	At       []Frame    // user frames only, innermost first
	Cause    error      // may be nil
	Evidence []Evidence // may be empty
	Hint     string     // what to do; may be empty
}

// New returns a Fault with a formatted summary. A %w verb sets its cause.
func New(code, format string, args ...any) *Fault {
	err := fmt.Errorf(format, args...)
	return &Fault{Code: code, Summary: err.Error(), Cause: errors.Unwrap(err)}
}

// CodeInternal is the code of a broken invariant of lepto itself.
const CodeInternal = "E0001"

// Internal gives the Fault of a panic that was recovered: what was being done,
// and the panic's value. Its stack belongs in a log.
func Internal(doing string, broken any) *Fault {
	return New(CodeInternal, "internal error in %s: %v", doing, broken).
		WithHint("this is a defect of lepto: please report it, with the engine's log (lepto engine logs)")
}

// Error gives the summary alone: the cause is part of it where New wrapped one.
func (f *Fault) Error() string { return f.Summary }

// Unwrap gives the cause.
func (f *Fault) Unwrap() error { return f.Cause }

// WithHint sets the hint and returns f.
func (f *Fault) WithHint(format string, args ...any) *Fault {
	f.Hint = fmt.Sprintf(format, args...)
	return f
}

// WithEvidence adds a piece of evidence, unless it has no lines, and returns f.
func (f *Fault) WithEvidence(title string, lines ...string) *Fault {
	if len(lines) > 0 {
		f.Evidence = append(f.Evidence, Evidence{Title: title, Lines: lines})
	}
	return f
}

// WithFrames sets the user frames, innermost first, where f has none yet.
func (f *Fault) WithFrames(frames ...Frame) *Fault {
	if len(f.At) == 0 {
		f.At = frames
	}
	return f
}

// From gives the Fault in err's chain. An error without one becomes a Fault
// with the given code, so that nothing reaches a user without a code.
func From(err error, code string) *Fault {
	var f *Fault
	if errors.As(err, &f) {
		if f.Error() == err.Error() {
			return f
		}
		wrapped := *f
		wrapped.Summary = err.Error()
		return &wrapped
	}
	return &Fault{Code: code, Summary: err.Error(), Cause: err}
}

// All flattens joined errors ([errors.Join]) into a list, in order. An error that
// wraps several with words of its own (fmt.Errorf) is one.
func All(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var out []error
	var texts []string
	for _, e := range joined.Unwrap() {
		out = append(out, All(e)...)
		texts = append(texts, e.Error())
	}
	if strings.Join(texts, "\n") != err.Error() {
		return []error{err}
	}
	return out
}
