package plan

import (
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
)

// ForecastInput is the enclave as it is before the plan.
type ForecastInput struct {
	Services  map[string]map[string]enclave.Port // private ports by service name
	UUIDs     map[string]string                  // service UUID to name; a service may be named by either
	Tasks     []string                           // which of them are tasks that were left
	Artifacts []string                           // names of files artifacts
	// CPUMillis and MemoryMB are what the host has left for reservations
	// (millicores, megabytes). 0 means unknown: then nothing is checked.
	CPUMillis uint64
	MemoryMB  uint64
	// Capabilities of the backend. Without abilities nothing is checked.
	Capabilities backend.Capabilities
	// StrictNames refuses service names that are no DNS label and port ids that
	// are no IANA service name, as the current dialect alone would.
	StrictNames bool
	// KeepTasks: tasks stay after their end, and can be used as services.
	KeepTasks bool
}

// A Forecast is the enclave as it will be after the steps so far: what
// validation checks against. It is a plain value that asks nobody.
type Forecast struct {
	in        ForecastInput
	services  map[string]map[string]enclave.Port
	tasks     map[string]bool        // which of services are tasks
	reserved  map[string]reservation // of services added by the plan
	artifacts map[string]bool
	made      map[string]bool // artifacts made by the plan
	images    []enclave.Image
	cpuLeft   uint64
	memLeft   uint64
}

// reservation is what a service takes of the host, by its min_cpu and min_memory.
type reservation struct{ cpu, mem uint64 }

// NewForecast starts a forecast. It keeps no part of the input's maps.
func NewForecast(in ForecastInput) *Forecast {
	f := &Forecast{
		in:        in,
		services:  maps.Clone(in.Services),
		tasks:     map[string]bool{},
		reserved:  map[string]reservation{},
		artifacts: map[string]bool{},
		made:      map[string]bool{},
		cpuLeft:   in.CPUMillis,
		memLeft:   in.MemoryMB,
	}
	if f.services == nil {
		f.services = map[string]map[string]enclave.Port{}
	}
	for _, name := range in.Tasks {
		f.tasks[name] = true
	}
	for _, name := range in.Artifacts {
		f.artifacts[name] = true
	}
	return f
}

// The patterns of names (starlark spec §2.1; the wide one is what the classic
// dialect allows, bounded to a DNS label's length).
var (
	wideName   = lazily(`^[a-zA-Z0-9-_]{1,63}$`)
	taskName   = lazily(`^[a-zA-Z0-9-_][a-zA-Z0-9-_.]{0,62}$`)
	strictName = lazily(`^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$`)
	strictPort = lazily(`^[a-z]([-a-z0-9]{0,13}[a-z0-9])?$`)
)

// lazily compiles a pattern at its first use. Compiling this package's patterns
// took 1.5 ms and 180 KB of every start of lepto, most of which use none.
func lazily(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}

// AddService checks a service to be added and, whatever it finds, records it, so
// that later steps are not refused for want of it. A service that is there from
// an earlier run is fine: it is updated. A second one of this plan is not.
func (f *Forecast) AddService(name string, cfg enclave.ServiceConfig) []error {
	errs := f.CheckSubnetwork(name, cfg.Subnetwork)
	errs = append(errs, f.checkName(name)...)
	errs = append(errs, f.checkPersistent(cfg.Files)...)
	if _, twice := f.reserved[name]; twice {
		errs = append(errs, fault.New("E0302", "service %q is added twice in this plan", name).
			WithHint("give it another name, or remove_service first"))
	}
	errs = append(errs, f.checkArtifacts("service", name, cfg.Files)...)
	errs = append(errs, f.checkResources(name, cfg)...)
	errs = append(errs, f.checkPortIDs(name, cfg.Ports)...)
	errs = append(errs, f.checkAbilities("service", name, cfg)...)

	if _, twice := f.reserved[name]; twice {
		f.release(name)
	}
	f.reserve(name, reservation{cpu: cfg.MinCPU, mem: cfg.MinMemory})
	f.services[name] = maps.Clone(cfg.Ports)
	delete(f.tasks, name)
	f.AddImage(cfg.Image)
	return errs
}

// RemoveService checks that the service is there and forgets it: its name, ports
// and resources are free again.
func (f *Forecast) RemoveService(identifier string) error {
	name, err := f.Service(identifier)
	if err != nil {
		return err
	}
	delete(f.services, name)
	f.release(name)
	return nil
}

