package instruction

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/lang/types"
	"github.com/lepto-dev/lepto/internal/plan"
	"github.com/lepto-dev/lepto/internal/recipe"
)

// addServiceArgs are the parameters of plan.add_service.
type addServiceArgs struct {
	_           struct{}             `doc:"Adds a service and waits until its ports are open and it is ready. One of that name from an earlier run is replaced."`
	Name        string               `star:"name,repr" check:"nonempty" doc:"its name, which is its host name as well"`
	Config      *types.ServiceConfig `star:"config,repr" doc:"what it is to be"`
	ForceUpdate bool                 `star:"force_update,?" doc:"replace it even if nothing about it has changed"`
}

// servicesKind is where services are remembered for get_service.
const servicesKind = "service"

func buildAddService(c *lang.Call, a *addServiceArgs) (plan.Step, starlark.Value, error) {
	added, value, err := newAddition(c, a.Name, a.Config)
	if err != nil {
		return nil, nil, err
	}
	applyOverride(c, added)
	call := c.Plan("Adding service with name '%s' and image '%s'", a.Name, a.Config.Image.Name())
	return &addService{called{call}, added, a.ForceUpdate}, value, nil
}

// addService adds one service.
type addService struct {
	called
	addition *addition
	force    bool
}

// Effects are those of the addition.
func (s *addService) Effects() plan.Effects { return s.addition.effects() }

// Validate checks the addition.
func (s *addService) Validate(f *plan.Forecast) []error { return s.addition.validate(f) }

// Outline shows the service.
func (s *addService) Outline(o *plan.Outline) { o.AddService(s.addition.outline()) }

// Execute adds the service.
func (s *addService) Execute(ctx context.Context, x *plan.Execution) (plan.Outcome, error) {
	config, err := s.addition.fill(x.Values)
	if err != nil {
		return plan.Outcome{}, err
	}
	service, err := x.Enclave.AddService(ctx, config.Name, config.Config, enclave.AddOptions{
		Progress: x.Progress,
		Ready:    s.addition.readiness(x),
	})
	if err != nil {
		return plan.Outcome{}, err
	}
	if err := s.addition.publish(x.Values, service); err != nil {
		return plan.Outcome{}, err
	}
	return plan.Outcome{Text: fmt.Sprintf("Service '%s' added with service UUID '%s'", service.Name, service.UUID)}, nil
}

// addition is a service to be added, by add_service or add_services.
type addition struct {
	name    string
	valueID string
	config  enclave.ServiceConfig
	ready   *recipe.Wait // nil: ready once its ports are open
}

// newAddition resolves a config, and makes the Service that the script gets.
func newAddition(c *lang.Call, name string, config *types.ServiceConfig) (*addition, starlark.Value, error) {
	resolved, err := config.Resolve(c)
	if err != nil {
		return nil, nil, err
	}
	id, err := c.ServiceValueID(name)
	if err != nil {
		return nil, nil, err
	}
	a := &addition{name: name, valueID: id, config: resolved}
	if config.Ready != nil {
		wait := config.Ready.Wait()
		a.ready = &wait
	}
	c.Remember(servicesKind, name, types.NewService(name, id, config.Ports))
	return a, types.NewService(name, id, config.Ports), nil
}

// texts lists the texts in which references are filled in.
func (a addition) texts() []string {
	texts := slices.Concat([]string{a.name}, a.config.Entrypoint, a.config.Cmd, slices.Sorted(maps.Values(a.config.Env)))
	if a.ready != nil {
		texts = append(append(texts, a.ready.Recipe.Texts()...), plan.TextsIn(a.ready.Condition.Target)...)
	}
	return texts
}

func (a addition) effects() plan.Effects {
	e := plan.Effects{
		Reads:  plan.ReferenceKeys(a.texts()...),
		Writes: []plan.Key{plan.ServiceKey(a.name), plan.ValueKey(a.valueID)},

		Addresses: map[plan.Key]plan.Key{plan.ValueKey(a.valueID): plan.ServiceKey(a.name)},
		Texts:     a.texts(),
		Leaves:    map[plan.Key]plan.Condition{plan.ServiceKey(a.name): plan.Runs},
	}
	if a.config.Image.Ref != "" {
		e.Reads = append(e.Reads, plan.ImageKey(a.config.Image.Ref))
	}
	for _, mount := range a.config.Files {
		for _, artifact := range mount.Artifacts {
			e.Reads = append(e.Reads, plan.ArtifactKey(artifact))
		}
		if mount.PersistentKey != "" {
			e.Writes = append(e.Writes, plan.PersistentKey(mount.PersistentKey))
		}
	}
	return e
}

func (a addition) validate(f *plan.Forecast) []error {
	errs := f.AddService(a.name, a.config)
	if a.ready != nil {
		if probe, ok := a.ready.Recipe.(recipe.HTTP); ok {
			errs = append(errs, one(checkRequest(f, a.name, probe))...)
		}
		errs = append(errs, recipe.Check(a.ready.Recipe)...)
	}
	return errs
}

func (a addition) outline() plan.OutlineService {
	return plan.OutlineService{Name: a.name, Config: a.config, ValueID: a.valueID}
}

// fill replaces the references of the config.
func (a addition) fill(values *plan.Values) (enclave.NamedConfig, error) {
	config := a.config
	name, err := values.Text(a.name)
	if err != nil {
		return enclave.NamedConfig{}, err
	}
	if config.Entrypoint, err = values.Texts(config.Entrypoint); err != nil {
		return enclave.NamedConfig{}, fmt.Errorf("entrypoint of service %q: %w", name, err)
	}
	if config.Cmd, err = values.Texts(config.Cmd); err != nil {
		return enclave.NamedConfig{}, fmt.Errorf("cmd of service %q: %w", name, err)
	}
	config.Env = maps.Clone(config.Env)
	for key, text := range config.Env {
		if config.Env[key], err = values.Text(text); err != nil {
			return enclave.NamedConfig{}, fmt.Errorf("variable %q of service %q: %w", key, name, err)
		}
	}
	return enclave.NamedConfig{Name: name, Config: config}, nil
}

// readiness gives the function that waits for the ready condition; nil if there
// is none.
func (a addition) readiness(x *plan.Execution) func(context.Context, *enclave.Service) error {
	if a.ready == nil {
		return nil
	}
	return func(ctx context.Context, service *enclave.Service) error {
		wait := *a.ready
		wait.Progress = x.Progress
		_, err := wait.Run(ctx, x.Enclave, service.Name, x.Values)
		return err
	}
}

// publish fills the service's value slot.
func (a addition) publish(values *plan.Values, service *enclave.Service) error {
	return values.Set(a.valueID, map[string]starlark.Value{
		types.FieldIP:       starlark.String(service.IP),
		types.FieldHostname: starlark.String(service.Name),
	})
}
