package instruction

import (
	"fmt"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/lang/types"
	"github.com/lepto-dev/lepto/internal/plan"
	"github.com/lepto-dev/lepto/internal/recipe"
)

// requestArgs are the parameters of plan.request.
type requestArgs struct {
	_         struct{}         `doc:"Sends an HTTP request to a service. Gives the response's status, its body, and what is extracted from it."`
	Service   string           `star:"service_name,repr" check:"nonempty" doc:"the service to ask"`
	Recipe    types.HTTPRecipe `star:"recipe,repr" doc:"what to ask"`
	Codes     []int64          `star:"acceptable_codes,?" doc:"statuses that are no failure; those of 2xx that mean success if not given"`
	SkipCheck bool             `star:"skip_code_check,?" doc:"accept any status"`
}

// successCodes are acceptable where none are given.
var successCodes = []int64{200, 201, 202, 203, 204, 205, 206, 207, 208, 226}

func buildRequest(c *lang.Call, a *requestArgs) (plan.Step, starlark.Value, error) {
	request, ok := a.Recipe.Recipe.(recipe.HTTP)
	if !ok {
		return nil, nil, fmt.Errorf("recipe of request is %T", a.Recipe.Recipe)
	}
	codes := a.Codes
	if codes == nil {
		codes = successCodes
	}
	if a.SkipCheck {
		codes = nil
	}
	step := &probe{
		called:  called{c.Plan("Running '%s' request on service '%s'", request.Method, a.Service)},
		service: a.Service, recipe: request, valueID: c.NewID(), codes: codes,
	}
	return step, references(step.valueID, request.Fields()), nil
}
