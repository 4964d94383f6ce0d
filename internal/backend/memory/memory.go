// Package memory is a backend that runs nothing: its services are Go functions
// in this process, their files are maps, their network is pipes. It is for fast
// tests, of this project and of packages.
//
// Its main types are [Backend] and [Program]. An image reference picks what a
// service does; these exist always, more come with [Options]:
//
//	pause, never-opens   runs until it is stopped
//	echo-server          answers on the ports of $PORTS ("8080,9000/udp")
//	exit:N               ends at once with code N
//	crash                prints a line on each stream and ends with code 1
//
// Any other reference exists too, and pretends: where the command to run is not
// known here, it pauses. Commands known in every image, for services and for
// Exec, are in programs.go.
//
// The state lives in the Backend's host, which outlives Close: [Backend.Reopen]
// gives what a new process would see. The package must not know of plans.
package memory

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// Options shape a memory backend. The zero value is useful.
type Options struct {
	Images   map[string]Image   // by reference; on top of those that are always there
	Commands map[string]Program // by name; on top of those that are always there
	Missing  []string           // references that don't exist
	// Architecture is that of the pretended host; this machine's if empty.
	Architecture string
	Now          func() time.Time // time.Now if nil
}

// Image is what a reference stands for.
type Image struct {
	Entrypoint []string
	Cmd        []string
	Env        map[string]string
	WorkDir    string
	User       string
	StopSignal int               // SIGTERM if 0
	Files      map[string]string // path to content
	Links      map[string]string // path to a symlink's target
	// Architecture is the host's if empty.
	Architecture string
	// Lenient makes a command that is not known here pause, in place of failing.
	Lenient bool
}

// Backend implements backend.Backend, ImagePuller and ImageBuilder.
type Backend struct{ host *host }

var (
	_ backend.Backend      = (*Backend)(nil)
	_ backend.ImagePuller  = (*Backend)(nil)
	_ backend.ImageBuilder = (*Backend)(nil)
)

// host is the pretended machine.
type host struct {
	opts     Options
	commands map[string]Program
	mu       sync.Mutex
	images   map[string]Image
	present  map[string]bool // references pulled or built before
	enclaves map[backend.EnclaveID]*Enclave
}

// New makes a backend on an empty host.
func New(opts Options) *Backend {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Architecture == "" {
		opts.Architecture = runtime.GOARCH
	}
	h := &host{opts: opts, commands: commands(), images: images(),
		present: map[string]bool{}, enclaves: map[backend.EnclaveID]*Enclave{}}
	h.commands["sh"] = shell
	maps.Copy(h.commands, opts.Commands)
	maps.Copy(h.images, opts.Images)
	return &Backend{host: h}
}

// Reopen gives another backend on the same host, as a new process would have it.
func (b *Backend) Reopen() *Backend { return &Backend{host: b.host} }

// Name is "memory".
func (b *Backend) Name() string { return "memory" }

// Close does nothing: services go on running.
func (b *Backend) Close() error { return nil }

// Capabilities says what a pretended host can do.
func (b *Backend) Capabilities() backend.Capabilities {
	c := backend.Capabilities{
		Backend: b.Name(), Architecture: b.host.opts.Architecture,
		Abilities: map[backend.Ability]bool{
			backend.AbilityPullImages: true, backend.AbilityBuildImages: true, backend.AbilityPause: true,
			backend.AbilityPublishTCP: true, backend.AbilityPersistent: true, backend.AbilityHostPublicPort: true,
			backend.AbilityShapeLinks: true,
		},
		Missing: map[backend.Ability]string{},
	}
	for _, a := range []backend.Ability{
		backend.AbilityImageStore, backend.AbilityPublishUDP, backend.AbilityTTY, backend.AbilityMemoryLimit,
		backend.AbilityCPULimit, backend.AbilityDevices, backend.AbilityGPU, backend.AbilityPrivileged,
		backend.AbilitySnapshot,
	} {
		c.Abilities[a] = false
		c.Missing[a] = "the memory backend runs no real processes"
	}
	return c
}

// CreateEnclave makes an enclave, or returns the one that is there.
func (b *Backend) CreateEnclave(ctx context.Context, spec backend.EnclaveSpec) (backend.Enclave, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	b.host.mu.Lock()
	defer b.host.mu.Unlock()
	if e := b.host.enclaves[spec.ID]; e != nil {
		return e, nil
	}
	subnet, err := b.host.freeSubnet()
	if err != nil {
		return nil, fmt.Errorf("enclave %q: %w", spec.ID.Short(), err)
	}
	e := newEnclave(b.host, spec, subnet)
	b.host.enclaves[spec.ID] = e
	return e, nil
}

