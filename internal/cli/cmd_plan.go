package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/plan"
	"github.com/lepto-dev/lepto/internal/run"
	"github.com/lepto-dev/lepto/internal/ui"
)

type planOptions struct {
	codeOptions
	verbosity string
	output    choice
}

func newPlan(d *deps) *cobra.Command {
	var o planOptions
	cmd := &cobra.Command{
		Use: "plan TARGET [ARGS]", Args: args(1, 2),
		Short: "Show what a script or package would do; needs no engine",
		Long: "Interpret and validate a Starlark script or package and show its instructions.\n" +
			"No engine takes part, no image is looked for, and nothing is changed. TARGET\n" +
			"and ARGS are those of lepto run.",
		Example: "  lepto plan examples/quickstart\n  lepto plan main.star -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), d, args[0], second(args))
		},
	}
	o.codeOptions.addFlags(cmd)
	addVerbosity(cmd, &o.verbosity)
	addOutput(cmd, &o.output)
	return cmd
}

func (o *planOptions) run(ctx context.Context, d *deps, targetText, argsText string) error {
	verbosity, err := ui.ParseVerbosity(o.verbosity)
	if err != nil {
		return usagef("--verbosity: %v", err)
	}
	what, argsJSON, err := o.load(ctx, d, targetText, argsText)
	if err != nil {
		return err
	}
	planned, opened := o.codeOptions.plan(ctx, what, argsJSON)
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if o.output.json() {
		err = d.json(planDocument(planned, opened))
	} else {
		err = d.writePlan(planned, verbosity)
	}
	if err == nil && len(planned.Problems) > 0 {
		err = silent(exitFailure)
	}
	return err
}

// writePlan shows a plan as the transcript of a dry run.
func (d *deps) writePlan(planned run.Planned, verbosity ui.Verbosity) error {
	transcript := ui.NewTranscript(d.term, verbosity)
	for _, p := range planned.Problems {
		fmt.Fprint(d.term.Out, transcript.Text(run.Event{Error: p}))
	}
	if n := len(planned.Problems); n > 0 {
		return d.print("\n%s", d.term.OutStyle.Red(fmt.Sprintf("The plan is not valid: %s.", ui.Count(n, "error"))))
	}
	for _, text := range planned.Plan.Warnings {
		d.warn("%s", text)
	}
	for i := range planned.Steps {
		// A result lets the next step show; a plan has none, so each is on its own.
		step := ui.NewTranscript(d.term, verbosity)
		fmt.Fprint(d.term.Out, step.Text(run.Event{Begin: &planned.Steps[i]}))
	}
	summary := fmt.Sprintf("The plan is valid: %s, %s.", ui.Count(len(planned.Steps), "instruction"), ui.Count(len(planned.Images), "image"))
	_, err := fmt.Fprintf(d.term.Out, "\n%s\n", d.term.OutStyle.Green(summary))
	return err
}

// The statuses of a plan, as -o json has them.
const (
	planOK             = "ok"
	planSetup          = "setup_error" // the target itself can't be read
	planInterpretation = "interpretation_error"
	planValidation     = "validation_error"
)

// planJSON is the document of plan -o json (docs/formats/cli-json.md).
type planJSON struct {
	Status       string            `json:"status"`
	Package      string            `json:"package"`
	Instructions []planInstruction `json:"instructions"`
	Images       []string          `json:"images"`
	Packages     []string          `json:"packages"`
	Output       string            `json:"output"`
	Warnings     []string          `json:"warnings"`
	Errors       []*run.Problem    `json:"errors"`
}

type planInstruction struct {
	ID          plan.StepID `json:"id"`
	Name        string      `json:"name"`
	Position    string      `json:"position"` // file[line:col]
	Call        string      `json:"call"`
	Arguments   []plan.Arg  `json:"arguments"`
	Description string      `json:"description"`
	Returned    string      `json:"returned"`
	Effects     effectsJSON `json:"effects"`
}

type effectsJSON struct {
	Reads  []plan.Key `json:"reads"`
	Writes []plan.Key `json:"writes"`
}

func planDocument(planned run.Planned, opened bool) planJSON {
	doc := planJSON{
		Status: planStatus(planned, opened), Instructions: []planInstruction{}, Images: []string{},
		Packages: []string{}, Warnings: []string{}, Errors: emptyNotNull(planned.Problems),
	}
	if planned.Plan == nil {
		return doc
	}
	doc.Package, doc.Output = planned.Plan.PackageID, planned.Plan.Output
	doc.Packages, doc.Warnings = emptyNotNull(planned.Plan.Packages), emptyNotNull(planned.Plan.Warnings)
	for _, step := range planned.Plan.Steps {
		call, effects := step.Call(), step.Effects().Normal()
		doc.Instructions = append(doc.Instructions, planInstruction{
			ID: call.ID, Name: call.Name, Position: call.At().String(), Call: call.Text,
			Arguments: emptyNotNull(call.Args), Description: call.Description,
			Returned: planned.Plan.Returned[call.ID],
			Effects:  effectsJSON{Reads: emptyNotNull(effects.Reads), Writes: emptyNotNull(effects.Writes)},
		})
	}
	for _, image := range planned.Images {
		doc.Images = append(doc.Images, image.Ref)
	}
	return doc
}

func planStatus(planned run.Planned, opened bool) string {
	switch {
	case !opened:
		return planSetup
	case planned.Plan == nil:
		return planInterpretation
	case len(planned.Problems) > 0:
		return planValidation
	}
	return planOK
}
