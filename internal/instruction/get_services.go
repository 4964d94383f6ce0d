package instruction

import (
	"maps"
	"slices"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/plan"
)

// getServicesArgs are the parameters of plan.get_services.
type getServicesArgs struct {
	_ struct{} `doc:"Gives all services that were added before, in this plan or an earlier run, sorted by name."`
}

func buildGetServices(c *lang.Call, _ *getServicesArgs) (plan.Step, starlark.Value, error) {
	services, err := knownServices(c)
	if err != nil {
		return nil, nil, err
	}
	names := slices.Sorted(maps.Keys(services))
	values := make([]starlark.Value, len(names))
	known := make([]knownService, len(names))
	for i, name := range names {
		known[i] = services[name]
		if values[i], err = lang.Copy(known[i].value); err != nil {
			return nil, nil, err
		}
	}
	const text = "Fetching services"
	return &getServices{called{c.Plan(text)}, known, text}, starlark.NewList(values), nil
}
