//go:build !front

package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/plan"
	"github.com/lepto-dev/lepto/internal/run"
	"github.com/lepto-dev/lepto/internal/ui"
)

type planOptions struct {
	codeOptions
	verbosity string
	output    choice
	graph     choice
}

func newPlan(d *deps) *cobra.Command {
	var o planOptions
	cmd := &cobra.Command{
		Use: "plan TARGET [ARGS]", Args: args(1, 2),
		Short: planShort,
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
	o.graph = choice{words: []string{"text", "dot", "mermaid"}}
	flag := cmd.Flags().VarPF(&o.graph, "graph", "", "show what has to come after what instead: as text, for Graphviz or for Mermaid")
	flag.NoOptDefVal = "text"
	addChoiceCompletion(cmd, "graph", o.graph.words)
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
	planned, pkg := o.codeOptions.plan(ctx, d, what, argsJSON)
	if err := context.Cause(ctx); err != nil {
		return err
	}
	switch {
	case o.output.json():
		var doc planJSON
		if doc, err = planDocument(planned, pkg != nil); err == nil {
			err = d.json(doc)
		}
	case o.graph.value != "" && len(planned.Problems) == 0:
		err = d.writeGraph(planned, o.graph.value)
	default:
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

// writeGraph shows the graph of a plan, and nothing else on stdout.
func (d *deps) writeGraph(planned run.Planned, form string) error {
	graph := plan.NewGraph(planned.Plan.Steps)
	for _, text := range planned.Plan.Warnings {
		d.warn("%s", text)
	}
	text := graph.Text()
	switch form {
	case "dot":
		text = graph.DOT()
	case "mermaid":
		text = graph.Mermaid()
	}
	_, err := io.WriteString(d.term.Out, d.term.ForOut(text))
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
	PlanYAML     string            `json:"plan_yaml"` // as the wire API gives it
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
	After       []int       `json:"after"` // numbers, from 1, of those that it comes after; what these come after is left out
}

type effectsJSON struct {
	Reads   []plan.Key `json:"reads"`
	Writes  []plan.Key `json:"writes"`
	Touches []plan.Key `json:"touches"`
}

func planDocument(planned run.Planned, opened bool) (planJSON, error) {
	doc := planJSON{
		Status: planStatus(planned, opened), Instructions: []planInstruction{}, Images: []string{},
		Packages: []string{}, Warnings: []string{}, Errors: emptyNotNull(planned.Problems),
	}
	if planned.Plan == nil {
		return doc, nil
	}
	doc.Package, doc.Output = planned.Plan.PackageID, planned.Plan.Output
	doc.Packages, doc.Warnings = emptyNotNull(planned.Plan.Packages), emptyNotNull(planned.Plan.Warnings)
	after := plan.NewGraph(planned.Plan.Steps).Reduced()
	for i, step := range planned.Plan.Steps {
		call, effects := step.Call(), step.Effects().Normal()
		doc.Instructions = append(doc.Instructions, planInstruction{
			ID: call.ID, Name: call.Name, Position: call.At().String(), Call: call.Shown(),
			Arguments: emptyNotNull(call.Args), Description: call.Description,
			Returned: planned.Plan.Returned[call.ID],
			Effects: effectsJSON{
				Reads: emptyNotNull(effects.Reads), Writes: emptyNotNull(effects.Writes), Touches: emptyNotNull(effects.Touches),
			},
			After: numbers(after[i]),
		})
	}
	for _, image := range planned.Images {
		doc.Images = append(doc.Images, image.Ref)
	}
	var err error
	doc.PlanYAML, err = planned.Plan.YAML()
	return doc, err
}

func numbers(links []plan.Link) []int {
	out := make([]int, len(links))
	for i, link := range links {
		out[i] = link.Step + 1
	}
	return out
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
