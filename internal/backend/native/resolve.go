package native

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/image"
)

// This file turns a service's spec and its image into what a supervisor runs.

// defaultPath is what a process finds commands in where the image names no
// PATH: the same as with Docker, so that images behave the same.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// defaultLogBudget is the bytes of stored log of an enclave that names no budget.
const defaultLogBudget = 256 << 20

// The least and the most of it that one service may have, in bytes.
const (
	minServiceLog = 1 << 20
	maxServiceLog = 32 << 20
)

// resolveImage finds the image and checks that it can run here.
func (b *Backend) resolveImage(spec backend.ServiceSpec) (*image.Image, error) {
	img, err := b.images.Resolve(spec.Image)
	if errors.Is(err, fault.ErrNotFound) {
		return nil, fault.New("E0410", "start service %q: image %q is not in the store: %w", spec.Name, spec.Image, fault.ErrNotFound).
			WithHint("pull it, load it or build it first: lepto image pull %s", spec.Image)
	}
	if err != nil {
		return nil, fmt.Errorf("start service %q: %w", spec.Name, err)
	}
	if err := image.CheckPlatform(img.Info("")); err != nil {
		return nil, fmt.Errorf("start service %q: %w", spec.Name, err)
	}
	return img, nil
}

// merge applies the image's config, as Docker does: an entrypoint given drops
// the image's command; environments add up, the service's winning.
func merge(spec backend.ServiceSpec, img *image.Image) serviceDoc {
	config := img.Config.Config
	doc := serviceDoc{Spec: spec, Image: img.Digest, Entrypoint: config.Entrypoint, Cmd: config.Cmd}
	if len(spec.Entrypoint) > 0 {
		doc.Entrypoint, doc.Cmd = spec.Entrypoint, nil
	}
	if len(spec.Cmd) > 0 {
		doc.Cmd = spec.Cmd
	}
	doc.Env = map[string]string{"PATH": defaultPath}
	for _, assignment := range config.Env {
		name, value, _ := strings.Cut(assignment, "=")
		doc.Env[name] = value
	}
	maps.Copy(doc.Env, spec.Env)
	return doc
}

// plan makes the supervisor's spec. The folder's own files are not there yet.
func (e *Enclave) plan(doc serviceDoc, img *image.Image, address backend.Address, netns string) (supervise.Spec, error) {
	spec, config := doc.Spec, img.Config.Config
	dir := e.container(spec.Name)
	hostname := spec.Hostname
	if hostname == "" {
		hostname = string(spec.Name)
	}
	out := supervise.Spec{
		ID:  e.id.Short() + "-" + shortUUID(spec),
		Dir: dir, Args: slices.Concat(spec.Wrapper, doc.Entrypoint, doc.Cmd),
		Env: assignments(doc.Env), Cwd: firstOf(spec.WorkDir, config.WorkingDir, "/"), User: firstOf(spec.User, config.User),
		Hostname: hostname, NetNS: netns, CgroupName: e.cgroup() + "/" + string(e.places.at(spec.Name)), Resources: spec.Resources,
		ResolvConf: resolvConf(address.Gateway, hostText("/etc/resolv.conf")), Hosts: hostsFile(address.IP, hostname, string(spec.Name)),
		Privileged: spec.Privileged, HostPID: spec.HostPID, NoInit: spec.NoInit, TTY: spec.TTY,
		AddCapabilities: spec.AddCapabilities, Devices: spec.Devices, StopSignal: config.StopSignal,
		LogBudget: e.serviceLog(), RestartAlways: spec.RestartAlways, Hold: spec.Hold,
	}
	if spec.Hold {
		out.StopSignal = "" // the image's is for its own command
	}
	for _, l := range img.Layers {
		out.Layers = append(out.Layers, l.Dir)
	}
	if len(out.Args) == 0 && !spec.Hold {
		return out, fault.New("E0407", "start service %q: neither image %q nor the service names a command: %w", spec.Name, spec.Image, fault.ErrInvalid).
			WithHint("give the service an entrypoint or a cmd")
	}
	var err error
	out.Mounts, err = e.mounts(spec, img, dir)
	return out, err
}

