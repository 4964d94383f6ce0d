package instruction

import (
	"context"
	"fmt"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/plan"
)

// stopServiceArgs are the parameters of plan.stop_service.
type stopServiceArgs struct {
	_    struct{} `doc:"Stops a service. Its files stay, and start_service starts it again."`
	Name string   `star:"name,repr" check:"nonempty" doc:"the service"`
}

func buildStopService(c *lang.Call, a *stopServiceArgs) (plan.Step, starlark.Value, error) {
	return &stopService{called{c.Plan("Stopping service '%s'", a.Name)}, a.Name}, nil, nil
}

// stopService stops a running service.
type stopService struct {
	called
	name string
}

// Effects: it changes the service.
func (s *stopService) Effects() plan.Effects {
	key := plan.ServiceKey(s.name)
	return plan.Effects{Writes: []plan.Key{key}, Leaves: map[plan.Key]plan.Condition{key: plan.Stopped}}
}

// Validate checks that the service is there.
func (s *stopService) Validate(f *plan.Forecast) []error {
	_, err := f.Service(s.name)
	return one(err)
}

// Execute stops it.
func (s *stopService) Execute(ctx context.Context, x *plan.Execution) (plan.Outcome, error) {
	if err := x.Enclave.StopService(ctx, s.name); err != nil {
		return plan.Outcome{}, err
	}
	return plan.Outcome{Text: fmt.Sprintf("Service '%s' stopped", s.name)}, nil
}
