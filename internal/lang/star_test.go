package lang_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/instruction"
	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/lang/types"
	"github.com/lepto-dev/lepto/internal/plan"
	"github.com/lepto-dev/lepto/internal/source"
)

// This file runs the language tests that are written in the language: each
// testdata/*.star is chunks split by lines of "---", each a script of its own.
//
//	### "regexp"     at the end of a line: an error of interpretation or
//	                 validation is expected at that line, with that summary
//	# args: {…}      the parameters of the chunk
//	# main: name     its entry function
//	# env: {…}       the enclave's variables
//	# warning: text  a warning of the plan
//	# backend: plain  a backend that has no ability
//	# mirror: dir    packages of others are in this folder of testdata
//
// A first line such as "# A1: text" names the test: a row of a checklist.
//
// eq(x, y) fails unless x == y.

const prelude = `def eq(x, y): x == y or fail("got", repr(x), "want", repr(y))`

var (
	expectation = regexp.MustCompile(`### "((?:[^"\\]|\\.)*)"`)
	rowName     = regexp.MustCompile(`^# ([A-Z]\d+[a-z]?): `)
	directive   = regexp.MustCompile(`(?m)^# (args|main|env|warning|backend|mirror): (.*)$`)
)

var testHost = lang.NewHost(instruction.All(), types.All())

func TestStar(t *testing.T) {
	files, err := filepath.Glob("testdata/*.star")
	if err != nil || len(files) == 0 {
		t.Fatalf("no language tests: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		line := 1
		for chunk := range strings.SplitSeq(string(text), "\n---\n") {
			name := fmt.Sprintf("%s:%d", filepath.Base(file), line)
			if m := rowName.FindStringSubmatch(chunk); m != nil {
				name = strings.TrimSuffix(filepath.Base(file), ".star") + "/" + m[1]
			}
			t.Run(name, func(t *testing.T) { runChunk(t, chunk) })
			line += strings.Count(chunk, "\n") + 2
		}
	}
}

func runChunk(t *testing.T, chunk string) {
	want := expectations(t, chunk)
	options := map[string]string{}
	var warnings []string
	for _, m := range directive.FindAllStringSubmatch(chunk, -1) {
		if m[1] == "warning" {
			warnings = append(warnings, m[2])
			continue
		}
		options[m[1]] = m[2]
	}
	made, errs := interpretAll(chunk, options)
	for _, err := range errs {
		f := fault.From(err, "none")
		line := 0
		if len(f.At) > 0 {
			line = f.At[0].Line - 1 // of the prelude
		}
		if len(want[line]) > 0 && want[line][0].MatchString(f.Summary) {
			want[line] = want[line][1:]
			continue
		}
		t.Errorf("line %d: unexpected error %s: %s\n%s", line, f.Code, f.Summary, lang.LegacyText(err))
	}
	for line, patterns := range want {
		for _, p := range patterns {
			t.Errorf("line %d: no error matches %q", line, p)
		}
	}
	for _, w := range warnings {
		if made == nil || !strings.Contains(strings.Join(made.Warnings, "\n"), w) {
			t.Errorf("no warning %q", w)
		}
	}
}

// interpretAll interprets and validates a chunk.
func interpretAll(chunk string, options map[string]string) (*plan.Plan, []error) {
	var fetched []source.Option
	if dir := options["mirror"]; dir != "" {
		fetched = append(fetched, source.WithFetcher(source.Mirror{Dir: filepath.Join("testdata", dir)}))
	}
	p := source.OpenScript("test.star", prelude+"\n"+chunk, fetched...)
	made, err := testHost.Interpret(context.Background(), lang.Request{
		Package: p, Args: options["args"], MainFunction: options["main"],
		Enclave: &fakeEnclave{env: options["env"]}, StepLimit: 2_000_000,
	})
	if err != nil {
		return nil, fault.All(err)
	}
	in := plan.ForecastInput{Artifacts: []string{"art"}, CPUMillis: 4000, MemoryMB: 8000}
	if options["backend"] == "plain" {
		in.Capabilities.Abilities = map[backend.Ability]bool{}
	}
	forecast := plan.NewForecast(in)
	return made, plan.Validate(made.Steps, forecast)
}

// expectations reads the ### comments, by line; 0 is for errors without a place.
func expectations(t *testing.T, chunk string) map[int][]*regexp.Regexp {
	want := map[int][]*regexp.Regexp{}
	for i, line := range strings.Split(chunk, "\n") {
		for _, m := range expectation.FindAllStringSubmatch(line, -1) {
			text, err := strconv.Unquote(`"` + m[1] + `"`)
			if err != nil {
				t.Fatalf("line %d: %v", i+1, err)
			}
			at := i + 1
			if strings.HasPrefix(strings.TrimSpace(line), "### ") {
				at = 0
			}
			want[at] = append(want[at], regexp.MustCompile(text))
		}
	}
	return want
}

// fakeEnclave is an enclave whose ids are counted, so that they are the same in
// every test run.
type fakeEnclave struct {
	env      string
	cluster  string
	services []lang.ExistingService
	ids      map[string]string
}

func (e *fakeEnclave) ServiceValueID(name string) (string, error) {
	if e.ids == nil {
		e.ids = map[string]string{}
	}
	if e.ids[name] == "" {
		e.ids[name] = fmt.Sprintf("%032x", 0xa000+len(e.ids))
	}
	return e.ids[name], nil
}
func (e *fakeEnclave) EnclaveUUID() string { return "an-enclave" }

func (e *fakeEnclave) EnvVars() string { return e.env }
func (e *fakeEnclave) ClusterType() string {
	if e.cluster == "" {
		return "docker"
	}
	return e.cluster
}
func (e *fakeEnclave) ExistingServices() []lang.ExistingService { return e.services }

// countedIDs makes ids 1, 2, ….
func countedIDs() func() string {
	n := 0
	return func() string { n++; return fmt.Sprintf("%032x", n) }
}
