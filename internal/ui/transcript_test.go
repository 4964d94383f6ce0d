package ui

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/plan"
	"github.com/lepto-dev/lepto/internal/run"
)

// addDB and say are two steps of a plan.
var (
	addDB = run.Begin{
		ID: "1", Number: 1, Total: 2, Name: "add_service", Description: "Adding service 'db' using image 'postgres:16'",
		Text: `add_service(name="db", config=ServiceConfig(image="postgres:16", ports={"pg": PortSpec(number=5432)}, cmd=["a", "b"]))`,
		At:   fault.Frame{File: "main.star", Line: 2, Col: 18},
		Args: []plan.Arg{
			{Name: "name", Text: `"db"`, Representative: true},
			{Name: "config", Text: `ServiceConfig(image="postgres:16")`},
		},
	}
	say = run.Begin{
		ID: "2", Number: 2, Total: 2, Name: "print", Description: "Printing a message", Text: `print(msg="hi")`,
		At:   fault.Frame{File: "main.star", Line: 3, Col: 7},
		Args: []plan.Arg{{Name: "msg", Text: `"hi"`, Representative: true}},
	}
)

func successfulRun() []run.Event {
	return []run.Event{
		{Started: &run.Started{Enclave: "foo"}},
		{Phase: &run.Phase{Name: run.Interpretation}},
		{Plan: &run.Ready{Steps: []run.Begin{addDB, say}}},
		{Phase: &run.Phase{Name: run.Validation, Steps: 2}},
		{Image: &run.Image{Ref: "redis:7", Bytes: 4_200_000, Total: 31_000_000}},
		{Image: &run.Image{Ref: "redis:7", Done: true, Source: "downloaded"}},
		{Image: &run.Image{Ref: "postgres:16", Done: true, Source: "cached"}},
		{Phase: &run.Phase{Name: run.Execution, Steps: 2}},
		{Step: "1", Begin: &addDB},
		{Step: "1", Progress: &run.Progress{Text: "waiting for tcp 5432"}},
		{Step: "1", Result: &run.Result{Text: "Service 'db' added", Duration: 1234 * time.Millisecond}},
		{Step: "2", Begin: &say},
		{Step: "2", Result: &run.Result{Text: "hi", Duration: time.Millisecond}},
		{Warning: &run.Notice{Text: "[WARN]: careful"}},
		{Done: &run.Done{OK: true, Output: "{\n  \"a\": 1\n}", Duration: 1300 * time.Millisecond, Steps: 2}},
	}
}

func failingRun() []run.Event {
	events := successfulRun()[:9]
	return append(events,
		run.Event{Step: "1", Error: &run.Problem{
			Phase: run.Execution, Code: "E0312", Summary: `service "db" never became ready`,
			Stack: []fault.Frame{{File: "main.star", Line: 2, Col: 18}}, Hint: "look at its log",
		}},
		run.Event{Done: &run.Done{Duration: 2 * time.Second}},
	)
}

func transcriptOf(v Verbosity, events []run.Event) string {
	tr := NewTranscript(Plain(nil, nil, nil), v)
	var out strings.Builder
	for _, e := range events {
		out.WriteString(tr.Text(e))
	}
	return out.String()
}

func TestTranscript(t *testing.T) {
	for _, v := range Verbosities {
		golden(t, "run-"+string(v)+".txt", transcriptOf(v, successfulRun()))
		golden(t, "fail-"+string(v)+".txt", transcriptOf(v, failingRun()))
	}
}

