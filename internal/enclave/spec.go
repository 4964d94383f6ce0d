package enclave

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file turns a service as a plan asks for it into one as a backend runs it.

// megabyte is the unit of memory sizes in a ServiceConfig, in bytes.
const megabyte = 1 << 20

// spec gives what the backend is to run. The row has its address.
func (e *Enclave) spec(row *serviceRow) (backend.ServiceSpec, error) {
	cfg := row.Config
	mounts, err := e.mounts(row.Name, cfg)
	if err != nil {
		return backend.ServiceSpec{}, err
	}
	address := func(s string) string {
		if cfg.IPPlaceholder == "" {
			return s
		}
		return strings.ReplaceAll(s, cfg.IPPlaceholder, row.Address.IP.String())
	}
	return backend.ServiceSpec{
		Name:            backend.ServiceName(row.Name),
		UUID:            row.UUID,
		Image:           cfg.Image.Ref,
		Entrypoint:      each(cfg.Entrypoint, address),
		Cmd:             each(cfg.Cmd, address),
		Env:             eachValue(cfg.Env, address),
		User:            userText(cfg.User),
		Labels:          cfg.Labels,
		Publish:         e.publish(cfg),
		Mounts:          mounts,
		NoInit:          cfg.NoInit,
		TTY:             cfg.TTY,
		Privileged:      cfg.Privileged,
		HostPID:         cfg.HostPID,
		AddCapabilities: cfg.Capabilities,
		Devices:         cfg.Devices,
		Resources: backend.Resources{
			CPUMillis:   cfg.MaxCPU,
			MemoryBytes: cfg.MaxMemory * megabyte,
			ShmBytes:    cfg.ShmMB * megabyte,
			Ulimits:     cfg.Ulimits,
		},
		RestartAlways: e.row().Production,
	}, nil
}

func each(list []string, f func(string) string) []string {
	out := slices.Clone(list)
	for i, s := range out {
		out[i] = f(s)
	}
	return out
}

func eachValue(m map[string]string, f func(string) string) map[string]string {
	out := maps.Clone(m)
	for k, v := range out {
		out[k] = f(v)
	}
	return out
}

func userText(u *User) string {
	switch {
	case u == nil:
		return ""
	case u.GID == nil:
		return strconv.FormatInt(u.UID, 10)
	}
	return fmt.Sprintf("%d:%d", u.UID, *u.GID)
}

// publish lists the ports to be reachable from the host, by id: all of TCP, and
// of UDP where that is asked for.
func (e *Enclave) publish(cfg ServiceConfig) []backend.Publish {
	caps := e.m.backend.Capabilities()
	wanted := func(p Port) bool {
		switch p.Transport {
		case backend.TCP:
			return caps.Has(backend.AbilityPublishTCP)
		case backend.UDP:
			return (cfg.PublishUDP || p.HostPort != 0) && caps.Has(backend.AbilityPublishUDP)
		}
		return false
	}
	var out []backend.Publish
	for _, id := range slices.Sorted(maps.Keys(cfg.Ports)) {
		if p := cfg.Ports[id]; wanted(p) {
			out = append(out, backend.Publish{ID: id, Port: p.Number, Proto: p.Transport, HostPort: p.HostPort})
		}
	}
	return out
}

// mounts finds the files that a service mounts. An unknown files artifact is an E0355.
func (e *Enclave) mounts(service string, cfg ServiceConfig) ([]backend.Mount, error) {
	var out []backend.Mount
	for _, file := range cfg.Files {
		mount := backend.Mount{Path: file.Path, PersistentKey: file.PersistentKey}
		for _, name := range file.Artifacts {
			dir, err := e.tree(name)
			if errors.Is(err, fault.ErrNotFound) {
				return nil, fault.New("E0355", "files artifact %q, which service %q mounts at %s, does not exist", name, service, file.Path)
			}
			if err != nil {
				return nil, fmt.Errorf("files artifact %q of service %q: %w", name, service, err)
			}
			mount.Trees = append(mount.Trees, dir)
		}
		out = append(out, mount)
	}
	for _, host := range slices.Sorted(maps.Keys(cfg.BindMounts)) {
		out = append(out, backend.Mount{Path: cfg.BindMounts[host], HostPath: host})
	}
	return out, nil
}

func (e *Enclave) tree(name string) (string, error) {
	if e.m.deps.Artifacts == nil {
		return "", fault.ErrNotFound
	}
	return e.m.deps.Artifacts.Tree(e.uuid, name)
}
