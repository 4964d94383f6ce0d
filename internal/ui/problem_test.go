package ui

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/run"
)

func TestProblem(t *testing.T) {
	full := run.Problem{
		Phase:   run.Execution,
		Code:    "E0312",
		Summary: `service "validator" never became ready (30s, 14 attempts)`,
		Stack: []fault.Frame{
			{File: "lib.star", Line: 41, Col: 10, Func: "start"},
			{File: "main.star", Line: 7, Col: 2, Func: "run"},
		},
		Excerpt: &run.Excerpt{
			File: "lib.star", First: 40, Line: 41, Col: 10, Width: 11,
			Lines: []string{"def start(plan):", "    plan.add_service(\"validator\", config)", ""},
		},
		Evidence: []fault.Evidence{
			{Title: "listening ports", Lines: []string{"tcp 5051"}},
			{Title: "last log lines", Lines: []string{"booting\x1b[2J", "two\nlines"}},
		},
		Hint:   "PortSpec(number = 5051)?",
		Causes: []string{"dial tcp 172.16.0.2:5052: connection refused"},
	}
	bare := run.Problem{Summary: "something\nwith two lines"}
	wide := run.Problem{
		Code: "E0001", Summary: "carets stand under wide runes and after tabs",
		Excerpt: &run.Excerpt{
			File: "m.star", First: 9, Line: 9, Col: 9, Width: 3,
			Lines: []string{"\tx = \"世界\x1b\" + y", "pass"},
		},
	}
	var out strings.Builder
	for _, p := range []run.Problem{full, bare, wide} {
		out.WriteString(Problem(Style{}, p) + "\n")
	}
	golden(t, "problem.txt", out.String())
	if got := Clean(Problem(Coloured, full)); got != Problem(Style{}, full) {
		t.Errorf("colours change the text:\n%s", got)
	}
}

func TestDrawSource(t *testing.T) {
	tests := []struct {
		line       string
		col, width int
		drawn      string
		start, end int
	}{
		{"abc", 2, 1, "abc", 1, 2},
		{"\tabc", 2, 3, "    abc", 4, 7},
		{"a\tb", 3, 1, "a   b", 4, 5},
		{"世界x", 2, 1, "世界x", 2, 4},
		{"abc", 9, 4, "abc", 3, 3},
		{"abc", 2, 9, "abc", 1, 3},
		{"a\x1bb\r\n", 3, 1, "a\uFFFDb", 2, 3},
	}
	for _, test := range tests {
		drawn, start, end := drawSource(test.line, test.col, test.width)
		if drawn != test.drawn || start != test.start || end != test.end {
			t.Errorf("drawSource(%q, %d, %d) = %q, %d, %d; want %q, %d, %d", test.line, test.col, test.width,
				drawn, start, end, test.drawn, test.start, test.end)
		}
	}
}

func TestUnderlinedIsTheNameOfACall(t *testing.T) {
	tests := []struct {
		line       string
		col, width int
		wantCol    int
		wantWidth  int
	}{
		{"    plan.add_service(1)", 21, 1, 10, 11},
		{"x = f()", 6, 1, 5, 1},
		{"(1)()", 4, 1, 4, 1},
		{"plan.exec", 6, 4, 6, 4},
		{"short", 99, 2, 99, 2},
		{"(", 1, 1, 1, 1},
	}
	for _, test := range tests {
		if col, width := underlined(test.line, test.col, test.width); col != test.wantCol || width != test.wantWidth {
			t.Errorf("underlined(%q, %d, %d) = %d, %d; want %d, %d", test.line, test.col, test.width, col, width, test.wantCol, test.wantWidth)
		}
	}
}

func TestFaultRendersJoinedAndWrappedErrors(t *testing.T) {
	inner := fault.New("E0100", "enclave %q: %w", "x", fault.ErrNotFound).WithHint("lepto enclave ls")
	err := errors.Join(fmt.Errorf("stop: %w", inner), errors.New("plain"))
	want := "error[E0100]: stop: enclave \"x\": not found\nhint: lepto enclave ls\n\nerror: plain\n"
	if got := Fault(Style{}, err); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
