package cli

import (
	"github.com/lepto-dev/lepto/internal/api/client"
	"github.com/lepto-dev/lepto/internal/backend"
)

// This file gives a service's config in the form that service inspect -o json
// prints and scripts read (docs/formats/cli-json.md).

type serviceConfig struct {
	Image         string                `json:"image,omitempty" yaml:"image,omitempty"`
	Ports         map[string]portConfig `json:"ports,omitempty" yaml:"ports,omitempty"`
	PublicPorts   map[string]portConfig `json:"public_ports,omitempty" yaml:"public_ports,omitempty"`
	Files         map[string][]string   `json:"files,omitempty" yaml:"files,omitempty"`
	Entrypoint    []string              `json:"entrypoint,omitempty" yaml:"entrypoint,omitempty"`
	Cmd           []string              `json:"cmd,omitempty" yaml:"cmd,omitempty"`
	EnvVars       map[string]string     `json:"env_vars,omitempty" yaml:"env_vars,omitempty"`
	IPPlaceholder string                `json:"private_ip_address_placeholder,omitempty" yaml:"private_ip_address_placeholder,omitempty"`
	MaxCPU        uint64                `json:"max_cpu,omitempty" yaml:"max_cpu,omitempty"`
	MinCPU        uint64                `json:"min_cpu,omitempty" yaml:"min_cpu,omitempty"`
	MaxMemory     uint64                `json:"max_memory,omitempty" yaml:"max_memory,omitempty"`
	MinMemory     uint64                `json:"min_memory,omitempty" yaml:"min_memory,omitempty"`
	User          *userConfig           `json:"user,omitempty" yaml:"user,omitempty"`
	Tolerations   []tolerationConfig    `json:"tolerations,omitempty" yaml:"tolerations,omitempty"`
	Labels        map[string]string     `json:"labels,omitempty" yaml:"labels,omitempty"`
	NodeSelectors map[string]string     `json:"node_selectors,omitempty" yaml:"node_selectors,omitempty"`
	TiniEnabled   bool                  `json:"tini_enabled" yaml:"tini_enabled"`
	TTYEnabled    bool                  `json:"tty_enabled" yaml:"tty_enabled"`
	Privileged    bool                  `json:"privileged,omitempty" yaml:"privileged,omitempty"`
	BindMounts    map[string]string     `json:"bind_mounts,omitempty" yaml:"bind_mounts,omitempty"`
	HostPID       bool                  `json:"host_pid_namespace,omitempty" yaml:"host_pid_namespace,omitempty"`
}

type portConfig struct {
	Number      uint16 `json:"number" yaml:"number"`
	Transport   int    `json:"transport" yaml:"transport"` // 0 tcp, 1 sctp, 2 udp
	Application string `json:"maybe_application_protocol,omitempty" yaml:"maybe_application_protocol,omitempty"`
	Wait        string `json:"wait,omitempty" yaml:"wait,omitempty"`
}

type userConfig struct {
	UID int64  `json:"uid" yaml:"uid"`
	GID *int64 `json:"gid,omitempty" yaml:"gid,omitempty"`
}

type tolerationConfig struct {
	Key      string `json:"key,omitempty" yaml:"key,omitempty"`
	Operator string `json:"operator,omitempty" yaml:"operator,omitempty"`
	Value    string `json:"value,omitempty" yaml:"value,omitempty"`
	Effect   string `json:"effect,omitempty" yaml:"effect,omitempty"`
	Seconds  *int64 `json:"toleration_seconds,omitempty" yaml:"toleration_seconds,omitempty"`
}

// transportNumbers are those of the wire API.
var transportNumbers = map[backend.Transport]int{backend.TCP: 0, backend.SCTP: 1, backend.UDP: 2}

// configOf puts a service in that form: what runs, and what the plan asked for.
func configOf(s client.Service) serviceConfig {
	c := serviceConfig{
		Image: s.Image, Entrypoint: s.Entrypoint, Cmd: s.Cmd, EnvVars: s.Env,
		IPPlaceholder: s.Config.IPPlaceholder,
		MaxCPU:        s.Config.MaxCPU, MinCPU: s.Config.MinCPU,
		MaxMemory: s.Config.MaxMemory, MinMemory: s.Config.MinMemory,
		Labels: s.Config.Labels, NodeSelectors: s.Config.NodeSelectors,
		TiniEnabled: !s.Config.NoInit, TTYEnabled: s.Config.TTY,
		Privileged: s.Config.Privileged, BindMounts: s.Config.BindMounts, HostPID: s.Config.HostPID,
	}
	if u := s.Config.User; u != nil {
		c.User = &userConfig{UID: u.UID, GID: u.GID}
	}
	for _, t := range s.Config.Tolerations {
		c.Tolerations = append(c.Tolerations, tolerationConfig(t))
	}
	c.addPorts(s.Ports)
	for _, f := range s.Config.Files {
		if len(f.Artifacts) > 0 {
			put(&c.Files, f.Path, f.Artifacts)
		}
	}
	return c
}

func (c *serviceConfig) addPorts(ports []client.Port) {
	for _, p := range ports {
		pc := portConfig{Number: p.Number, Transport: transportNumbers[p.Transport], Application: p.Application}
		if p.Wait > 0 {
			pc.Wait = p.Wait.String()
		}
		put(&c.Ports, p.ID, pc)
		if p.HostPort != 0 {
			put(&c.PublicPorts, p.ID, portConfig{Number: p.HostPort, Transport: pc.Transport, Application: p.Application})
		}
	}
}

// put sets a key of a map that may not be there yet.
func put[V any](m *map[string]V, key string, value V) {
	if *m == nil {
		*m = map[string]V{}
	}
	(*m)[key] = value
}
