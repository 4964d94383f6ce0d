package ui

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lepto-dev/lepto/internal/plan"
	"github.com/lepto-dev/lepto/internal/run"
)

// This file defines the transcript of a run: the lasting text on stdout. It is
// a state machine from events to text and knows neither time nor terminal, so
// that the same events always give the same bytes.

// Verbosity says how much of each instruction is shown.
type Verbosity string

// The verbosities.
const (
	Description Verbosity = "description" // what it does, in words
	Brief       Verbosity = "brief"       // the call with its main arguments, on one line
	Detailed    Verbosity = "detailed"    // all arguments, and durations
	Executable  Verbosity = "executable"  // as Starlark that could be run
	OutputOnly  Verbosity = "output_only" // no instructions, just what they give
)

// Verbosities lists them, for help and completion.
var Verbosities = []Verbosity{Description, Brief, Detailed, Executable, OutputOnly}

// ParseVerbosity reads a verbosity in any case.
func ParseVerbosity(text string) (Verbosity, error) {
	v := Verbosity(strings.ToLower(text))
	if !slices.Contains(Verbosities, v) {
		return "", fmt.Errorf("verbosity %q is none of %s", text, Choices(Verbosities))
	}
	return v, nil
}

// Choices joins words for a message: "a, b, c".
func Choices[T ~string](words []T) string {
	texts := make([]string, len(words))
	for i, w := range words {
		texts[i] = string(w)
	}
	return strings.Join(texts, ", ")
}

// A Transcript turns the events of one run into text.
type Transcript struct {
	verbosity Verbosity
	style     Style
	clean     bool // the text goes to a terminal

	dryRun  bool
	changes map[plan.Status]int  // that a dry run told of
	images  map[string]run.Image // done, not shown yet

	// One step at a time owns the tail of the text, so that a result stands
	// below its own instruction. Steps that begin meanwhile wait.
	open    plan.StepID
	waiting []run.Begin
}

// NewTranscript starts a transcript. The text goes to Out of the terminal.
func NewTranscript(t *Terminal, v Verbosity) *Transcript {
	return &Transcript{verbosity: v, style: t.OutStyle, clean: t.OutTTY, images: map[string]run.Image{}}
}

// Text gives what to append for an event; often nothing.
func (t *Transcript) Text(e run.Event) string {
	switch {
	case e.Started != nil:
		t.dryRun = e.Started.DryRun
	case e.Image != nil:
		return t.image(*e.Image)
	case e.Phase != nil && e.Phase.Name == run.Execution:
		return t.imageBlock()
	case e.Begin != nil:
		return t.imageBlock() + t.begin(*e.Begin)
	case e.Result != nil:
		return t.result(e.Step, *e.Result)
	case e.Error != nil:
		return t.imageBlock() + t.problem(e.Step, *e.Error)
	case e.Warning != nil:
		return "\n" + t.style.Yellow(t.fit(e.Warning.Text)) + "\n"
	case e.Fault != nil:
		return "\n" + t.style.Yellow(t.fit(faultText(*e.Fault))) + "\n"
	case e.Done != nil:
		return t.imageBlock() + t.done(*e.Done)
	}
	return ""
}

// faultText tells of a scheduled fault.
func faultText(f run.Fault) string {
	text := "Fault at " + f.Applied.Local().Format("15:04:05.000") + ": " + f.Text
	if f.Error != "" {
		text += ", which failed: " + f.Error
	}
	return text
}

// fit makes text of scripts and services fit the place where it is shown.
func (t *Transcript) fit(text string) string {
	if t.clean {
		return Clean(text)
	}
	return text
}

// image notes an image that is available, and passes on its warning.
func (t *Transcript) image(i run.Image) string {
	if !i.Done {
		return ""
	}
	t.images[i.Ref] = i
	if i.Warning == "" {
		return ""
	}
	return "\n" + t.style.Yellow(t.fit(i.Warning)) + "\n"
}

// imageWords say how an image came to be here.
var imageWords = map[string]string{
	"cached":     "locally cached",
	"downloaded": "remotely downloaded",
	"built":      "locally built",
}

// imageBlock lists the images of the run, once all are there.
func (t *Transcript) imageBlock() string {
	if len(t.images) == 0 {
		return ""
	}
	var refs []string
	for ref := range t.images {
		refs = append(refs, ref)
	}
	slices.Sort(refs)
	var out strings.Builder
	out.WriteString("Container images used in this run:")
	for _, ref := range refs {
		words, known := imageWords[t.images[ref].Source]
		if !known {
			words = t.images[ref].Source
		}
		fmt.Fprintf(&out, "\n> %s - %s", ref, words)
	}
	clear(t.images)
	return "\n" + t.style.Cyan(t.fit(out.String())) + "\n"
}

// begin shows a step now, or keeps it until its turn. Those of a dry run give
// nothing that it would have to wait for.
func (t *Transcript) begin(b run.Begin) string {
	if t.dryRun {
		return t.instruction(b) + t.change(b)
	}
	if t.open != "" && t.open != b.ID {
		t.waiting = append(t.waiting, b)
		return ""
	}
	t.open = b.ID
	return t.instruction(b)
}

// instruction renders a step as the verbosity wants it.
func (t *Transcript) instruction(b run.Begin) string {
	var body string
	switch t.verbosity {
	case OutputOnly:
		return ""
	case Brief:
		body = briefCall(b)
	case Detailed:
		body = detailedCall(b)
	case Executable:
		body = fmt.Sprintf("# from %s\n%s", b.At, FormatCall(b.Text))
	default:
		body = b.Description
	}
	return "\n" + t.style.Cyan(t.fit(body)) + "\n"
}

