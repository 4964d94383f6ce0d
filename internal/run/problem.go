package run

import (
	"errors"
	"strings"
	"unicode"

	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/source"
)

// This file turns errors into data, with the source around their place.

// excerptLines is how many lines are shown before and after the one that errs.
const excerptLines = 2

// problems gives an error, or each of several that are joined, as the events
// have it. Clients of the wire API know errors of interpretation as one text.
func problems(phase PhaseName, pkg *source.Package, err error) []*Problem {
	all := fault.All(err)
	out := make([]*Problem, len(all))
	for i, each := range all {
		out[i] = problem(phase, pkg, each)
	}
	if phase != Interpretation {
		return out
	}
	out[0].Legacy = lang.LegacyText(err)
	for _, p := range out[1:] {
		p.Legacy, p.Part = "", true
	}
	return out
}

// problem gives one error as the events have it.
func problem(phase PhaseName, pkg *source.Package, err error) *Problem {
	f := fault.From(err, "E0370")
	p := &Problem{
		Phase: phase, Code: f.Code, Summary: f.Summary,
		Evidence: f.Evidence, Hint: f.Hint, Causes: causes(f),
	}
	for _, frame := range f.At {
		frame.File = pkg.Display(frame.File)
		p.Stack = append(p.Stack, frame)
	}
	if len(f.At) > 0 {
		p.Excerpt = excerpt(pkg, f.At[0])
	}
	var legacy interface{ LegacyText() string }
	if errors.As(err, &legacy) {
		p.Legacy = legacy.LegacyText()
	}
	return p
}

// causes lists the errors below a fault that tell more than those above them.
func causes(f *fault.Fault) []string {
	var out []string
	told := f.Summary
	for cause := f.Cause; cause != nil; cause = errors.Unwrap(cause) {
		text := cause.Error()
		if strings.Contains(told, text) {
			continue
		}
		out = append(out, text)
		told += "\n" + text
	}
	return out
}

// excerpt gives the source around a frame; nil where there is none.
func excerpt(pkg *source.Package, at fault.Frame) *Excerpt {
	text, ok := pkg.Source(at.File)
	if !ok || at.Line < 1 {
		return nil
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if at.Line > len(lines) {
		return nil
	}
	first := max(1, at.Line-excerptLines)
	last := min(len(lines), at.Line+excerptLines)
	col, width := underline(lines[at.Line-1], at.Col)
	return &Excerpt{
		File: pkg.Display(at.File), First: first, Lines: lines[first-1 : last],
		Line: at.Line, Col: col, Width: width,
	}
}

// underline gives what to underline for a place in a line: the name with its
// dots that begins there or, as a call's place is its parenthesis, that ends
// there; else one character. Columns count runes, from 1.
func underline(line string, col int) (from, width int) {
	runes := []rune(line)
	if col < 1 || col > len(runes) {
		return max(1, col), 1
	}
	isName := func(r rune) bool { return r == '_' || r == '.' || unicode.IsLetter(r) || unicode.IsDigit(r) }
	start, end := col-1, col-1
	if runes[start] == '(' {
		for start > 0 && isName(runes[start-1]) {
			start--
		}
	}
	for start == col-1 && end < len(runes) && isName(runes[end]) {
		end++
	}
	return start + 1, max(end-start, 1)
}
