package types

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/lang"
)

// ServiceConfig says what a service is to be. Lists and dicts are checked to
// their depth when the config is used, not when it is made.
type ServiceConfig struct {
	_             struct{}             `doc:"What a service is to be."`
	Image         Image                `star:"image,late" doc:"the image to run"`
	Ports         map[string]*PortSpec `star:"ports,?" doc:"the ports it listens on, by id"`
	PublicPorts   map[string]*PortSpec `star:"public_ports,?" doc:"fixed ports on the host for some of them, by the same ids"`
	Files         map[string]Files     `star:"files,?" doc:"files artifacts and persistent directories, by mount path"`
	Entrypoint    []string             `star:"entrypoint,?" doc:"in place of the image's entrypoint; an empty list is as none"`
	Cmd           []string             `star:"cmd,?" doc:"in place of the image's command; an empty list is as none"`
	EnvVars       map[string]string    `star:"env_vars,?" doc:"variables of its environment"`
	IPPlaceholder string               `star:"private_ip_address_placeholder,?" check:"nonempty" doc:"text that stands for its private address in entrypoint, cmd and values of env_vars; KURTOSIS_IP_ADDR_PLACEHOLDER if not given"`
	CPUAllocation *uint64              `star:"cpu_allocation,?" check:"range=0..18446744073709551615" doc:"old name of max_cpu"`
	MemAllocation *uint64              `star:"memory_allocation,?" check:"range=6..18446744073709551615" doc:"old name of max_memory"`
	MaxCPU        *uint64              `star:"max_cpu,?" check:"range=0..18446744073709551615" doc:"the most CPU it gets, in thousandths of a core; 0: no limit"`
	MinCPU        *int64               `star:"min_cpu,?" doc:"CPU that the host must have left for it, in thousandths of a core"`
	MaxMemory     *uint64              `star:"max_memory,?" check:"range=6..18446744073709551615" doc:"the most memory it gets, in megabytes"`
	MinMemory     *int64               `star:"min_memory,?" doc:"memory that the host must have left for it, in megabytes"`
	Ready         *ReadyCondition      `star:"ready_conditions,?" doc:"when it is ready, beyond its ports being open"`
	Labels        Labels               `star:"labels,?,deep" doc:"labels of its container"`
	User          *User                `star:"user,?" doc:"who its processes run as; the image's user if not given"`
	Tolerations   []*Toleration        `star:"tolerations,?" doc:"taints of Kubernetes nodes that it tolerates"`
	NodeSelectors map[string]string    `star:"node_selectors,?" doc:"labels of the Kubernetes nodes that it may run on"`
	FilesToMove   map[string]string    `star:"files_to_be_moved,?" doc:"paths to be moved to others before it starts; needs a shell in the image"`
	TiniEnabled   *bool                `star:"tini_enabled,?" doc:"whether an init process reaps its children; True if not given"`
	TTYEnabled    bool                 `star:"tty_enabled,?" doc:"whether it has a terminal"`
	Devices       []string             `star:"devices,?" doc:"devices of the host that it sees at the same path"`
	PublishUDP    bool                 `star:"publish_udp,?" doc:"whether its UDP ports are published on the host"`
	Capabilities  []string             `star:"capabilities,?" doc:"Linux capabilities that it has in addition"`
	GPU           *GpuConfig           `star:"gpu,?" doc:"the GPUs it gets"`
	Privileged    bool                 `star:"privileged,?" doc:"whether it runs without isolation; the run must allow it"`
	HostPID       bool                 `star:"host_pid_namespace,?" doc:"whether it sees the host's processes; the run must allow it"`
	BindMounts    BindMounts           `star:"bind_mounts,?,deep" doc:"paths of the host to paths inside; the run must allow it"`
	Subnetwork    string               `star:"subnetwork,?,kw" check:"nonempty" doc:"the subnetwork it belongs to; \"default\" if not given"`
}

// DefaultIPPlaceholder stands for a service's private address where the config
// names no other text.
const DefaultIPPlaceholder = "KURTOSIS_IP_ADDR_PLACEHOLDER"

// classicOrder is the positional order of the classic dialect, whose ninth
// argument is a subnetwork.
var classicOrder = []string{
	"image", "ports", "public_ports", "files", "entrypoint", "cmd", "env_vars", "private_ip_address_placeholder",
	"subnetwork", "cpu_allocation", "memory_allocation", "ready_conditions",
}

// Positions tells the dialects apart by the ninth argument: a subnetwork's name
// in one, a number in the other.
func (*ServiceConfig) Positions(args starlark.Tuple) []string {
	if len(args) > 8 {
		if _, ok := args[8].(starlark.String); ok {
			return classicOrder
		}
	}
	return nil
}

// Validate checks what must fit together, and reservations, of which the
// constructor takes any.
func (c *ServiceConfig) Validate() error {
	for _, r := range []struct {
		name  string
		value *int64
	}{{"min_cpu", c.MinCPU}, {"min_memory", c.MinMemory}} {
		if r.value != nil && *r.value < 0 {
			return fmt.Errorf("has a %s of %d, which is below zero", r.name, *r.value)
		}
	}
	return nil
}

