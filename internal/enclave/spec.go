package enclave

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/lepto-dev/lepto/internal/backend"
)

// This file turns a service as a plan asks for it into one as a backend runs it.

// megabyte is the unit of memory sizes in a ServiceConfig, in bytes.
const megabyte = 1 << 20

// spec gives what the backend is to run. The row has its address.
func (e *Enclave) spec(row *serviceRow) backend.ServiceSpec {
	cfg := row.Config
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
		Wrapper:         mover(cfg.FilesToMove),
		Entrypoint:      each(cfg.Entrypoint, address),
		Cmd:             each(cfg.Cmd, address),
		Env:             eachValue(cfg.Env, address),
		User:            userText(cfg.User),
		Labels:          cfg.Labels,
		Publish:         e.publish(cfg),
		Mounts:          e.mounts(row),
		NoInit:          cfg.NoInit,
		Hold:            cfg.Task,
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
	}
}

// usesAddress tells whether a config says something of its service's address.
func usesAddress(cfg ServiceConfig) bool {
	mentions := func(s string) bool { return cfg.IPPlaceholder != "" && strings.Contains(s, cfg.IPPlaceholder) }
	return slices.ContainsFunc(slices.Concat(cfg.Entrypoint, cfg.Cmd, slices.Collect(maps.Values(cfg.Env))), mentions)
}

// mover gives a command that moves files and then becomes the command that
// follows it. The paths are arguments of the shell's script, so that no quoting
// is needed.
func mover(files map[string]string) []string {
	if len(files) == 0 {
		return nil
	}
	const script = `n=$1; shift; while [ "$n" -gt 0 ]; do mkdir -p "$(dirname "$2")" && mv "$1" "$2" || exit 1; shift 2; n=$((n-1)); done; exec "$@"`
	command := []string{"/bin/sh", "-c", script, "move", strconv.Itoa(len(files))}
	for _, from := range slices.Sorted(maps.Keys(files)) {
		command = append(command, from, files[from])
	}
	return command
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

// mounts gives the files that a service mounts.
func (e *Enclave) mounts(row *serviceRow) []backend.Mount {
	var out []backend.Mount
	for _, file := range row.Config.Files {
		mount := backend.Mount{Path: path.Join("/", file.Path), // a relative one is from the root
			PersistentKey: file.PersistentKey}
		for _, name := range file.Artifacts {
			mount.Trees = append(mount.Trees, e.m.deps.Artifacts.Dir(row.Trees[name]))
		}
		out = append(out, mount)
	}
	for _, host := range slices.Sorted(maps.Keys(row.Config.BindMounts)) {
		out = append(out, backend.Mount{Path: row.Config.BindMounts[host], HostPath: host})
	}
	return out
}
