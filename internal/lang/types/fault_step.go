package types

import (
	"errors"
	"fmt"
	"time"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/link"
)

// FaultStep is one fault of plan.schedule_faults.
type FaultStep struct {
	_           struct{}          `doc:"Something that happens to the enclave at a time: to connections between subnetworks, or to a service."`
	After       string            `star:"after" check:"delay" doc:"when, from the start of the schedule on"`
	Action      string            `star:"action" check:"enum=partition|set|heal|pause|unpause|kill|start" doc:"partition: block every pair of the subnetworks; set: set the connection of two subnetworks or, without them, the default one; heal: take back what was set for the subnetworks or, without them, everything; pause, unpause: freeze a service; kill: end it at once; start: run it again"`
	Subnetworks Subnetworks       `star:"subnetworks,?,deep" doc:"a tuple of names, for partition, set and heal"`
	Config      *ConnectionConfig `star:"config,?" doc:"the connection, for set"`
	Service     ServiceChoice     `star:"service,?,deep" doc:"a name, for pause, unpause, kill and start; of a list, the seed picks one"`
	Jitter      string            `star:"jitter,?,kw" check:"delay" doc:"up to how much later it may happen; the seed decides"`
	Direction   string            `star:"direction,?,kw" check:"enum=both|forward|backward" doc:"which way, for set, as in set_connection"`
}

// Validate checks the combination.
func (f *FaultStep) Validate() error {
	switch {
	case f.Action == string(link.SetLink) && f.Config == nil:
		return errors.New("with the action set needs a config")
	case f.Action != string(link.SetLink) && f.Config != nil:
		return fmt.Errorf("with the action %s takes no config", f.Action)
	}
	return f.Fault().Validate()
}

// Fault gives it in the words of the model. The durations have been checked.
func (f *FaultStep) Fault() link.Fault {
	out := link.Fault{
		After: length(f.After), Jitter: length(f.Jitter), Action: link.Action(f.Action),
		Subnetworks: f.Subnetworks, Services: f.Service, Direction: link.Direction(f.Direction),
	}
	if f.Config != nil {
		out.Connection = f.Config.Connection()
	}
	return out
}

func length(text string) time.Duration {
	if text == "" {
		return 0
	}
	d, _ := lang.ParseDuration(text) // checked by the parameter's rule
	return d
}

// Subnetworks are a tuple or list of names.
type Subnetworks []string

// Wants names what is taken.
func (*Subnetworks) Wants() string { return "tuple of subnetwork names" }

// UnpackStar reads it.
func (s *Subnetworks) UnpackStar(v starlark.Value) error { return unpackNames(v, (*[]string)(s)) }

// ServiceChoice is a name, or several to pick one of.
type ServiceChoice []string

// Wants names what is taken.
func (*ServiceChoice) Wants() string { return "service name, or list of them" }

// UnpackStar reads it.
func (s *ServiceChoice) UnpackStar(v starlark.Value) error {
	if name, ok := starlark.AsString(v); ok {
		v = starlark.Tuple{starlark.String(name)}
	}
	return unpackNames(v, (*[]string)(s))
}

func unpackNames(v starlark.Value, into *[]string) error {
	items, ok := v.(starlark.Sequence)
	if _, isDict := v.(*starlark.Dict); !ok || isDict {
		return fmt.Errorf("must be a tuple or list of names, not %s", lang.Describe(v))
	}
	for item := range starlark.Elements(items) {
		name, ok := starlark.AsString(item)
		if !ok {
			return fmt.Errorf("must have names, not %s", lang.Describe(item))
		}
		if name == "" {
			return errors.New("must not have an empty name")
		}
		*into = append(*into, name)
	}
	if len(*into) == 0 {
		return errors.New("must not be empty")
	}
	return nil
}
