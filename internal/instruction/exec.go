package instruction

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/lang/types"
	"github.com/lepto-dev/lepto/internal/plan"
	"github.com/lepto-dev/lepto/internal/recipe"
)

// execArgs are the parameters of plan.exec.
type execArgs struct {
	_         struct{}          `doc:"Runs a command in a service and waits for it to end. Gives its exit code, its output, and what is extracted from it."`
	Service   string            `star:"service_name,repr" check:"nonempty" doc:"the service to run the command in"`
	Recipe    *types.ExecRecipe `star:"recipe,repr" doc:"what to run"`
	Codes     []int64           `star:"acceptable_codes,?" doc:"exit codes that are no failure; [0] if not given"`
	SkipCheck bool              `star:"skip_code_check,?" doc:"accept any exit code"`
}

func buildExec(c *lang.Call, a *execArgs) (plan.Step, starlark.Value, error) {
	codes := a.Codes
	if codes == nil {
		codes = []int64{0}
	}
	if a.SkipCheck {
		codes = nil
	}
	step := &probe{
		called:  called{c.Plan("Executing command on service '%s'", a.Service)},
		service: a.Service, recipe: a.Recipe.Recipe(), valueID: c.NewID(), codes: codes,
	}
	return step, references(step.valueID, step.recipe.Fields()), nil
}

// probe runs a recipe once: exec and request.
type probe struct {
	called
	service string
	recipe  recipe.Recipe
	valueID string
	codes   []int64 // acceptable ones; nil: all
}

// Effects: a recipe may change its service, and gives a value.
func (s *probe) Effects() plan.Effects {
	return plan.Effects{
		Reads:  plan.ReferenceKeys(s.recipe.Texts()...),
		Writes: []plan.Key{plan.ServiceKey(s.service), plan.ValueKey(s.valueID)},
	}
}

// Validate checks that the service, and for a request its port, is there.
func (s *probe) Validate(f *plan.Forecast) []error { return one(checkProbe(f, s.service, s.recipe)) }

func checkProbe(f *plan.Forecast, service string, r recipe.Recipe) error {
	if request, ok := r.(recipe.HTTP); ok {
		_, err := f.Port(service, request.PortID)
		return err
	}
	_, err := f.Service(service)
	return err
}

// Execute runs the recipe. The value is set only if the code is acceptable.
func (s *probe) Execute(ctx context.Context, x *plan.Execution) (plan.Outcome, error) {
	result, err := s.recipe.Run(ctx, x.Enclave, s.service, x.Values.Text)
	if err != nil {
		return plan.Outcome{}, err
	}
	if s.codes != nil && !slices.Contains(s.codes, int64(result.Code())) {
		return plan.Outcome{}, s.unacceptable(result)
	}
	if err := x.Values.Set(s.valueID, result.Fields); err != nil {
		return plan.Outcome{}, err
	}
	return plan.Outcome{Text: result.Text}, nil
}

// evidenceLines bounds the lines of output shown with a failure.
const evidenceLines = 20

func (s *probe) unacceptable(result recipe.Result) error {
	output, what, kind := "output", "the command on service %q ended with exit code %d", "E0510"
	if _, isRequest := s.recipe.(recipe.HTTP); isRequest {
		output, what, kind = "body", "the request to service %q was answered with status %d", "E0511"
	}
	codes := make([]string, len(s.codes))
	for i, code := range s.codes {
		codes[i] = fmt.Sprint(code)
	}
	f := fault.New(kind, what+"; acceptable is %s", s.service, result.Code(), strings.Join(codes, ", "))
	if len(codes) == 0 {
		f = fault.New(kind, what+"; acceptable_codes is empty", s.service, result.Code())
	}
	text, _ := starlark.AsString(result.Fields[output])
	if text = strings.TrimRight(text, "\n"); text != "" {
		lines := strings.Split(text, "\n")
		f.WithEvidence("its "+output, lines[max(0, len(lines)-evidenceLines):]...)
	}
	return f.WithHint("acceptable_codes lists the codes that are no failure; skip_code_check = True accepts any")
}
