package instruction

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/backend"
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
	shown := a.Codes
	if shown == nil {
		shown = []int64{0}
	}
	codes := shown
	if a.SkipCheck {
		codes = nil
	}
	step := &probe{
		called:  called{c.Plan("Executing command on service '%s'", a.Service)},
		service: a.Service, recipe: a.Recipe.Recipe(), valueID: c.NewID(), codes: codes,
	}
	step.outline = &plan.OutlineTask{
		Name: step.call.Description, Type: "exec", ValueID: step.valueID,
		Command: a.Recipe.Command, Service: a.Service, Codes: shown,
	}
	return step, references(step.valueID, step.recipe.Fields()), nil
}

// probe runs a recipe once: exec and request.
type probe struct {
	called
	service string
	recipe  recipe.Recipe
	valueID string
	codes   []int64           // acceptable ones; nil: all
	outline *plan.OutlineTask // nil: not shown in the plan's document
}

// Effects: a recipe may change its service, unless it only gets what is there,
// and gives a value.
func (s *probe) Effects() plan.Effects {
	e := probeEffects(s.service, s.recipe, s.valueID)
	if request, ok := s.recipe.(recipe.HTTP); !ok || request.Method != http.MethodGet {
		e.Writes, e.Touches = append(e.Writes, e.Touches...), nil
	}
	return e
}

// probeEffects are those of a recipe that changes nothing that lasts.
func probeEffects(service string, r recipe.Recipe, valueID string) plan.Effects {
	return plan.Effects{
		Reads:   plan.ReferenceKeys(r.Texts()...),
		Writes:  []plan.Key{plan.ValueKey(valueID)},
		Touches: []plan.Key{plan.ServiceKey(service)},
		Texts:   r.Texts(),
		Acts:    true,
		Unread:  true,
	}
}

// Validate checks that the service, and for a request its port, is there.
func (s *probe) Validate(f *plan.Forecast) []error {
	return append(one(checkProbe(f, s.service, s.recipe)), recipe.Check(s.recipe)...)
}

func checkProbe(f *plan.Forecast, service string, r recipe.Recipe) error {
	if request, ok := r.(recipe.HTTP); ok {
		return checkRequest(f, service, request)
	}
	_, err := f.Service(service)
	return err
}

// Outline shows a command; requests are not shown.
func (s *probe) Outline(o *plan.Outline) {
	if s.outline != nil {
		o.AddTask(*s.outline)
	}
}

// checkRequest checks that the port is there, and can be asked.
func checkRequest(f *plan.Forecast, service string, request recipe.HTTP) error {
	port, err := f.Port(service, request.PortID)
	if err == nil && port.Transport != backend.TCP && port.Transport != "" {
		err = fault.New("E0517", "port %q of service %q is %s, where no HTTP request can be sent",
			request.PortID, service, strings.ToUpper(string(port.Transport)))
	}
	return err
}

// Execute runs the recipe. The value is set only if the code is acceptable.
func (s *probe) Execute(ctx context.Context, x *plan.Execution) (plan.Outcome, error) {
	result, err := s.recipe.Run(ctx, x.Enclave, s.service, x.Values.Text)
	if err != nil {
		return plan.Outcome{}, seen(ctx, x, s.service, answered(err, result))
	}
	if s.codes != nil && !slices.Contains(s.codes, int64(result.Code())) {
		return plan.Outcome{}, s.unacceptable(ctx, x, result)
	}
	if err := x.Values.Set(s.valueID, result.Fields); err != nil {
		return plan.Outcome{}, err
	}
	return plan.Outcome{Text: result.Text}, nil
}

// seen adds to the failure of a recipe what is to be seen of its service: whether
// it runs, where it listens, the end of its log.
func seen(ctx context.Context, x *plan.Execution, service string, err error) error {
	var f *fault.Fault
	if ctx.Err() != nil || !errors.As(err, &f) || errors.Is(err, fault.ErrNotRunning) {
		return err // cancelled; or it says so itself
	}
	told := *fault.From(err, f.Code)
	if ended := x.Enclave.Ended(ctx, service, 0); ended != nil {
		return instead(ended, told.Summary)
	}
	told.Evidence = slices.Concat(f.Evidence, x.Enclave.Evidence(ctx, service))
	return &told
}

// answered adds to a failure the answer that there was, where only what was to be
// extracted from it was not there.
func answered(err error, result recipe.Result) error {
	var f *fault.Fault
	if result.Text == "" || !errors.As(err, &f) {
		return err
	}
	told := *fault.From(err, f.Code)
	told.Evidence = slices.Clone(told.Evidence)
	return told.WithEvidence("the answer", recipe.Tail(result.Text)...)
}

// instead gives the cause of a failure, with what failed by it as evidence.
func instead(cause *fault.Fault, failed string) error {
	f := *cause
	f.Evidence = slices.Concat([]fault.Evidence{{Title: "what failed", Lines: strings.Split(failed, "\n")}}, f.Evidence)
	return &f
}

const (
	// killedCode is the code of what SIGKILL has ended: of a command as well
	// whose service ended before it.
	killedCode = 137
	// endPatience bounds the wait for the end of a service whose command was
	// killed: it is recorded a moment later.
	endPatience = time.Second
)

func (s *probe) unacceptable(ctx context.Context, x *plan.Execution, result recipe.Result) error {
	f := s.badCode(result)
	if _, isExec := s.recipe.(recipe.Exec); !isExec {
		return f
	}
	if result.Code() == killedCode && !result.OOM {
		if ended := x.Enclave.Ended(ctx, s.service, endPatience); ended != nil {
			return instead(ended, f.Summary)
		}
	}
	if result.OOM {
		f = outOfMemory(x, s.service, fault.New(f.Code, "the command on service %q ended with exit code %d", s.service, result.Code()), f)
	}
	return f
}

// outOfMemory gives the fault what, which says how something ended in a service
// that the kernel killed a process of, with the reason and the evidence of plain.
func outOfMemory(x *plan.Execution, service string, what, plain *fault.Fault) *fault.Fault {
	what.Summary += ": out of memory"
	what.Evidence = plain.Evidence
	var limit uint64
	if s, err := x.Enclave.Service(service); err == nil {
		limit = s.Config.MaxMemory
	}
	if limit == 0 {
		return what.WithHint("the service has no limit of its own: the host has run out of memory")
	}
	what.Summary += fmt.Sprintf(" (limit %d MB)", limit)
	return what.WithHint("give the service more: ServiceConfig(max_memory = …), in megabytes")
}

func (s *probe) badCode(result recipe.Result) *fault.Fault {
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
	return f.WithEvidence("its "+output, recipe.Tail(text)...).WithHint("acceptable_codes lists the codes that are no failure; skip_code_check = True accepts any")
}
