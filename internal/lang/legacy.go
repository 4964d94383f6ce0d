package lang

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/source"
)

// This file renders errors in the text form of the wire API (starlark spec §7):
// a message, its cause, and the frames, outermost call first.

const (
	legacyDefault  = `/!\ Errors interpreting Startosis script`
	legacyMultiple = "Multiple errors caught interpreting the Starlark script. Listing each of them below."
	legacyEval     = "Evaluation error: "
)

// legacyFrame is a frame of the text form: builtins have no place.
type legacyFrame struct {
	frame   fault.Frame
	builtin bool
}

func (f legacyFrame) String() string {
	frame := f.frame
	if frame.File == source.ScriptID || f.builtin {
		frame.File = ""
	}
	place := fmt.Sprintf("%d:%d", frame.Line, frame.Col)
	if frame.File != "" {
		place = frame.File + ":" + place
	}
	return fmt.Sprintf("\tat [%s]: %s", place, frame.Func)
}

// legacyFrames gives the frames of a call stack, outermost first; where modules
// import one another, those of the innermost module come first, and the calls of
// import_module itself are left out.
func legacyFrames(stack starlark.CallStack) []legacyFrame {
	var frames, group []legacyFrame
	for _, f := range stack {
		if !isUserFrame(f) && f.Name == "import_module" {
			frames, group = append(group, frames...), nil
			continue
		}
		if !isUserFrame(f) && isHidden(f.Name) {
			continue
		}
		group = append(group, legacyFrame{frame: frameOf(f), builtin: !isUserFrame(f)})
	}
	frames = append(group, frames...)
	for i := range frames {
		if frames[i].builtin {
			frames[i].frame.Line, frames[i].frame.Col = 0, 0
		}
	}
	return frames
}

// isHidden reports a frame of an operator, which no script called.
func isHidden(name string) bool {
	return name == productName || name == percentName || name == keyName || isComparison(name) || isSum(name) || strings.HasPrefix(name, methodName)
}

// fromEval sets the text form of an error while a script ran.
func (e *Error) fromEval(evalErr *starlark.EvalError) {
	e.frames = legacyFrames(evalErr.CallStack)
	e.message = legacyEval + evalErr.Msg
	if problems, ok := asArgsError(evalErr.Unwrap()); ok {
		e.message = legacyEval + fmt.Sprintf("Cannot construct '%s' from the provided arguments.", problems.Builtin)
		e.cause = problems.legacyCause()
	}
}

// legacyCause names the first misfit of the call as such, or else all arguments
// with a wrong value as a JSON object.
func (e *ArgsError) legacyCause() string {
	wrong := map[string]string{}
	for _, p := range e.Problems {
		if p.binding {
			return e.Builtin + ": " + legacyBinding(p)
		}
		name, _, _ := strings.Cut(p.Arg, ".")
		name, _, _ = strings.Cut(name, "[")
		wrong[name] = strings.TrimSpace(p.Arg + " " + p.Text)
	}
	text, err := json.Marshal(wrong) // escapes <, > and &, as the form wants it
	if err != nil {
		return e.Error()
	}
	return "the following argument(s) could not be parsed or did not pass validation: " + string(text)
}

func legacyBinding(p Problem) string {
	switch p.Text {
	case "is missing":
		return "missing argument for " + p.Arg
	case "is not one of its arguments":
		return fmt.Sprintf("unexpected keyword argument %q", p.Arg)
	case "is given twice":
		return fmt.Sprintf("got multiple values for keyword argument %q", p.Arg)
	}
	return strings.TrimSpace(p.Arg + " " + p.Text)
}

// LegacyText gives an error of interpretation or validation, or several joined,
// in the text form of the wire API.
func LegacyText(err error) string {
	all := fault.All(err)
	if lines, ok := resolveLines(all); ok {
		return legacyMultiple + "\n" + strings.Join(lines, "\n")
	}
	texts := make([]string, len(all))
	for i, err := range all {
		var formed interface{ LegacyText() string }
		if errors.As(err, &formed) {
			texts[i] = formed.LegacyText()
			continue
		}
		texts[i] = err.Error() // of the entry function or the parameters: no frames
	}
	return strings.Join(texts, "\n")
}

// LegacyText gives this one error in the text form.
func (e *Error) LegacyText() string {
	lines := []string{e.message}
	switch {
	case e.multiple:
		lines[0] = legacyMultiple
	case e.message == "":
		lines[0] = e.Fault.Summary
	}
	if e.cause != "" {
		lines = append(lines, "\tCaused by: "+e.cause)
	}
	return strings.Join(append(lines, e.frameLines()...), "\n")
}

func (e *Error) frameLines() []string {
	lines := make([]string, len(e.frames))
	for i, f := range e.frames {
		lines[i] = f.String()
	}
	return lines
}

// resolveLines gives the frames of errors that the resolver found, which the form
// puts under one message.
func resolveLines(all []error) ([]string, bool) {
	var lines []string
	for _, err := range all {
		var e *Error
		if !errors.As(err, &e) || !e.multiple {
			return nil, false
		}
		lines = append(lines, e.frameLines()...)
	}
	return lines, len(lines) > 0
}
