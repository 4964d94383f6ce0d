package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"github.com/lepto-dev/lepto/internal/source"
)

// This file compares answers with recordings, as texts that a person can read.

// compareFile compares all cases of a file and prints what differs.
func compareFile(ctx context.Context, out io.Writer, file, dir string) error {
	cases, err := readLines[Case](file)
	if err != nil {
		return err
	}
	listed, err := readLines[Difference](filepath.Join(dir, "differences.jsonl"))
	if err != nil {
		return err
	}
	differs := map[string]Difference{}
	for _, d := range listed {
		differs[d.Name] = d
	}
	a := newAsker(packageFetchers(dir)...)
	passed, failed := 0, 0
	for _, c := range cases {
		text := a.difference(ctx, c)
		d, onPurpose := differs[c.Name]
		switch {
		case text == "" && onPurpose:
			failed++
			fmt.Fprintf(out, "FAIL %s: is listed as a difference (%s), but is none\n\n", c.Name, d.Reason)
		case text == "":
			passed++
		case onPurpose:
			passed++
			fmt.Fprintf(out, "differs on purpose: %s: %s\n", c.Name, d.Reason)
		default:
			failed++
			fmt.Fprintf(out, "FAIL %s\n%s\n", c.Name, text)
		}
	}
	fmt.Fprintf(out, "%d passed, %d failed\n", passed, failed)
	if failed > 0 {
		return fmt.Errorf("%s: %d of %d cases fail", file, failed, len(cases))
	}
	return nil
}

// packageFetchers gives where packages of others come from: the directory
// PACKAGES_DIR; without it, the small stand-ins kept beside the cases.
func packageFetchers(dir string) []source.Fetcher {
	if packages := os.Getenv("PACKAGES_DIR"); packages != "" {
		return []source.Fetcher{source.Mirror{Dir: packages}}
	}
	return []source.Fetcher{source.Mirror{Dir: filepath.Join(dir, "packages")}}
}

// difference gives how the answers to a case differ; empty if they do not.
func (a *asker) difference(ctx context.Context, c Case) string {
	answers, err := a.ask(ctx, c.Input)
	if err != nil {
		return err.Error() + "\n"
	}
	wants := append([]Expect{c.Expect}, c.Expect.Reruns...)
	if len(wants) == 1 {
		wants = []Expect{c.Expect} // a recording with one answer is of the last run
		answers = answers[len(answers)-1:]
	}
	var all strings.Builder
	for i, want := range wants {
		if i >= len(answers) {
			return "the recording has more runs than the case\n"
		}
		all.WriteString(compare(want, answers[i]))
	}
	return all.String()
}

// compare gives a difference as unified diff of two readable texts.
func compare(want Expect, got Answer) string {
	wanted, given := wantText(want), gotText(want, got)
	if wanted == given {
		return ""
	}
	text := string(diff.Diff("recorded", []byte(wanted), "lepto", []byte(given)))
	if want.Status != got.Status {
		text += "recorded error: " + want.Error + strings.Join(want.ValidationErrors, "\n") + "\n"
		text += "lepto's error: " + got.Error + strings.Join(got.Errors, "\n") + "\n"
	}
	return text
}

// wantText renders what of a recording counts.
func wantText(want Expect) string {
	var w writer
	w.line("status: %s", want.Status)
	switch want.Status {
	case statusOK:
		for _, i := range want.Instructions {
			w.instruction(i)
		}
		w.part("output", want.Output)
		w.part("plan_yaml", want.PlanYAML)
	case statusInterpretation:
		w.places(framePlaces(want.Error))
	case statusValidation:
		w.places(callPlaces(want.ValidationErrors))
	}
	return w.text()
}

// gotText renders an answer in the same way, as far as the recording goes.
func gotText(want Expect, got Answer) string {
	var w writer
	w.line("status: %s", got.Status)
	switch got.Status {
	case statusOK:
		for _, step := range got.Plan.Steps {
			call := step.Call()
			returned := got.Plan.Returned[call.ID]
			w.instruction(Instruction{
				Name: call.Name, Position: call.At().String(), Executable: call.Text,
				Description: call.Description, Returned: &returned,
			})
		}
		if want.Output != nil {
			w.part("output", &got.Plan.Output)
		}
		if want.PlanYAML != nil {
			w.part("plan_yaml", &got.PlanYAML)
		}
	case statusInterpretation:
		w.places(framePlaces(got.Error))
	case statusValidation:
		w.places(callPlaces(got.Errors))
	}
	return w.text()
}

var (
	framePattern = regexp.MustCompile(`(?m)^\tat \[([^\]]+)\]: `)
	callPattern  = regexp.MustCompile(`The instruction can be found at (\S+\[\d+:\d+\])`)
)

// framePlaces gives the places of the user's frames in an error's text.
func framePlaces(text string) []string {
	var places []string
	for _, m := range framePattern.FindAllStringSubmatch(text, -1) {
		if m[1] != "0:0" {
			places = append(places, m[1])
		}
	}
	return places
}

// callPlaces gives the places of the calls that validation refused, each once:
// a call with two mistakes is told once in a recording.
func callPlaces(texts []string) []string {
	var places []string
	for _, text := range texts {
		if m := callPattern.FindStringSubmatch(text); m != nil && (len(places) == 0 || places[len(places)-1] != m[1]) {
			places = append(places, m[1])
		}
	}
	return places
}

// writer writes an answer, with ids and made-up names renumbered.
type writer struct{ b strings.Builder }

func (w *writer) line(format string, args ...any) { fmt.Fprintf(&w.b, format+"\n", args...) }

func (w *writer) instruction(i Instruction) {
	w.line("%s %s", i.Position, i.Executable)
	w.line("\tdescription: %s", i.Description)
	if i.Returned != nil {
		w.line("\treturned: %s", *i.Returned)
	} else {
		w.line("\treturned: None")
	}
}

func (w *writer) part(name string, text *string) {
	if text != nil {
		w.line("%s:\n%s", name, strings.TrimSuffix(*text, "\n"))
	}
}

func (w *writer) places(places []string) {
	for _, place := range places {
		w.line("at %s", place)
	}
}

func (w *writer) text() string { return new(renumbering).text(w.b.String()) }