// change tells what a run would do about a step.
func (t *Transcript) change(b run.Begin) string {
	if b.Change == nil {
		return ""
	}
	if t.changes == nil {
		t.changes = map[plan.Status]int{}
	}
	t.changes[b.Change.Status]++
	if t.verbosity == OutputOnly {
		return ""
	}
	text := string(b.Change.Status)
	if len(b.Change.Reasons) > 0 {
		text += ": " + t.fit(strings.Join(b.Change.Reasons, "; "))
	}
	if !b.Change.Sure {
		text += " (unless that gives the same as before)"
	}
	colour := t.style.Yellow
	switch b.Change.Status {
	case plan.Keep:
		colour = t.style.Dim
	case plan.New:
		colour = t.style.Green
	}
	return "  " + colour(text) + "\n"
}

// summary counts what a run would do.
func (t *Transcript) summary() string {
	var parts []string
	for _, status := range []plan.Status{plan.Keep, plan.Update, plan.Recreate, plan.New} {
		if n := t.changes[status]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, status))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "\nOf these instructions a run would: " + strings.Join(parts, ", ") + "\n"
}

func briefCall(b run.Begin) string {
	line := "> " + b.Name
	for _, a := range b.Args {
		if a.Representative {
			line += " " + argument(a)
		}
	}
	return line
}

func detailedCall(b run.Begin) string {
	text := "> " + b.Name
	for _, a := range b.Args {
		text += "\n> \t" + argument(a)
	}
	return text
}

func argument(a plan.Arg) string {
	if a.Name == "" {
		return a.Text
	}
	return a.Name + "=" + a.Text
}

// result shows what a step gave, below the step, and lets the next one show.
func (t *Transcript) result(id plan.StepID, r run.Result) string {
	head := t.claim(id)
	text := t.fit(r.Text)
	if t.verbosity == Detailed && text != "" {
		text += fmt.Sprintf(" (execution duration: %s)", Duration(r.Duration))
	}
	if text != "" {
		text += "\n"
	}
	return head + text + t.release(id)
}

// claim gives the instruction of a step, if it was held back until now.
func (t *Transcript) claim(id plan.StepID) string {
	for i, b := range t.waiting {
		if b.ID == id {
			t.waiting = slices.Delete(t.waiting, i, i+1)
			return t.instruction(b)
		}
	}
	return ""
}

// release ends a step. If it had the tail of the text, the longest waiting one
// gets it.
func (t *Transcript) release(id plan.StepID) string {
	if t.open != id {
		return ""
	}
	t.open = ""
	if len(t.waiting) == 0 {
		return ""
	}
	next := t.waiting[0]
	t.waiting = t.waiting[1:]
	return t.begin(next)
}

// phaseVerbs say what was being done to the code.
var phaseVerbs = map[run.PhaseName]string{
	run.Interpretation: "interpreting",
	run.Validation:     "validating",
	run.Execution:      "executing",
}

func (t *Transcript) problem(id plan.StepID, p run.Problem) string {
	verb, known := phaseVerbs[p.Phase]
	if !known {
		verb = "running"
	}
	// The space at the end is part of the line that scripts know.
	head := t.style.Red("There was an error "+verb+" Starlark code ") + "\n"
	text := t.claim(id) + head + Problem(t.style, p)
	if id != "" && t.open == id {
		t.open = "" // a failed run starts no more steps
	}
	return text
}

func (t *Transcript) done(d run.Done) string {
	mode, total := "", ""
	if t.dryRun {
		mode = " in dry-run mode"
	}
	if t.verbosity == Detailed {
		total = fmt.Sprintf(" Total instruction execution time: %s.", Duration(d.Duration))
	}
	return t.summary() + t.end(d, mode, total)
}

func (t *Transcript) end(d run.Done, mode, total string) string {
	switch {
	case d.Cancelled:
		return "\n" + t.style.Yellow(fmt.Sprintf("Starlark run cancelled%s after %s.%s", mode, Count(d.Steps, "instruction"), total)) + "\n"
	case !d.OK:
		return "\n" + t.style.Red("Error encountered running Starlark code"+mode+"."+total) + "\n"
	case d.Output == "":
		return t.parallel(d) + "\n" + t.style.Green("Starlark code successfully run"+mode+"."+total+" No output was returned.") + "\n"
	}
	head := "Starlark code successfully run" + mode + "." + total + " Output was:"
	return t.parallel(d) + "\n" + t.style.Green(head+"\n"+t.fit(d.Output)) + "\n"
}

// parallel tells what came of executing steps together.
func (t *Transcript) parallel(d run.Done) string {
	if d.Parallel == nil || d.Steps == 0 {
		return ""
	}
	chain := make([]string, len(d.Parallel.Chain))
	for i, number := range d.Parallel.Chain {
		chain[i] = strconv.Itoa(number)
	}
	if len(chain) > chainShown {
		chain = append(append(chain[:chainShown-2:chainShown-2], "…"), chain[len(chain)-1])
	}
	text := fmt.Sprintf("%s in %s. The critical path took %s: %s. One after the other they would have taken %s.",
		Count(d.Steps, "instruction"), Duration(d.Duration), Duration(d.Parallel.Critical), strings.Join(chain, " → "), Duration(d.Parallel.Work))
	return "\n" + t.style.Dim(text) + "\n"
}

// chainShown is how many steps of the critical path are named.
const chainShown = 12

// Duration gives a duration with as many digits as a reader wants: 340ms, 1.2s, 2m5s.
func Duration(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// Count gives a number with its noun: "1 instruction", "2 instructions".
func Count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
