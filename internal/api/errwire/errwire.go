// Package errwire carries errors over the wire whole: code, summary, frames,
// evidence, hint and kind, as a detail of the RPC error.
//
// [Encode] makes an RPC error out of any error, [Decode] the error again. What
// [errors.Is] says of the sentinels of package fault is the same on both sides.
// A foreign client sees an RPC code and the summary as the message.
package errwire

import (
	"context"
	"errors"
	"slices"

	"connectrpc.com/connect"

	"github.com/lepto-dev/lepto/internal/api/leptov1"
	"github.com/lepto-dev/lepto/internal/fault"
)

// kind ties a sentinel to its word in a Fault message and to the RPC code that
// foreign clients see.
type kind struct {
	word string
	err  error
	code connect.Code
}

// kinds are tried in order: the first that matches gives the RPC code. "Not
// running" comes before "unavailable", which SDKs read as "no engine".
var kinds = []kind{
	{"cancelled", context.Canceled, connect.CodeCanceled},
	{"not_found", fault.ErrNotFound, connect.CodeNotFound},
	{"exists", fault.ErrExists, connect.CodeAlreadyExists},
	{"invalid", fault.ErrInvalid, connect.CodeInvalidArgument},
	{"unsupported", fault.ErrUnsupported, connect.CodeUnimplemented},
	{"not_running", fault.ErrNotRunning, connect.CodeFailedPrecondition},
	{"timeout", fault.ErrTimeout, connect.CodeDeadlineExceeded},
	{"timeout", context.DeadlineExceeded, connect.CodeDeadlineExceeded},
	// Aborted, not Unavailable: to SDKs the latter means that no engine answers.
	{"unavailable", fault.ErrUnavailable, connect.CodeAborted},
}

// Encode gives err as an RPC error. Nil stays nil, and an RPC error stays what
// it is.
func Encode(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*connect.Error](err); ok {
		return e
	}
	out := connect.NewError(codeOf(err), errors.New(err.Error()))
	list := &leptov1.FaultList{}
	for _, one := range fault.All(err) {
		list.Faults = append(list.Faults, message(one))
	}
	if detail, derr := connect.NewErrorDetail(list); derr == nil {
		out.AddDetail(detail)
	}
	return out
}

func codeOf(err error) connect.Code {
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return k.code
		}
	}
	return connect.CodeUnknown
}

func message(err error) *leptov1.Fault {
	m := &leptov1.Fault{Summary: err.Error()}
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			m.Kinds = append(m.Kinds, k.word)
		}
	}
	if _, ok := errors.AsType[*fault.Fault](err); !ok {
		return m
	}
	f := fault.From(err, "")
	m.Code, m.Summary, m.Hint = f.Code, f.Summary, f.Hint
	for _, frame := range f.At {
		m.At = append(m.At, &leptov1.Frame{File: frame.File, Line: int32(frame.Line), Col: int32(frame.Col), Func: frame.Func})
	}
	for _, e := range f.Evidence {
		m.Evidence = append(m.Evidence, &leptov1.Evidence{Title: e.Title, Lines: e.Lines})
	}
	return m
}

// Decode gives the error that Encode was given, as far as it can be told. Nil
// stays nil; an error that is no RPC error stays what it is; an RPC error
// without a fault keeps its code's kind.
func Decode(err error) error {
	e, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return err
	}
	for _, detail := range e.Details() {
		value, derr := detail.Value()
		if derr != nil {
			continue
		}
		if list, ok := value.(*leptov1.FaultList); ok && len(list.GetFaults()) > 0 {
			return join(list)
		}
	}
	return &remote{text: e.Message(), kinds: kindOfCode(e), rpc: e}
}

func join(list *leptov1.FaultList) error {
	all := make([]error, 0, len(list.GetFaults()))
	for _, m := range list.GetFaults() {
		all = append(all, faultOf(m))
	}
	if len(all) == 1 {
		return all[0]
	}
	return errors.Join(all...)
}

func faultOf(m *leptov1.Fault) error {
	cause := &remote{text: m.GetSummary()}
	for _, word := range m.GetKinds() {
		for _, k := range kinds {
			if k.word == word {
				cause.kinds = append(cause.kinds, k.err)
			}
		}
	}
	if m.GetCode() == "" {
		return cause
	}
	f := &fault.Fault{Code: m.GetCode(), Summary: m.GetSummary(), Hint: m.GetHint(), Cause: cause}
	for _, frame := range m.GetAt() {
		f.At = append(f.At, fault.Frame{File: frame.GetFile(), Line: int(frame.GetLine()), Col: int(frame.GetCol()), Func: frame.GetFunc()})
	}
	for _, e := range m.GetEvidence() {
		f.Evidence = append(f.Evidence, fault.Evidence{Title: e.GetTitle(), Lines: e.GetLines()})
	}
	return f
}

func kindOfCode(e *connect.Error) []error {
	if !connect.IsWireError(e) && e.Code() == connect.CodeUnavailable {
		return []error{fault.ErrUnavailable} // nobody answered at all
	}
	for _, k := range kinds {
		if k.code == e.Code() {
			return []error{k.err}
		}
	}
	if e.Code() == connect.CodeUnavailable {
		return []error{fault.ErrUnavailable}
	}
	return nil
}

// remote is an error of the other side: its text and its kinds.
type remote struct {
	text  string
	kinds []error
	rpc   *connect.Error // nil where a fault told all
}

func (r *remote) Error() string { return r.text }

// Is reports whether target is one of the kinds.
func (r *remote) Is(target error) bool { return slices.Contains(r.kinds, target) }

// Unwrap gives the RPC error where there is one, for its own cause.
func (r *remote) Unwrap() error {
	if r.rpc == nil {
		return nil
	}
	return r.rpc
}
