package instruction

import (
	"context"
	"fmt"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/lang/types"
	"github.com/lepto-dev/lepto/internal/plan"
)

// updateServiceArgs are the parameters of plan.update_service.
type updateServiceArgs struct {
	_      struct{}                   `doc:"Moves a service to another subnetwork while it runs. Its process, address and ports stay."`
	Name   string                     `star:"name,repr" check:"nonempty" doc:"the service"`
	Config *types.UpdateServiceConfig `star:"config,repr" doc:"where it moves to"`
}

func buildUpdateService(c *lang.Call, a *updateServiceArgs) (plan.Step, starlark.Value, error) {
	return &updateService{called{c.Plan("Updating service '%s'", a.Name)}, a.Name, a.Config.Subnetwork}, nil, nil
}

// updateService moves a service.
type updateService struct {
	called
	name       string
	subnetwork string
}

// Effects: it changes what the service and all others see of each other.
func (s *updateService) Effects() plan.Effects {
	return plan.Effects{Writes: []plan.Key{plan.World, plan.ServiceKey(s.name)}}
}

// Validate checks the ability and the service.
func (s *updateService) Validate(f *plan.Forecast) []error {
	errs := f.CheckSubnetwork(s.name, s.subnetwork)
	_, err := f.Service(s.name)
	return append(errs, one(err)...)
}

// Execute moves it.
func (s *updateService) Execute(ctx context.Context, x *plan.Execution) (plan.Outcome, error) {
	service, err := x.Enclave.MoveService(ctx, s.name, s.subnetwork)
	if err != nil {
		return plan.Outcome{}, err
	}
	return plan.Outcome{Text: fmt.Sprintf("Service '%s' with UUID '%s' updated", service.Name, service.UUID)}, nil
}
