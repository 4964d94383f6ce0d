package api

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	wire "github.com/kurtosis-tech/kurtosis/api/golang/core/kurtosis_core_rpc_api_bindings"

	"github.com/lepto-dev/lepto/internal/plan"
	"github.com/lepto-dev/lepto/internal/run"
)

// This file renders a run's events as the lines of the wire API.

// runLines renders the events of one run, given in order. What it keeps is what
// earlier events said, so the same events always give the same lines.
type runLines struct {
	dryRun   bool
	total    int
	steps    map[plan.StepID]run.Begin
	images   map[string]run.Image
	failed   bool     // an error was sent
	warnings []string // sent last
}

func newRunLines() *runLines {
	return &runLines{steps: map[plan.StepID]run.Begin{}, images: map[string]run.Image{}}
}

// lines gives the lines that an event adds, often none.
func (l *runLines) lines(e run.Event) []*wire.StarlarkRunResponseLine {
	switch {
	case e.Started != nil:
		l.dryRun = e.Started.DryRun
	case e.Phase != nil:
		return l.phase(*e.Phase)
	case e.Plan != nil:
		l.total = len(e.Plan.Steps)
	case e.Image != nil:
		return l.image(*e.Image)
	case e.Begin != nil:
		return l.begin(*e.Begin)
	case e.Progress != nil:
		return l.stepProgress(e.Step, e.Progress.Text)
	case e.Result != nil:
		return l.result(e.Step, *e.Result)
	case e.Error != nil:
		return l.problem(e.Step, *e.Error)
	case e.Warning != nil:
		l.warnings = append(l.warnings, e.Warning.Text)
	case e.Fault != nil:
		return []*wire.StarlarkRunResponseLine{info("scheduled fault: " + e.Fault.Text)}
	case e.Done != nil:
		return l.done(*e.Done)
	}
	return nil
}

func (l *runLines) phase(p run.Phase) []*wire.StarlarkRunResponseLine {
	if p.Steps > 0 {
		l.total = p.Steps
	}
	id := string(p.Name)
	switch p.Name {
	case run.Interpretation:
		return lines(progress(id, 0, 0, "Interpreting the script"))
	case run.Validation:
		return lines(progress(id, 0, l.total, "Starting validation"), progress(id, 0, 0, "Validating the plan"))
	default:
		return append(l.imageSummary(), progress(id, 0, l.total, "Starting execution"))
	}
}

// image tells of images in flight. Bytes on the way are left out: the wire has
// no place for them.
func (l *runLines) image(i run.Image) []*wire.StarlarkRunResponseLine {
	before, known := l.images[i.Ref]
	l.images[i.Ref] = i
	if known && before.Done == i.Done {
		return nil
	}
	var flying []string
	done := 0
	for _, ref := range slices.Sorted(maps.Keys(l.images)) {
		if l.images[ref].Done {
			done++
		} else {
			flying = append(flying, "Validating "+ref)
		}
	}
	return lines(progress(string(run.Validation), done, len(l.images), flying...))
}

var imageSources = map[string]string{
	"cached":     "locally cached",
	"downloaded": "remotely downloaded",
	"built":      "locally built",
}

// imageSummary tells, once, where the images came from.
func (l *runLines) imageSummary() []*wire.StarlarkRunResponseLine {
	var text strings.Builder
	var out []*wire.StarlarkRunResponseLine
	for _, ref := range slices.Sorted(maps.Keys(l.images)) {
		i := l.images[ref]
		if !i.Done {
			continue
		}
		fmt.Fprintf(&text, "\n> %s - %s", ref, imageSources[i.Source])
		if i.Warning != "" {
			out = append(out, warning(i.Warning))
		}
	}
	clear(l.images)
	if text.Len() == 0 {
		return nil
	}
	return append(lines(info("Images of this run:"+text.String())), out...)
}

func (l *runLines) begin(b run.Begin) []*wire.StarlarkRunResponseLine {
	l.steps[b.ID] = b
	id := string(b.ID)
	step := &wire.StarlarkInstruction{
		Position:              &wire.StarlarkInstructionPosition{Filename: b.At.File, Line: int32(b.At.Line), Column: int32(b.At.Col)},
		InstructionName:       b.Name,
		ExecutableInstruction: b.Text,
		IsSkipped:             b.Skipped,
		Description:           b.Description,
		InstructionId:         &id,
	}
	for _, a := range b.Args {
		arg := &wire.StarlarkInstructionArg{SerializedArgValue: a.Text, IsRepresentative: a.Representative}
		if a.Name != "" {
			arg.ArgName = &a.Name
		}
		step.Arguments = append(step.Arguments, arg)
	}
	return lines(progress(id, b.Number, b.Total, b.Description),
		&wire.StarlarkRunResponseLine{RunResponseLine: &wire.StarlarkRunResponseLine_Instruction{Instruction: step}})
}

