package types

import (
	"maps"

	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/lang"
)

// This file is the rules by which set_service changes a config (starlark spec
// §2.5): what is given replaces, what is not given stays.

// Override gives the function that changes a config as this one says. What can't
// be overridden is an E0226; what is neither here nor there is left as it was.
func (c *ServiceConfig) Override(call *lang.Call) (func(*enclave.ServiceConfig), error) {
	if name := c.fixed(); name != "" {
		return nil, fault.New("E0226", "set_service can't override %s", name).
			WithHint("give it to add_service")
	}
	over, err := c.Resolve(call)
	if err != nil {
		return nil, err
	}
	return func(config *enclave.ServiceConfig) { override(config, over) }, nil
}

// fixed names what is given and can't be overridden.
func (c *ServiceConfig) fixed() string {
	for _, field := range []struct {
		name  string
		given bool
	}{
		{"env_vars", len(c.EnvVars) > 0}, {"entrypoint", len(c.Entrypoint) > 0}, {"cmd", len(c.Cmd) > 0},
		{"ports", len(c.Ports) > 0}, {"public_ports", len(c.PublicPorts) > 0}, {"files", c.Files != nil},
	} {
		if field.given {
			return field.name
		}
	}
	return ""
}

func override(config *enclave.ServiceConfig, over enclave.ServiceConfig) {
	config.Image = over.Image
	number := func(into *uint64, value uint64) {
		if value != 0 {
			*into = value
		}
	}
	number(&config.MaxCPU, over.MaxCPU)
	number(&config.MinCPU, over.MinCPU)
	number(&config.MaxMemory, over.MaxMemory)
	number(&config.MinMemory, over.MinMemory)
	if over.User != nil {
		config.User = over.User
	}
	if len(over.Labels) > 0 {
		config.Labels = maps.Clone(over.Labels)
	}
	if len(over.Tolerations) > 0 {
		config.Tolerations = over.Tolerations
	}
	if len(over.BindMounts) > 0 {
		config.BindMounts = maps.Clone(over.BindMounts)
	}
	config.Privileged = config.Privileged || over.Privileged
	config.HostPID = config.HostPID || over.HostPID
}
