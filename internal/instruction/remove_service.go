package instruction

import (
	"context"
	"fmt"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/plan"
)

// removeServiceArgs are the parameters of plan.remove_service.
type removeServiceArgs struct {
	_    struct{} `doc:"Stops a service and forgets it; its name is free again."`
	Name string   `star:"name,repr" doc:"the service"`
}

func buildRemoveService(c *lang.Call, a *removeServiceArgs) (plan.Step, starlark.Value, error) {
	c.Remember(servicesKind, a.Name, nil)
	return &removeService{called{c.Plan("Removing service '%s'", a.Name)}, a.Name}, nil, nil
}

// removeService removes a service.
type removeService struct {
	called
	name string
}

// Effects: it ends the service.
func (s *removeService) Effects() plan.Effects {
	key := plan.ServiceKey(s.name)
	return plan.Effects{Writes: []plan.Key{key}, Leaves: map[plan.Key]plan.Condition{key: plan.Gone}}
}

// Validate checks that the service is there, and frees its name.
func (s *removeService) Validate(f *plan.Forecast) []error { return one(f.RemoveService(s.name)) }

// Outline takes the service out.
func (s *removeService) Outline(o *plan.Outline) { o.RemoveService(s.name) }

// Execute removes it.
func (s *removeService) Execute(ctx context.Context, x *plan.Execution) (plan.Outcome, error) {
	service, err := x.Enclave.Service(s.name)
	if err != nil {
		return plan.Outcome{}, err
	}
	if err := x.Enclave.RemoveService(ctx, service.UUID); err != nil {
		return plan.Outcome{}, err
	}
	return plan.Outcome{Text: fmt.Sprintf("Service '%s' with service UUID '%s' removed", service.Name, service.UUID)}, nil
}
