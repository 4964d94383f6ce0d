package instruction

import (
	"context"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/plan"
)

// printArgs are the parameters of plan.print.
type printArgs struct {
	_   struct{}       `doc:"Shows a message when the plan comes to it, with values of instructions filled in."`
	Msg starlark.Value `star:"msg,repr" doc:"any value; a string is shown as it is"`
}

func buildPrint(c *lang.Call, a *printArgs) (plan.Step, starlark.Value, error) {
	text, ok := starlark.AsString(a.Msg)
	if !ok {
		text = a.Msg.String()
	}
	return &printStep{called{c.Plan("Printing a message")}, text}, nil, nil
}

// printStep shows a text.
type printStep struct {
	called
	text string
}

// Effects: it reads the values in its text, and says it at its place.
func (s *printStep) Effects() plan.Effects {
	return plan.Effects{Reads: plan.ReferenceKeys(s.text), Order: plan.Tell}
}

// Validate has nothing to check.
func (s *printStep) Validate(*plan.Forecast) []error { return nil }

// Execute gives the text with its values.
func (s *printStep) Execute(_ context.Context, x *plan.Execution) (plan.Outcome, error) {
	text, err := x.Values.Text(s.text)
	return plan.Outcome{Text: text}, err
}