func (l *runLines) stepProgress(step plan.StepID, text string) []*wire.StarlarkRunResponseLine {
	b, ok := l.steps[step]
	if !ok {
		return nil
	}
	return lines(progress(string(step), b.Number, b.Total, b.Description, text))
}

func (l *runLines) result(step plan.StepID, r run.Result) []*wire.StarlarkRunResponseLine {
	if l.dryRun || r.Text == "" {
		return nil
	}
	id := string(step)
	return lines(&wire.StarlarkRunResponseLine{RunResponseLine: &wire.StarlarkRunResponseLine_InstructionResult{
		InstructionResult: &wire.StarlarkInstructionResult{
			SerializedInstructionResult: r.Text,
			ExecutionDuration:           durationpb.New(r.Duration),
			InstructionId:               &id,
		}}})
}

func (l *runLines) problem(step plan.StepID, p run.Problem) []*wire.StarlarkRunResponseLine {
	l.failed = true
	if p.Part {
		return nil // the text of the one before it tells of it too
	}
	text := problemText(p)
	if b, ok := l.steps[step]; ok && p.Legacy == "" {
		text = fmt.Sprintf("instruction %d (%s) at %s: %s", b.Number, b.Name, b.At, text)
	}
	return append(l.imageSummary(), failure(p.Phase, text))
}

// problemText gives a problem as text for those who have no better place: as
// they know it of old, or else the summary, where, what was seen and what to do.
func problemText(p run.Problem) string {
	if p.Legacy != "" {
		return p.Legacy
	}
	var text strings.Builder
	text.WriteString(p.Summary)
	for _, frame := range p.Stack {
		fmt.Fprintf(&text, "\n\tat %s", frame)
		if frame.Func != "" {
			fmt.Fprintf(&text, " in %s", frame.Func)
		}
	}
	for _, e := range p.Evidence {
		fmt.Fprintf(&text, "\n%s:", e.Title)
		for _, line := range e.Lines {
			fmt.Fprintf(&text, "\n\t%s", line)
		}
	}
	if p.Hint != "" {
		fmt.Fprintf(&text, "\nhint: %s", p.Hint)
	}
	return text.String()
}

// done closes the stream. A dry run that succeeds has no finished line: clients
// of the wire API rely on that.
func (l *runLines) done(d run.Done) []*wire.StarlarkRunResponseLine {
	out := l.imageSummary()
	if !d.OK && !l.failed {
		out = append(out, failure(run.Execution, strings.TrimSuffix("the run was cancelled: "+d.Reason, ": ")))
	}
	if !d.OK || !l.dryRun {
		out = append(out, finished(d.OK, d.Output, d.Duration))
	}
	for _, text := range l.warnings {
		out = append(out, warning(text))
	}
	l.warnings = nil
	return out
}

func lines(l ...*wire.StarlarkRunResponseLine) []*wire.StarlarkRunResponseLine { return l }

func progress(id string, number, total int, text ...string) *wire.StarlarkRunResponseLine {
	return &wire.StarlarkRunResponseLine{RunResponseLine: &wire.StarlarkRunResponseLine_ProgressInfo{
		ProgressInfo: &wire.StarlarkRunProgress{
			CurrentStepInfo: text, TotalSteps: uint32(total), CurrentStepNumber: uint32(number), InstructionId: &id,
		}}}
}

func failure(phase run.PhaseName, text string) *wire.StarlarkRunResponseLine {
	e := &wire.StarlarkError{}
	switch phase {
	case run.Interpretation:
		e.Error = &wire.StarlarkError_InterpretationError{InterpretationError: &wire.StarlarkInterpretationError{ErrorMessage: text}}
	case run.Validation:
		e.Error = &wire.StarlarkError_ValidationError{ValidationError: &wire.StarlarkValidationError{ErrorMessage: text}}
	default:
		e.Error = &wire.StarlarkError_ExecutionError{ExecutionError: &wire.StarlarkExecutionError{ErrorMessage: text}}
	}
	return &wire.StarlarkRunResponseLine{RunResponseLine: &wire.StarlarkRunResponseLine_Error{Error: e}}
}

func finished(ok bool, output string, took time.Duration) *wire.StarlarkRunResponseLine {
	event := &wire.StarlarkRunFinishedEvent{IsRunSuccessful: ok, TotalExecutionDuration: durationpb.New(took)}
	if output != "" {
		event.SerializedOutput = &output
	}
	return &wire.StarlarkRunResponseLine{RunResponseLine: &wire.StarlarkRunResponseLine_RunFinishedEvent{RunFinishedEvent: event}}
}

func warning(text string) *wire.StarlarkRunResponseLine {
	return &wire.StarlarkRunResponseLine{RunResponseLine: &wire.StarlarkRunResponseLine_Warning{
		Warning: &wire.StarlarkWarning{WarningMessage: text}}}
}

func info(text string) *wire.StarlarkRunResponseLine {
	return &wire.StarlarkRunResponseLine{RunResponseLine: &wire.StarlarkRunResponseLine_Info{
		Info: &wire.StarlarkInfo{InfoMessage: text}}}
}
