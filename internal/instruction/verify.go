package instruction

import (
	"context"
	"fmt"
	"strings"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/lang/types"
	"github.com/lepto-dev/lepto/internal/plan"
	"github.com/lepto-dev/lepto/internal/recipe"
)

// verifyArgs are the parameters of plan.verify, and of plan.assert, which is its
// name in the classic dialect.
type verifyArgs struct {
	_         struct{}     `doc:"Fails the run unless a value compares to another as the assertion says. Values of different types never do."`
	Value     string       `star:"value,repr" doc:"a value of an instruction, or a text"`
	Assertion string       `star:"assertion,repr" check:"enum===|!=|>=|>|<=|<|IN|NOT_IN" doc:"how it must compare"`
	Target    types.Target `star:"target_value,repr" doc:"with what"`
}

// Validate checks that IN has something to look in.
func (a *verifyArgs) Validate() error { return a.Target.Fits(a.Assertion) }

func buildVerify(c *lang.Call, a *verifyArgs) (plan.Step, starlark.Value, error) {
	return newVerify(c, a, "Verification")
}

func buildAssert(c *lang.Call, a *verifyArgs) (plan.Step, starlark.Value, error) {
	return newVerify(c, a, "Assertion")
}

func newVerify(c *lang.Call, a *verifyArgs, word string) (plan.Step, starlark.Value, error) {
	call := c.Plan("Verifying whether two values meet a certain condition '%s'", a.Assertion)
	return &verify{called{call}, a.Value, a.Assertion, a.Target.Value, word}, nil, nil
}

// verify compares two values.
type verify struct {
	called
	value     string
	assertion string
	target    starlark.Value
	word      string
}

// Effects: it reads the values it compares. What comes after it is not to happen
// if it fails.
func (s *verify) Effects() plan.Effects {
	return plan.Effects{Reads: plan.ReferenceKeys(append(plan.TextsIn(s.target), s.value)...), Order: plan.Gate}
}

// Validate has nothing to check.
func (s *verify) Validate(*plan.Forecast) []error { return nil }

// Execute compares.
func (s *verify) Execute(_ context.Context, x *plan.Execution) (plan.Outcome, error) {
	value, err := x.Values.Typed(s.value)
	if err != nil {
		return plan.Outcome{}, err
	}
	target, err := x.Values.Value(s.target)
	if err != nil {
		return plan.Outcome{}, err
	}
	if err := recipe.AssertAs(strings.ToLower(s.word), value, s.assertion, target); err != nil {
		return plan.Outcome{}, err
	}
	return plan.Outcome{Text: fmt.Sprintf("%s succeeded. Value is '%s'.", s.word, value)}, nil
}
