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
	services, err := knownServices(c)
	if err != nil {
		return nil, nil, err
	}
	value, ok := services[a.Name]
	if !ok {
		f := fault.New("E0216", "service %q is not known here: neither this plan nor an earlier run added it", a.Name)
		if near := fault.Nearest(a.Name, slices.Collect(maps.Keys(services))); near != "" {
			f.WithHint("did you mean %q?", near)
		}
		return nil, nil, f
	}
	call := c.Plan("Fetching service '%s'", a.Name)
	return &getServices{called{call}, []string{a.Name}, fmt.Sprintf("Fetched service '%s'", a.Name)}, value, nil
}

// knownServices gives the services at this point of the script, by name.
func knownServices(c *lang.Call) (map[string]starlark.Value, error) {
	known := map[string]starlark.Value{}
	for _, service := range c.Existing() {
		id, err := c.ServiceValueID(service.Name)
		if err != nil {
			return nil, err
		}
		known[service.Name] = types.ExistingService(service.Name, id, service.Ports)
	}
	for name, value := range c.Recalled(servicesKind) {
		known[name] = value
		if value == nil {
			delete(known, name) // removed in this plan
		}
	}
	return known, nil
}

// getServices only names services: get_service and get_services.
type getServices struct {
	called
	names []string
	text  string
}

// Effects: it reads the services.
func (s *getServices) Effects() plan.Effects {
	var keys []plan.Key
	for _, name := range s.names {
		keys = append(keys, plan.ServiceKey(name))
	}
	return plan.Effects{Reads: keys}
}

// Validate checks that the services are there.
func (s *getServices) Validate(f *plan.Forecast) []error {
	var errs []error
	for _, name := range s.names {
		_, err := f.Service(name)
		errs = append(errs, one(err)...)
	}
	return errs
}

// Execute has nothing to do.
func (s *getServices) Execute(context.Context, *plan.Execution) (plan.Outcome, error) {
	return plan.Outcome{Text: s.text}, nil
}