// Resolve gives the config as the enclave is asked for it: locators resolved,
// future references still in. It checks that the run allows what is asked for.
func (c *ServiceConfig) Resolve(call *lang.Call) (enclave.ServiceConfig, error) {
	if err := c.checkPrivileged(call); err != nil {
		return enclave.ServiceConfig{}, err
	}
	image, err := c.Image.Resolve(call)
	if err != nil {
		return enclave.ServiceConfig{}, err
	}
	c.warnDeprecated(call)
	c.warnPorts(call)
	out := enclave.ServiceConfig{
		Image: image, Ports: c.ports(), Files: c.mounts(),
		Entrypoint: orNil(c.Entrypoint), Cmd: orNil(c.Cmd), Env: c.EnvVars, IPPlaceholder: c.IPPlaceholder,
		MaxCPU: first(c.MaxCPU, c.CPUAllocation), MinCPU: reserved(c.MinCPU),
		MaxMemory: first(c.MaxMemory, c.MemAllocation), MinMemory: reserved(c.MinMemory),
		Labels: c.Labels, Subnetwork: c.Subnetwork,
		NoInit: c.TiniEnabled != nil && !*c.TiniEnabled, TTY: c.TTYEnabled,
		Devices: c.Devices, PublishUDP: c.PublishUDP, Capabilities: c.Capabilities,
		Privileged: c.Privileged, HostPID: c.HostPID, BindMounts: c.BindMounts,
		NodeSelectors: c.NodeSelectors, FilesToMove: c.FilesToMove,
	}
	if out.IPPlaceholder == "" {
		out.IPPlaceholder = DefaultIPPlaceholder
	}
	if c.User != nil {
		out.User = &enclave.User{UID: *c.User.UID, GID: c.User.GID}
	}
	for _, t := range c.Tolerations {
		out.Tolerations = append(out.Tolerations, t.enclave())
	}
	if c.GPU != nil {
		out.GPUs, out.ShmMB, out.Ulimits = c.GPU.gpus(), first(c.GPU.ShmSize), c.GPU.Ulimits
	}
	return out, nil
}

func (c *ServiceConfig) checkPrivileged(call *lang.Call) error {
	switch {
	case c.Privileged:
		return call.AllowPrivileged("privileged = True")
	case c.HostPID:
		return call.AllowPrivileged("host_pid_namespace = True")
	case len(c.BindMounts) > 0:
		return call.AllowPrivileged("bind_mounts")
	}
	return nil
}

func (c *ServiceConfig) warnDeprecated(call *lang.Call) {
	const text = `%q field for "ServiceConfig" will be deprecated by 25/6/2023. Use %q instead`
	if c.CPUAllocation != nil {
		call.Warn(text, "cpu_allocation", "max_cpu")
	}
	if c.MemAllocation != nil {
		call.Warn(text, "memory_allocation", "max_memory")
	}
}

// warnPorts tells of what is asked of ports in vain.
func (c *ServiceConfig) warnPorts(call *lang.Call) {
	for _, id := range slices.Sorted(maps.Keys(c.Ports)) {
		if p := c.Ports[id]; p.Transport == "SCTP" && p.Wait.set != nil && *p.Wait.set > 0 {
			call.Warn("the port %q is SCTP and is not waited for: nothing can be tried on it", id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.PublicPorts)) {
		if _, ok := c.Ports[id]; !ok {
			call.Warn("the public port %q is not published: there is no port of that id", id)
		}
	}
}

func (c *ServiceConfig) ports() map[string]enclave.Port {
	if len(c.Ports) == 0 {
		return nil
	}
	ports := make(map[string]enclave.Port, len(c.Ports))
	for id, spec := range c.Ports {
		port := spec.Enclave()
		if public := c.PublicPorts[id]; public != nil {
			port.HostPort = *public.Number
		}
		ports[id] = port
	}
	return ports
}

func (c *ServiceConfig) mounts() []enclave.FileMount {
	var mounts []enclave.FileMount
	for _, path := range slices.Sorted(maps.Keys(c.Files)) {
		mounts = append(mounts, c.Files[path].mount(path))
	}
	return mounts
}

// first gives the first value that was given, or 0.
func first(values ...*uint64) uint64 {
	for _, v := range values {
		if v != nil {
			return *v
		}
	}
	return 0
}

// reserved gives a reservation, 0 where none was given.
func reserved(value *int64) uint64 {
	if value == nil {
		return 0
	}
	return uint64(*value) // not below zero: Validate has seen to it
}

func orNil(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	return list
}

// BindMounts are paths of the host to paths inside.
type BindMounts map[string]string

// allowedHostPaths are the only paths of the host that may be mounted.
var allowedHostPaths = []string{"/var/run/docker.sock"}

// Validate checks the host's paths against the list of allowed ones.
func (b BindMounts) Validate() error {
	for _, path := range slices.Sorted(maps.Keys(b)) {
		if !slices.Contains(allowedHostPaths, path) {
			return fmt.Errorf("can't have the host's path %q; allowed is %s", path, strings.Join(allowedHostPaths, ", "))
		}
	}
	return nil
}