// freeSubnet gives the first free /22 of 172.16.0.0/12. h.mu is held.
func (h *host) freeSubnet() (netip.Prefix, error) {
	taken := map[netip.Prefix]bool{}
	for _, e := range h.enclaves {
		taken[e.subnet] = true
	}
	for i := range 1 << 10 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{172, byte(16 + i>>6), byte(i << 2), 0}), 22)
		if !taken[p] {
			return p, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("no free subnet: %w", fault.ErrUnavailable)
}

// OpenEnclave gives the enclave made before.
func (b *Backend) OpenEnclave(ctx context.Context, id backend.EnclaveID) (backend.Enclave, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	b.host.mu.Lock()
	defer b.host.mu.Unlock()
	if e := b.host.enclaves[id]; e != nil {
		return e, nil
	}
	return nil, fmt.Errorf("enclave %q: %w", id.Short(), fault.ErrNotFound)
}

// Enclaves lists them all.
func (b *Backend) Enclaves(ctx context.Context) ([]backend.EnclaveID, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	b.host.mu.Lock()
	defer b.host.mu.Unlock()
	return slices.Sorted(maps.Keys(b.host.enclaves)), nil
}

// EnsureImage finds every reference but those of Options.Missing.
func (b *Backend) EnsureImage(ctx context.Context, req backend.ImageRequest, progress backend.ProgressFunc) (backend.ImageInfo, error) {
	if ctx.Err() != nil {
		return backend.ImageInfo{}, context.Cause(ctx)
	}
	image, err := b.host.image(req.Ref)
	if err != nil {
		return backend.ImageInfo{}, err
	}
	if progress != nil {
		progress(req.Ref, 1, 1)
	}
	return b.host.know(req.Ref, image, backend.SourceDownloaded, req.Policy == backend.PullAlways), nil
}

// BuildImage checks that the Dockerfile is there; the image behaves as one
// whose command is not known.
func (b *Backend) BuildImage(ctx context.Context, spec backend.BuildSpec, progress backend.ProgressFunc) (backend.ImageInfo, error) {
	if ctx.Err() != nil {
		return backend.ImageInfo{}, context.Cause(ctx)
	}
	file := spec.Dockerfile
	if file == "" {
		file = "Dockerfile"
	}
	if _, err := os.Stat(filepath.Join(spec.ContextDir, file)); err != nil {
		return backend.ImageInfo{}, fault.New("E0415", "build image %q: %w", spec.Tag, err)
	}
	if progress != nil {
		progress(spec.Tag, 1, 1)
	}
	b.host.mu.Lock()
	image, known := b.host.images[spec.Tag]
	if !known {
		image = Image{Lenient: true}
		b.host.images[spec.Tag] = image
	}
	b.host.mu.Unlock()
	return b.host.know(spec.Tag, image, backend.SourceBuilt, spec.NoCache), nil
}

// know notes that an image is here and tells what it is.
func (h *host) know(ref string, image Image, source backend.Source, fresh bool) backend.ImageInfo {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.present[ref] && !fresh {
		source = backend.SourceCached
	}
	h.present[ref] = true
	return backend.ImageInfo{Ref: ref, Digest: digest(ref), Architecture: h.architecture(image), Source: source}
}

func (h *host) architecture(image Image) string {
	if image.Architecture != "" {
		return image.Architecture
	}
	return h.opts.Architecture
}

// image gives what a reference stands for.
func (h *host) image(ref string) (Image, error) {
	if slices.Contains(h.opts.Missing, ref) {
		return Image{}, fault.New("E0410", "image %q: %w", ref, fault.ErrNotFound).
			WithHint("check the name and the tag")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	name := strings.TrimSuffix(ref, ":latest")
	if image, ok := h.images[ref]; ok {
		return image, nil
	}
	if image, ok := h.images[name]; ok {
		return image, nil
	}
	if code, ok := strings.CutPrefix(ref, "exit:"); ok {
		return Image{Cmd: []string{"exit", code}}, nil
	}
	return Image{Lenient: true}, nil
}

// lookPath finds a command. Where there is none it gives the code a shell has
// for that: 127 if it is not there, 126 if it can't be executed.
func (h *host) lookPath(files *Files, name string) (Program, int) {
	if path.IsAbs(name) {
		if mode, err := files.Mode(name); err == nil && (mode.IsDir() || mode&0o111 == 0 || mode&fs.ModeType == 0) {
			return nil, 126
		}
		if dir := path.Dir(name); !slices.Contains([]string{"/bin", "/usr/bin", "/sbin", "/usr/sbin", "/usr/local/bin"}, dir) {
			return nil, 127
		}
	}
	if program := h.commands[path.Base(name)]; program != nil {
		return program, 0
	}
	return nil, 127
}
