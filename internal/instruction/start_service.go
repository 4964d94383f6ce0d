package instruction

import (
	"context"
	"fmt"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/plan"
)

// startServiceArgs are the parameters of plan.start_service.
type startServiceArgs struct {
	_    struct{} `doc:"Starts a service that was stopped, with its files as they were."`
	Name string   `star:"name,repr" check:"nonempty" doc:"the service"`
}

func buildStartService(c *lang.Call, a *startServiceArgs) (plan.Step, starlark.Value, error) {
	return &startService{called{c.Plan("Starting service '%s'", a.Name)}, a.Name}, nil, nil
}

// startService starts a stopped service.
type startService struct {
	called
	name string
}

// Effects: it changes the service.
func (s *startService) Effects() plan.Effects {
	key := plan.ServiceKey(s.name)
	return plan.Effects{Writes: []plan.Key{key}, Leaves: map[plan.Key]plan.Condition{key: plan.Runs}}
}

// Validate checks that the service is there.
func (s *startService) Validate(f *plan.Forecast) []error {
	_, err := f.Service(s.name)
	return one(err)
}

// Execute starts it.
func (s *startService) Execute(ctx context.Context, x *plan.Execution) (plan.Outcome, error) {
	if err := x.Enclave.StartService(ctx, s.name); err != nil {
		return plan.Outcome{}, err
	}
	return plan.Outcome{Text: fmt.Sprintf("Service '%s' started", s.name)}, nil
}
