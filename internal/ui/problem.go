package ui

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/run"
)

// This file renders errors: what happened on the first line, then where, with
// the source and a caret, then what was seen, then what to do.

// tabCells is how wide a tab is drawn in an excerpt.
const tabCells = 4

// Problem renders an error of a run. Every text of it is cleaned. It ends in a
// newline.
func Problem(s Style, p run.Problem) string {
	var out strings.Builder
	head := "error"
	if p.Code != "" {
		head += "[" + CleanLine(p.Code) + "]"
	}
	summary := strings.Split(strings.TrimRight(Clean(p.Summary), "\n"), "\n")
	fmt.Fprintf(&out, "%s: %s\n", s.BoldRed(head), s.Bold(summary[0]))
	for _, line := range summary[1:] {
		out.WriteString("  " + line + "\n")
	}
	writePlace(&out, s, p)
	for _, cause := range p.Causes {
		if cause = CleanLine(cause); !strings.Contains(p.Summary, cause) {
			out.WriteString("cause: " + cause + "\n")
		}
	}
	for _, ev := range p.Evidence {
		writeEvidence(&out, s, ev)
	}
	if p.Hint != "" {
		hint := strings.ReplaceAll(strings.TrimRight(Clean(p.Hint), "\n"), "\n", "\n      ")
		fmt.Fprintf(&out, "%s %s\n", s.Cyan("hint:"), hint)
	}
	return out.String()
}

// Fault renders any error the same way. Joined errors come one after another;
// an error that is no fault has no code.
func Fault(s Style, err error) string {
	var out strings.Builder
	for i, e := range fault.All(err) {
		if i > 0 {
			out.WriteByte('\n')
		}
		out.WriteString(Problem(s, ProblemOf(e)))
	}
	return out.String()
}

// ProblemOf gives an error as data: what -o json shows of it.
func ProblemOf(err error) run.Problem {
	f := fault.From(err, "")
	p := run.Problem{Code: f.Code, Summary: f.Summary, Stack: f.At, Evidence: f.Evidence, Hint: f.Hint}
	for cause := f.Cause; cause != nil; cause = errors.Unwrap(cause) {
		if text := cause.Error(); !strings.Contains(p.Summary, text) {
			p.Causes = append(p.Causes, text)
			break // deeper causes are part of this text
		}
	}
	return p
}

// writePlace writes where it happened: position, excerpt, and the callers.
func writePlace(out *strings.Builder, s Style, p run.Problem) {
	if len(p.Stack) == 0 && p.Excerpt == nil {
		return
	}
	gutter := "  "
	if p.Excerpt != nil {
		gutter = strings.Repeat(" ", len(strconv.Itoa(p.Excerpt.First+len(p.Excerpt.Lines)-1)))
	}
	stack := p.Stack
	if len(stack) == 0 {
		stack = []fault.Frame{{File: p.Excerpt.File, Line: p.Excerpt.Line, Col: p.Excerpt.Col}}
	}
	fmt.Fprintf(out, "%s%s %s\n", gutter, s.Blue("-->"), place(stack[0]))
	if p.Excerpt != nil {
		writeExcerpt(out, s, gutter, *p.Excerpt)
	}
	for _, f := range stack[1:] {
		in := ""
		if f.Func != "" {
			in = " in " + CleanLine(f.Func)
		}
		fmt.Fprintf(out, "%s%s called from %s%s\n", gutter, s.Blue("..."), place(f), in)
	}
}

// place gives file:line:col, without what is unknown.
func place(f fault.Frame) string {
	text := CleanLine(f.File)
	if f.Line > 0 {
		text += ":" + strconv.Itoa(f.Line)
		if f.Col > 0 {
			text += ":" + strconv.Itoa(f.Col)
		}
	}
	return text
}

func writeExcerpt(out *strings.Builder, s Style, gutter string, e run.Excerpt) {
	bar := s.Blue("|")
	fmt.Fprintf(out, "%s %s\n", gutter, bar)
	for i, line := range e.Lines {
		number := e.First + i
		col, width := underlined(line, e.Col, e.Width)
		drawn, start, end := drawSource(line, col, width)
		row := fmt.Sprintf("%s %s %s", s.Blue(fmt.Sprintf("%*d", len(gutter), number)), bar, drawn)
		out.WriteString(strings.TrimRight(row, " ") + "\n")
		if number == e.Line && e.Col > 0 {
			caret := strings.Repeat(" ", start) + s.Red(strings.Repeat("^", max(1, end-start)))
			fmt.Fprintf(out, "%s %s %s\n", gutter, bar, caret)
		}
	}
}

// underlined gives the columns to underline. A call's position is that of its
// parenthesis; its name tells a reader more.
func underlined(line string, col, width int) (int, int) {
	runes := []rune(line)
	if col < 1 || col > len(runes) || runes[col-1] != '(' {
		return col, width
	}
	start := col - 1 // index of the parenthesis
	for start > 0 && (runes[start-1] == '_' || unicode.IsLetter(runes[start-1]) || unicode.IsDigit(runes[start-1])) {
		start--
	}
	if start == col-1 {
		return col, width
	}
	return start + 1, col - 1 - start
}

// drawSource gives a line of source as it is drawn, and the cells from start to
// end that lie under width runes from column col (in runes, from 1). Tabs are
// expanded and control characters replaced, so that the caret stays in place.
func drawSource(line string, col, width int) (drawn string, start, end int) {
	var b strings.Builder
	cells, column := 0, 0
	start, end = -1, -1
	mark := func() {
		if column == col-1 {
			start = cells
		}
		if column == col-1+max(1, width) {
			end = cells
		}
	}
	for _, r := range strings.TrimRight(line, "\r\n") {
		mark()
		column++
		text := string(r)
		switch {
		case r == '\t':
			text = strings.Repeat(" ", tabCells-cells%tabCells)
		case unicode.IsControl(r):
			text = "\uFFFD"
		}
		b.WriteString(text)
		cells += Width(text)
	}
	mark()
	if start < 0 {
		start = cells
	}
	if end < 0 {
		end = cells
	}
	return b.String(), start, end
}

func writeEvidence(out *strings.Builder, s Style, ev fault.Evidence) {
	fmt.Fprintf(out, "%s\n", s.Bold(CleanLine(ev.Title)+":"))
	for _, text := range ev.Lines {
		for _, line := range strings.Split(strings.TrimRight(Clean(text), "\n"), "\n") {
			out.WriteString(strings.TrimRight("  "+line, " ") + "\n")
		}
	}
}
