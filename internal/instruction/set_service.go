package instruction

import (
	"context"
	"fmt"
	"slices"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/lang/types"
	"github.com/lepto-dev/lepto/internal/plan"
)

// setServiceArgs are the parameters of plan.set_service.
type setServiceArgs struct {
	_      struct{}             `doc:"Changes the config of a service that add_service adds in this plan: its image, limits, user, labels and privileges, where they are given. It changes what add_service does, not a service that runs."`
	Name   string               `star:"name,repr" check:"nonempty" doc:"the service"`
	Config *types.ServiceConfig `star:"config,repr" doc:"what is to be different; ports, files, environment and command can't be"`
}

// The kinds under which additions, and overrides that came before them, are
// remembered.
const (
	additionKind = "addition"
	overrideKind = "override"
)

func buildSetService(c *lang.Call, a *setServiceArgs) (plan.Step, starlark.Value, error) {
	change, err := a.Config.Override(c)
	if err != nil {
		return nil, nil, err
	}
	step := &setService{called{c.Plan("Setting config of service '%s'", a.Name)}, a.Name}
	if value, ok := c.Recall(additionKind, a.Name); ok && value != nil {
		change(&value.(remembered).addition.config)
		return step, nil, nil
	}
	existing := func(s lang.ExistingService) bool { return s.Name == a.Name }
	if !slices.ContainsFunc(c.Existing(), existing) {
		return nil, nil, fault.New("E0225", "set_service: no add_service of %q came before", a.Name).
			WithHint("call add_service first; services of add_services can't be set")
	}
	// A service of an earlier run: what this plan will add under its name. Until it
	// does, nothing has come of this.
	c.Warn("set_service: this plan does not add %q before: the service that is there stays as it is, "+
		"and the config counts only for an add_service of this plan that follows", a.Name)
	c.Remember(overrideKind, a.Name, remembered{change: change})
	return step, nil, nil
}

// applyOverride changes an addition as a set_service before it has said.
func applyOverride(c *lang.Call, a *addition) {
	if value, ok := c.Recall(overrideKind, a.name); ok && value != nil {
		value.(remembered).change(&a.config)
		c.Remember(overrideKind, a.name, nil)
	}
	c.Remember(additionKind, a.name, remembered{addition: a})
}

// remembered is what set_service has to know of the calls before it, in the
// form in which an interpretation remembers.
type remembered struct {
	addition *addition
	change   func(*enclave.ServiceConfig)
}

var _ starlark.Value = remembered{}

// String gives the type: no script ever sees one.
func (remembered) String() string { return "remembered" }

// Type names the type.
func (remembered) Type() string { return "remembered" }

// Freeze has nothing to do.
func (remembered) Freeze() {}

// Truth is true.
func (remembered) Truth() starlark.Bool { return true }

// Hash fails.
func (remembered) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable type: remembered") }

// setService tells that a config was changed, which happened before anything ran.
type setService struct {
	called
	name string
}

// Effects: it belongs to the service's addition.
func (s *setService) Effects() plan.Effects {
	return plan.Effects{Reads: []plan.Key{plan.ServiceKey(s.name)}}
}

// Validate checks that the service is there.
func (s *setService) Validate(f *plan.Forecast) []error {
	_, err := f.Service(s.name)
	return one(err)
}

// Execute has nothing to do: the addition has the config.
func (s *setService) Execute(context.Context, *plan.Execution) (plan.Outcome, error) {
	return plan.Outcome{Text: fmt.Sprintf("Set service config on service '%s'.", s.name)}, nil
}
