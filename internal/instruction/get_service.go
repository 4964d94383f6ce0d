package instruction

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/lang/types"
	"github.com/lepto-dev/lepto/internal/plan"
)

// getServiceArgs are the parameters of plan.get_service.
type getServiceArgs struct {
	_    struct{} `doc:"Gives a service that was added before, in this plan or an earlier run."`
	Name string   `star:"name,repr" check:"nonempty" doc:"the service"`
}

func buildGetService(c *lang.Call, a *getServiceArgs) (plan.Step, starlark.Value, error) {
	known, err := serviceOf(c, a.Name)
	if err != nil {
		return nil, nil, err
	}
	value, err := lang.Copy(known.value)
	if err != nil {
		return nil, nil, err
	}
	call := c.Plan("Fetching service '%s'", a.Name)
	return &getServices{called{call}, []knownService{known}, fmt.Sprintf("Fetched service '%s'", a.Name)}, value, nil
}

// knownService is a service at a point of the script. Scripts get copies of its
// value, so that what one does to a copy is its own.
type knownService struct {
	name    string
	valueID string
	value   starlark.Value
}

// serviceOf gives one service at this point of the script; an E0216 if there is
// none.
func serviceOf(c *lang.Call, name string) (knownService, error) {
	if value, added := c.Recall(servicesKind, name); value != nil {
		id, err := c.ServiceValueID(name)
		return knownService{name, id, value}, err
	} else if !added { // and not removed either
		for _, service := range c.Existing() {
			if service.Name == name {
				id, err := c.ServiceValueID(name)
				return knownService{name, id, types.ExistingService(name, id, service.Ports)}, err
			}
		}
	}
	services, err := knownServices(c)
	if err != nil {
		return knownService{}, err
	}
	f := fault.New("E0216", "service %q is not known here: neither this plan nor an earlier run added it", name)
	if near := fault.Nearest(name, slices.Collect(maps.Keys(services))); near != "" {
		f.WithHint("did you mean %q?", near)
	}
	return knownService{}, f
}

// knownServices gives the services at this point of the script, by name.
func knownServices(c *lang.Call) (map[string]knownService, error) {
	known := map[string]knownService{}
	for _, service := range c.Existing() {
		id, err := c.ServiceValueID(service.Name)
		if err != nil {
			return nil, err
		}
		known[service.Name] = knownService{service.Name, id, types.ExistingService(service.Name, id, service.Ports)}
	}
	for name, value := range c.Recalled(servicesKind) {
		if value == nil {
			delete(known, name) // removed in this plan
			continue
		}
		id, err := c.ServiceValueID(name)
		if err != nil {
			return nil, err
		}
		known[name] = knownService{name, id, value}
	}
	return known, nil
}

// getServices only names services: get_service and get_services.
type getServices struct {
	called
	services []knownService
	text     string
}

// Effects: it reads the services, and tells their addresses.
func (s *getServices) Effects() plan.Effects {
	e := plan.Effects{Addresses: map[plan.Key]plan.Key{}}
	for _, service := range s.services {
		e.Reads = append(e.Reads, plan.ServiceKey(service.name))
		e.Addresses[plan.ValueKey(service.valueID)] = plan.ServiceKey(service.name)
	}
	return e
}

// Validate checks that the services are there.
func (s *getServices) Validate(f *plan.Forecast) []error {
	var errs []error
	for _, service := range s.services {
		_, err := f.Service(service.name)
		errs = append(errs, one(err)...)
	}
	return errs
}

// Execute has nothing to do.
func (s *getServices) Execute(context.Context, *plan.Execution) (plan.Outcome, error) {
	return plan.Outcome{Text: s.text}, nil
}
