package instruction

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/lang/types"
	"github.com/lepto-dev/lepto/internal/plan"
	"github.com/lepto-dev/lepto/internal/recipe"
)

// waitArgs are the parameters of plan.wait.
type waitArgs struct {
	_         struct{}        `doc:"Runs a recipe again and again until a field of its result fits. Gives the last result."`
	Service   string          `star:"service_name" check:"nonempty" doc:"the service to run it on"`
	Recipe    types.AnyRecipe `star:"recipe,repr" doc:"what to run or ask"`
	Field     string          `star:"field,repr" doc:"which field of the result: code, output, body or extract.<name>"`
	Assertion string          `star:"assertion,repr" check:"enum===|!=|>=|>|<=|<|IN|NOT_IN" doc:"how it must compare"`
	Target    types.Target    `star:"target_value,repr" doc:"with what"`
	Interval  string          `star:"interval,?,repr" check:"duration" doc:"the first pause between two tries; 1s if not given"`
	Timeout   string          `star:"timeout,?,repr" check:"duration" doc:"how long it may take; 10s if not given"`

	interval, timeout time.Duration
}

// Validate reads the durations and checks what is compared.
func (a *waitArgs) Validate() error {
	a.interval, a.timeout = time.Second, 10*time.Second
	var err error
	if a.Interval != "" {
		if a.interval, err = lang.ParseDuration(a.Interval); err != nil {
			return err
		}
	}
	if a.Timeout != "" {
		if a.timeout, err = lang.ParseDuration(a.Timeout); err != nil {
			return err
		}
	}
	if a.interval <= 0 {
		return errors.New("interval must be above zero")
	}
	return recipe.CheckAssertion(a.Assertion, a.Target.Value)
}

func buildWait(c *lang.Call, a *waitArgs) (plan.Step, starlark.Value, error) {
	step := &waitStep{
		called:  called{c.Plan("Waiting for at most '%s' for service '%s' to reach a certain state", a.timeout, a.Service)},
		service: a.Service, valueID: c.NewID(),
		wait: recipe.Wait{
			Recipe:    a.Recipe.Recipe,
			Condition: recipe.Condition{Field: a.Field, Assertion: a.Assertion, Target: a.Target.Value},
			Interval:  a.interval, Timeout: a.timeout,
		},
	}
	return step, references(step.valueID, step.wait.Recipe.Fields()), nil
}

// waitStep repeats a recipe.
type waitStep struct {
	called
	service string
	valueID string
	wait    recipe.Wait
}

// Effects are those of a recipe.
func (s *waitStep) Effects() plan.Effects {
	return plan.Effects{
		Reads:  plan.ReferenceKeys(s.wait.Recipe.Texts()...),
		Writes: []plan.Key{plan.ServiceKey(s.service), plan.ValueKey(s.valueID)},
	}
}

// Validate checks that the service, and for a request its port, is there.
func (s *waitStep) Validate(f *plan.Forecast) []error {
	return one(checkProbe(f, s.service, s.wait.Recipe))
}

// Execute waits.
func (s *waitStep) Execute(ctx context.Context, x *plan.Execution) (plan.Outcome, error) {
	waited, err := s.wait.Run(ctx, x.Enclave, s.service, x.Values.Text)
	if err != nil {
		return plan.Outcome{}, err
	}
	if err := x.Values.Set(s.valueID, waited.Result.Fields); err != nil {
		return plan.Outcome{}, err
	}
	return plan.Outcome{Text: fmt.Sprintf("Wait took %d tries (%s in total). Assertion passed with following:\n%s",
		waited.Tries, waited.Elapsed, waited.Result.Text)}, nil
}
