package instruction

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/lang/types"
	"github.com/lepto-dev/lepto/internal/plan"
)

// addServicesArgs are the parameters of plan.add_services.
type addServicesArgs struct {
	_           struct{}     `doc:"Adds several services at once: all of them, or none of the new ones."`
	Configs     namedConfigs `star:"configs,repr" doc:"what they are to be, by name"`
	ForceUpdate bool         `star:"force_update,?" doc:"replace those that exist even if nothing about them has changed"`
}

// namedConfigs are the configs in the script's order.
type namedConfigs []namedConfig

type namedConfig struct {
	name   string
	config *types.ServiceConfig
}

// Wants names what is taken.
func (*namedConfigs) Wants() string { return "dict of string to ServiceConfig" }

// UnpackStar reads them, and gathers what is wrong with any.
func (n *namedConfigs) UnpackStar(v starlark.Value) error {
	dict, ok := v.(*starlark.Dict)
	if !ok {
		return fmt.Errorf("must be a dict, not %s", lang.Describe(v))
	}
	if dict.Len() == 0 {
		return fmt.Errorf("must not be empty")
	}
	wrong := &lang.ArgsError{}
	for _, item := range dict.Items() {
		name, ok := starlark.AsString(item[0])
		if !ok {
			wrong.Add("", fmt.Errorf("must have names as keys, not %s", item[0]))
			continue
		}
		config, err := lang.As[types.ServiceConfig](item[1])
		if err != nil {
			wrong.Add(fmt.Sprintf("[%q]", name), err)
			continue
		}
		*n = append(*n, namedConfig{name, config})
	}
	return wrong.OrNil()
}

func buildAddServices(c *lang.Call, a *addServicesArgs) (plan.Step, starlark.Value, error) {
	step := &addServices{force: a.ForceUpdate}
	result := starlark.NewDict(len(a.Configs))
	names := make([]string, 0, len(a.Configs))
	for _, named := range a.Configs {
		added, value, err := newAddition(c, named.name, named.config)
		if err != nil {
			return nil, nil, err
		}
		if err := result.SetKey(starlark.String(named.name), value); err != nil {
			return nil, nil, err
		}
		step.additions = append(step.additions, added)
		names = append(names, named.name)
	}
	step.call = c.Plan("Adding '%d' services with names '%s'", len(names), strings.Join(names, ","))
	return step, result, nil
}

// addServices adds a batch of services.
type addServices struct {
	called
	additions []*addition
	force     bool
}

// Effects are those of all additions.
func (s *addServices) Effects() plan.Effects {
	all := plan.Effects{Addresses: map[plan.Key]plan.Key{}, Leaves: map[plan.Key]plan.Condition{}}
	for _, a := range s.additions {
		e := a.effects()
		all.Reads, all.Writes = append(all.Reads, e.Reads...), append(all.Writes, e.Writes...)
		all.Texts = append(all.Texts, e.Texts...)
		maps.Copy(all.Addresses, e.Addresses)
		maps.Copy(all.Leaves, e.Leaves)
	}
	return all
}

// Validate checks every addition.
func (s *addServices) Validate(f *plan.Forecast) []error {
	var errs []error
	for _, a := range s.additions {
		errs = append(errs, a.validate(f)...)
	}
	return errs
}

// Outline shows the services, of their images no more than the names.
func (s *addServices) Outline(o *plan.Outline) {
	for _, a := range s.additions {
		shown := a.outline()
		shown.ImageNameOnly = true
		o.AddService(shown)
	}
}

// Execute adds the batch.
func (s *addServices) Execute(ctx context.Context, x *plan.Execution) (plan.Outcome, error) {
	var configs []enclave.NamedConfig
	var added []*addition
	ready := map[string]func(context.Context, *enclave.Service) error{}
	for _, a := range s.additions {
		if x.Kept != nil && x.Kept(plan.ServiceKey(a.name)) {
			continue
		}
		config, err := a.fill(x.Values)
		if err != nil {
			return plan.Outcome{}, err
		}
		configs, added = append(configs, config), append(added, a)
		if check := a.readiness(x); check != nil {
			ready[config.Name] = check
		}
	}
	options := enclave.AddOptions{Progress: x.Progress, Parallelism: x.Parallelism}
	if len(ready) > 0 {
		options.Ready = func(ctx context.Context, service *enclave.Service) error {
			if check := ready[service.Name]; check != nil {
				return check(ctx, service)
			}
			return nil
		}
	}
	services, err := x.Enclave.AddServices(ctx, configs, options)
	if err != nil {
		return plan.Outcome{}, err
	}
	return batchOutcome(x.Values, added, services)
}

// batchOutcome fills the value slots and tells what was added, in the script's
// order.
func batchOutcome(values *plan.Values, additions []*addition, services []*enclave.Service) (plan.Outcome, error) {
	byName := map[string]*enclave.Service{}
	for _, service := range services {
		byName[service.Name] = service
	}
	text := fmt.Sprintf("Successfully added the following '%d' services:", len(services))
	for _, a := range additions {
		service, ok := byName[a.name]
		if !ok {
			return plan.Outcome{}, fmt.Errorf("service %q is missing from the batch that was added", a.name)
		}
		if err := a.publish(values, service); err != nil {
			return plan.Outcome{}, err
		}
		text += fmt.Sprintf("\n  Service '%s' added with UUID '%s'", service.Name, service.UUID)
	}
	return plan.Outcome{Text: text}, nil
}
