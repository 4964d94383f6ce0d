package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file holds the single checks of a service that a plan adds.

func (f *Forecast) checkName(name string) []error {
	pattern, rule := wideName, "letters, digits, '-' and '_', at most 63"
	if f.in.StrictNames {
		pattern, rule = strictName, "lower-case letters, digits and '-', a letter first and no '-' last, at most 63"
	}
	if pattern().MatchString(name) {
		return nil
	}
	err := fault.New("E0301", "service name %q is not allowed", name).WithHint("a service name has %s", rule)
	if len(References(name)) > 0 {
		err.WithHint("a name must be known before anything runs, so it can't contain a value of a later instruction")
	}
	return []error{err}
}

func (f *Forecast) checkPortIDs(service string, ports map[string]enclave.Port) []error {
	var errs []error
	pattern, rule := wideName, "letters, digits, '-' and '_', at most 63"
	if f.in.StrictNames {
		pattern, rule = strictPort, "lower-case letters, digits and '-', a letter first and no '-' last, at most 15"
	}
	for _, id := range slices.Sorted(maps.Keys(ports)) {
		if !pattern().MatchString(id) {
			errs = append(errs, fault.New("E0306", "port id %q of service %q is not allowed", id, service).
				WithHint("a port id has %s", rule))
		}
	}
	return errs
}

func (f *Forecast) checkPersistent(files []enclave.FileMount) []error {
	var errs []error
	pattern, rule := wideName, "letters, digits, '-' and '_', at most 63"
	if f.in.StrictNames {
		pattern, rule = strictName, "lower-case letters, digits and '-', a letter first and no '-' last, at most 63"
	}
	for _, mount := range files {
		if key := mount.PersistentKey; key != "" && !pattern().MatchString(key) {
			errs = append(errs, fault.New("E0308", "persistent key %q at %q is not allowed", key, mount.Path).
				WithHint("a persistent key has %s", rule))
		}
	}
	return errs
}

// checkArtifacts checks what a service or task (kind) mounts.
func (f *Forecast) checkArtifacts(kind, name string, files []enclave.FileMount) []error {
	var errs []error
	for _, mount := range files {
		for _, artifact := range mount.Artifacts {
			if err := f.Artifact(artifact); err != nil {
				known := fault.From(err, "E0304")
				hint := known.Hint
				if strings.ContainsAny(artifact, "/.") {
					hint = fmt.Sprintf("files has names of files artifacts; plan.upload_files(%q) makes one of a path, and gives its name", artifact)
				}
				errs = append(errs, fault.New("E0304", "%s %q mounts at %q: %s", kind, name, mount.Path, known.Summary).
					WithHint("%s", hint))
			}
		}
	}
	return errs
}

func (f *Forecast) checkResources(service string, cfg enclave.ServiceConfig) []error {
	var errs []error
	check := func(code, what, unit string, want, left, all uint64) {
		if all > 0 && want > left {
			errs = append(errs, fault.New(code, "service %q reserves %d %s of %s, but only %d are left", service, want, unit, what, left).
				WithHint("this host has %d %s for services; lower the reservation or remove a service first", all, unit))
		}
	}
	check("E0309", "CPU", "millicores", cfg.MinCPU, f.cpuLeft, f.in.CPUMillis)
	check("E0310", "memory", "megabytes", cfg.MinMemory, f.memLeft, f.in.MemoryMB)
	return errs
}

// checkAbilities refuses what the backend can't do, with the reason it gives.
func (f *Forecast) checkAbilities(kind, name string, cfg enclave.ServiceConfig) []error {
	caps := f.in.Capabilities
	if caps.Abilities == nil {
		return nil
	}
	persistent := slices.ContainsFunc(cfg.Files, func(m enclave.FileMount) bool { return m.PersistentKey != "" })
	fixedPort := false
	for _, port := range cfg.Ports {
		fixedPort = fixedPort || port.HostPort != 0
	}
	needs := []struct {
		needed  bool
		ability backend.Ability
		what    string
	}{
		{cfg.Image.Build != nil, backend.AbilityBuildImages, "an image to be built"},
		{cfg.Privileged || cfg.HostPID || len(cfg.BindMounts) > 0, backend.AbilityPrivileged, "privileged settings"},
		{cfg.TTY, backend.AbilityTTY, "a terminal (tty_enabled)"},
		{len(cfg.Devices) > 0, backend.AbilityDevices, "host devices"},
		{cfg.GPUs != 0, backend.AbilityGPU, "a GPU"},
		{cfg.MaxMemory > 0, backend.AbilityMemoryLimit, "a memory limit"},
		{cfg.MaxCPU > 0, backend.AbilityCPULimit, "a CPU limit"},
		{persistent, backend.AbilityPersistent, "a persistent directory"},
		{fixedPort, backend.AbilityHostPublicPort, "a fixed public port"},
		{cfg.PublishUDP, backend.AbilityPublishUDP, "published UDP ports"},
	}
	var errs []error
	if cfg.Image.Nix {
		errs = append(errs, fault.New("E0311", "%s %q asks for an image to be built with Nix, which the %s backend can't", kind, name, caps.Backend).
			WithHint("build it before and name the image, or use ImageBuildSpec with a Dockerfile"))
	}
	for _, need := range needs {
		if need.needed && !caps.Has(need.ability) {
			err := fault.New("E0311", "%s %q asks for %s, which the %s backend can't give here", kind, name, need.what, caps.Backend)
			if why := caps.Missing[need.ability]; why != "" {
				err.WithHint("%s", why)
			}
			errs = append(errs, err)
		}
	}
	return errs
}

// reserve takes resources for a service; more than there are leaves nothing.
func (f *Forecast) reserve(name string, r reservation) {
	f.reserved[name] = r
	f.cpuLeft -= min(r.cpu, f.cpuLeft)
	f.memLeft -= min(r.mem, f.memLeft)
}

// release gives back what a service of this plan took.
func (f *Forecast) release(name string) {
	r := f.reserved[name]
	f.cpuLeft = min(f.cpuLeft+r.cpu, f.in.CPUMillis)
	f.memLeft = min(f.memLeft+r.mem, f.in.MemoryMB)
	delete(f.reserved, name)
}