func TestTranscriptEndings(t *testing.T) {
	tests := []struct {
		rule string
		dry  bool
		done run.Done
		want string
	}{
		{"no output", false, run.Done{OK: true}, "\nStarlark code successfully run. No output was returned.\n"},
		{"output", false, run.Done{OK: true, Output: "1"}, "\nStarlark code successfully run. Output was:\n1\n"},
		{"dry run", true, run.Done{OK: true}, "\nStarlark code successfully run in dry-run mode. No output was returned.\n"},
		{"failed", false, run.Done{}, "\nError encountered running Starlark code.\n"},
		{"failed dry run", true, run.Done{}, "\nError encountered running Starlark code in dry-run mode.\n"},
		{"cancelled", false, run.Done{Cancelled: true, Steps: 1}, "\nStarlark run cancelled after 1 instruction.\n"},
	}
	for _, test := range tests {
		got := transcriptOf(Description, []run.Event{{Started: &run.Started{DryRun: test.dry}}, {Done: &test.done}})
		if got != test.want {
			t.Errorf("%s: %q, want %q", test.rule, got, test.want)
		}
	}
}

func TestTranscriptKeepsResultsBelowTheirStep(t *testing.T) {
	third := run.Begin{ID: "3", Description: "Third"}
	got := transcriptOf(Description, []run.Event{
		{Begin: &addDB}, {Begin: &say}, {Begin: &third},
		{Step: "2", Result: &run.Result{Text: "hi"}},
		{Step: "1", Result: &run.Result{Text: "added"}},
		{Step: "3", Result: &run.Result{Text: "three"}},
	})
	want := "\n" + addDB.Description + "\n\n" + say.Description + "\nhi\nadded\n\nThird\nthree\n"
	if got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestTranscriptOfADryRunShowsEveryStep(t *testing.T) {
	got := transcriptOf(Brief, []run.Event{{Started: &run.Started{DryRun: true}}, {Begin: &addDB}, {Begin: &say}, {Done: &run.Done{OK: true, DryRun: true}}})
	want := "\n> add_service name=\"db\"\n\n> print msg=\"hi\"\n\nStarlark code successfully run in dry-run mode. No output was returned.\n"
	if got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestTranscriptCleansForTerminals(t *testing.T) {
	events := []run.Event{{Begin: &say}, {Step: "2", Result: &run.Result{Text: "a\x1b]0;evil\x07b"}}}
	for _, tty := range []bool{true, false} {
		tr := NewTranscript(&Terminal{OutTTY: tty}, OutputOnly)
		text := ""
		for _, e := range events {
			text += tr.Text(e)
		}
		if cleaned := text == "ab\n"; cleaned != tty {
			t.Errorf("terminal %v: %q", tty, text)
		}
	}
}

func TestJSONPrinterWritesTheEventsAndNothingElse(t *testing.T) {
	var out, errOut bytes.Buffer
	p := NewJSONPrinter(Plain(nil, &out, &errOut))
	for _, e := range successfulRun() {
		if err := p.Event(e); err != nil {
			t.Fatal(err)
		}
	}
	p.Close()
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != len(successfulRun()) || errOut.Len() > 0 {
		t.Fatalf("%d lines, %q on stderr", len(lines), errOut.String())
	}
	for _, line := range lines {
		if _, err := run.Decode([]byte(line)); err != nil {
			t.Error(err)
		}
	}
}

func TestPlainPrinterTellsOfEachImageOnce(t *testing.T) {
	var out, talk bytes.Buffer
	p := NewPrinter(Plain(nil, &out, &talk), Description)
	for _, bytes := range []int64{0, 1, 2} {
		for _, ref := range []string{"a", "b"} {
			if err := p.Event(run.Event{Image: &run.Image{Ref: ref, Bytes: bytes, Total: 2}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if talk.String() != "preparing image a\npreparing image b\n" || out.Len() > 0 {
		t.Errorf("stderr %q, stdout %q", talk.String(), out.String())
	}
}

func TestParseVerbosity(t *testing.T) {
	if v, err := ParseVerbosity("OUTPUT_only"); err != nil || v != OutputOnly {
		t.Errorf("%v, %v", v, err)
	}
	if _, err := ParseVerbosity("loud"); err == nil {
		t.Error("no error for an unknown word")
	}
}