// mounts resolves a spec's mounts, and the image's volumes that no mount covers.
func (e *Enclave) mounts(spec backend.ServiceSpec, img *image.Image, dir string) ([]supervise.Mount, error) {
	var out []supervise.Mount
	covered := map[string]bool{}
	for _, m := range spec.Mounts {
		at := path.Clean(m.Path)
		if !path.IsAbs(m.Path) || at == "/" {
			return nil, fault.New(supervise.CodeMount, "start service %q: files can't be mounted at %q: %w", spec.Name, m.Path, fault.ErrInvalid).
				WithHint("give an absolute path other than /")
		}
		covered[at] = true
		mount := supervise.Mount{Path: at, Lower: m.Trees, Bind: m.HostPath}
		if m.PersistentKey != "" {
			var err error
			if mount.Bind, err = e.persistent(m.PersistentKey, at, img); err != nil {
				return nil, diskFault(fmt.Sprintf("persistent directory %q", m.PersistentKey), err)
			}
		}
		if mount.Bind == "" && len(mount.Lower) == 0 {
			mount.Lower = []string{filepath.Join(dir, "void")}
		}
		out = append(out, mount)
	}
	for _, volume := range slices.Sorted(maps.Keys(img.Config.Config.Volumes)) {
		// What the image holds there is in its layers, and writes to it last as
		// long as the service. Only a directory that is not there needs a mount.
		if at := path.Clean("/" + volume); at != "/" && !covered[at] && !inLayers(img, at) {
			out = append(out, supervise.Mount{Path: at, Lower: []string{filepath.Join(dir, "void")}})
		}
	}
	return out, nil
}

func inLayers(img *image.Image, at string) bool {
	return slices.ContainsFunc(img.Layers, func(l image.Layer) bool {
		_, err := os.Lstat(filepath.Join(l.Dir, at))
		return err == nil
	})
}

// serviceLog shares the enclave's budget out: an eighth for each service, since
// few of them ever write much.
func (e *Enclave) serviceLog() int64 {
	budget := e.spec.LogBudget
	if budget <= 0 {
		budget = defaultLogBudget
	}
	return min(max(budget/8, minServiceLog), maxServiceLog)
}

// cgroupOf is the name of an enclave's cgroup in every hierarchy.
func cgroupOf(id backend.EnclaveID) string { return "lepto/" + id.Short() }

func (e *Enclave) cgroup() string { return cgroupOf(e.id) }

func shortUUID(spec backend.ServiceSpec) string {
	if id := strings.ReplaceAll(spec.UUID, "-", ""); len(id) >= 12 {
		return id[:12]
	}
	return string(spec.Name)
}

// resolvConf asks the gateway for everything. A name without a dot is asked for
// as it is first (ndots:0): the gateway knows the services by it. Domains that the
// host searches come last, for short names of the network it is in.
func resolvConf(gateway netip.Addr, host string) string {
	search := strings.Join(append([]string{"enclave"}, searchDomains(host)...), " ")
	return fmt.Sprintf("nameserver %s\nsearch %s\noptions ndots:0\n", gateway, search)
}

// maxSearch is how many domains the C library searched for long (MAXDNSRCH).
const maxSearch = 6

// searchDomains gives the domains that a resolv.conf(5) has searched: the last of
// its lines about it counts.
func searchDomains(conf string) []string {
	var domains []string
	for line := range strings.Lines(conf) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "search" && fields[0] != "domain" {
			continue
		}
		domains = domains[:0]
		for _, d := range fields[1:] {
			if d != "." && d != "enclave" && len(domains) < maxSearch-1 { // the root is searched by systemd
				domains = append(domains, d)
			}
		}
	}
	return domains
}

func hostsFile(ip netip.Addr, names ...string) string {
	return "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" +
		ip.String() + "\t" + strings.Join(slices.Compact(names), " ") + "\n"
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

func assignments(env map[string]string) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		out = append(out, name+"="+env[name])
	}
	return out
}