// Service gives the name of the service that an identifier (name or UUID, full
// or short) stands for, or an E0303 that says which names there are.
func (f *Forecast) Service(identifier string) (string, error) {
	if _, ok := f.services[identifier]; ok {
		return identifier, nil
	}
	if name, ok := f.byUUID(identifier); ok {
		return name, nil
	}
	err := fault.New("E0303", "service %q does not exist at this point of the plan", identifier)
	names := slices.Sorted(maps.Keys(f.services))
	if near := fault.Nearest(identifier, names); near != "" {
		return "", err.WithHint("did you mean %q?", near)
	}
	if len(names) == 0 {
		return "", err.WithHint("no service exists here; add it before")
	}
	return "", err.WithHint("services here: %s", abbreviate(names))
}

// byUUID finds a service by full UUID, or by a short one that fits only it.
func (f *Forecast) byUUID(identifier string) (string, bool) {
	if len(identifier) < 12 {
		return "", false
	}
	found := ""
	for uuid, name := range f.in.UUIDs {
		if _, alive := f.services[name]; !alive || !strings.HasPrefix(uuid, identifier) {
			continue
		}
		if found != "" && found != name {
			return "", false
		}
		found = name
	}
	return found, found != ""
}

// HasService reports whether the service is there at this point.
func (f *Forecast) HasService(identifier string) bool {
	_, err := f.Service(identifier)
	return err == nil
}

// Next gives the enclave as it is after the steps so far, as a later plan finds
// it.
func (f *Forecast) Next() ForecastInput {
	next := f.in
	next.Services = maps.Clone(f.services)
	next.Artifacts = slices.Sorted(maps.Keys(f.artifacts))
	return next
}

// ServiceNames lists the services at this point, sorted.
func (f *Forecast) ServiceNames() []string { return slices.Sorted(maps.Keys(f.services)) }

// Port checks that a service has a private port of this id.
func (f *Forecast) Port(identifier, id string) (enclave.Port, error) {
	name, err := f.Service(identifier)
	if err != nil {
		return enclave.Port{}, err
	}
	if port, ok := f.services[name][id]; ok {
		return port, nil
	}
	ids := slices.Sorted(maps.Keys(f.services[name]))
	missing := fault.New("E0305", "service %q has no port %q", name, id)
	if near := fault.Nearest(id, ids); near != "" {
		return enclave.Port{}, missing.WithHint("did you mean %q?", near)
	}
	if len(ids) == 0 {
		return enclave.Port{}, missing.WithHint("it declares no port at all")
	}
	return enclave.Port{}, missing.WithHint("its ports: %s", abbreviate(ids))
}

// AddArtifact records a files artifact that a step makes. One of an earlier run
// is overwritten; a second one of this plan is an E0307.
func (f *Forecast) AddArtifact(name string) error {
	if f.made[name] {
		return fault.New("E0307", "files artifact %q is made twice in this plan", name).
			WithHint("give one of them another name")
	}
	f.made[name], f.artifacts[name] = true, true
	return nil
}

// Artifact checks that a files artifact is there at this point.
func (f *Forecast) Artifact(name string) error {
	if f.artifacts[name] {
		return nil
	}
	err := fault.New("E0304", "files artifact %q does not exist at this point of the plan", name)
	names := slices.Sorted(maps.Keys(f.artifacts))
	if near := fault.Nearest(name, names); near != "" {
		return err.WithHint("did you mean %q?", near)
	}
	if len(names) == 0 {
		return err.WithHint("no files artifact exists here; make it before")
	}
	return err.WithHint("artifacts here: %s", abbreviate(names))
}

// AddImage records an image that the plan needs.
func (f *Forecast) AddImage(image enclave.Image) {
	same := func(other enclave.Image) bool { return sameImage(image, other) }
	if image.Ref != "" && !slices.ContainsFunc(f.images, same) {
		f.images = append(f.images, image)
	}
}

// Images lists the images that the plan needs so far, in order of first use,
// without repeats.
func (f *Forecast) Images() []enclave.Image { return slices.Clone(f.images) }

func sameImage(a, b enclave.Image) bool {
	if a.Ref != b.Ref || a.Registry != b.Registry || a.Username != b.Username || a.Password != b.Password {
		return false
	}
	if a.Build == nil || b.Build == nil {
		return a.Build == b.Build
	}
	return a.Build.ContextDir == b.Build.ContextDir && a.Build.Dockerfile == b.Build.Dockerfile &&
		a.Build.Target == b.Build.Target && maps.Equal(a.Build.Args, b.Build.Args)
}

// abbreviate joins at most ten names.
func abbreviate(names []string) string {
	if len(names) > 10 {
		return strings.Join(names[:10], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}

func isNotFound(err error) bool { return errors.Is(err, fault.ErrNotFound) }
