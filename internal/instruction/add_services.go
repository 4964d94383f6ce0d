package instruction

import (
	"context"
	"fmt"
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
		return fmt.Errorf("must be a dict, not %s", v.Type())
	}
	if dict.Len() == 0 {
		return fmt.Errorf("must not be empty")
	}
	wrong := &lang.ArgsError{}
	for _, item := range dict.Items() {
		name, ok := starlark.AsString(item[0])
		if !ok || name == "" {
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
	step := &addServices{}
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
	additions []addition
}

// Effects are those of all additions.
func (s *addServices) Effects() plan.Effects {
	var all plan.Effects
	for _, a := range s.additions {
		e := a.effects()
		all.Reads, all.Writes = append(all.Reads, e.Reads...), append(all.Writes, e.Writes...)
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

// Execute adds the batch.
func (s *addServices) Execute(ctx context.Context, x *plan.Execution) (plan.Outcome, error) {
	configs := make([]enclave.NamedConfig, len(s.additions))
	ready := map[string]func(context.Context, *enclave.Service) error{}
	for i, a := range s.additions {
		var err error
		if configs[i], err = a.fill(x.Values); err != nil {
			return plan.Outcome{}, err
		}
		if check := a.readiness(x); check != nil {
			ready[configs[i].Name] = check
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
	return s.outcome(x.Values, services)
}

// outcome fills the value slots and tells what was added, in the script's order.
func (s *addServices) outcome(values *plan.Values, services []*enclave.Service) (plan.Outcome, error) {
	byName := map[string]*enclave.Service{}
	for _, service := range services {
		byName[service.Name] = service
	}
	text := fmt.Sprintf("Successfully added the following '%d' services:", len(services))
	for _, a := range s.additions {
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
