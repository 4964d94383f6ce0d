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
	Interval  string          `star:"interval,?,repr" check:"duration" doc:"the first pause between two tries, not below zero; 1s if not given"`
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
	if a.interval < 0 {
		wrong := &lang.ArgsError{}
		wrong.Add("interval", errors.New("must not be below zero"))
		return wrong
	}
	return a.Target.Fits(a.Assertion)
}

func buildWait(c *lang.Call, a *waitArgs) (plan.Step, starlark.Value, error) {
	step := &waitStep{
		called:  called{c.Plan("Waiting for at most '%s' for service '%s' to reach a certain state", a.timeout, a.Service)},
		service: a.Service, valueID: c.NewID(),
		wait: recipe.Wait{
			Recipe:    a.Recipe.Recipe,
			Condition: recipe.Condition{Field: a.Field, Assertion: a.Assertion, Target: a.Target.Value},
			Interval:  a.interval, Timeout: max(a.timeout, 0),
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

// Effects: a wait only looks, and holds up what comes after it.
func (s *waitStep) Effects() plan.Effects {
	e := probeEffects(s.service, s.wait.Recipe, s.valueID)
	e.Reads = append(e.Reads, plan.ReferenceKeys(plan.TextsIn(s.wait.Condition.Target)...)...)
	e.Order = plan.Hold
	return e
}

// Validate checks that the service, and for a request its port, is there.
func (s *waitStep) Validate(f *plan.Forecast) []error {
	return append(one(checkProbe(f, s.service, s.wait.Recipe)), recipe.Check(s.wait.Recipe)...)
}

// Execute waits, for as long as there is a process to wait for.
func (s *waitStep) Execute(ctx context.Context, x *plan.Execution) (plan.Outcome, error) {
	wait := s.wait
	wait.Progress = x.Progress
	running, letGo := x.Enclave.WhileRuns(ctx, s.service)
	defer letGo()
	waited, err := wait.Run(running, x.Enclave, s.service, x.Values)
	if err != nil {
		return plan.Outcome{}, seen(ctx, x, s.service, err)
	}
	if err := x.Values.Set(s.valueID, waited.Result.Fields); err != nil {
		return plan.Outcome{}, err
	}
	return plan.Outcome{Text: fmt.Sprintf("Wait took %d tries (%s in total). Assertion passed with following:\n%s",
		waited.Tries, waited.Elapsed, waited.Result.Text)}, nil
}
