// Package native is the embedded backend: containers of this host's kernel,
// with no daemon and no other program but our own.
//
// Its main types are [Backend] and [Enclave]. It joins the rooms below: package
// supervise runs and finds containers, package network makes an enclave's
// network, package image holds images. What this package itself decides is the
// order of things and their record: every enclave is a folder of Config.Home,
// made before anything else of it and deleted last, and a service's record is
// written before its first side effect. After a crash or a reboot, OpenEnclave
// finds all of it there.
//
//	native/<enclave id>/
//	  enclave.json      the enclave's spec, subnet and reserved addresses
//	  netns net/        see package network
//	  persistent/<key>/ persistent directories
//	  c/<service>/      a container's folder, see package supervise
//	    service.json    the service's spec, what it resolved to, its phase
//
// Enclaves of one home belong to one process at a time; the engine's lock sees
// to it. The package must not know of plans or of the engine.
package native

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/embedded"
	"github.com/lepto-dev/lepto/internal/backend/native/shape"
	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/image"
)

// Config says how to open the backend. Home is required.
type Config struct {
	// Home is the state directory, absolute: images/ and native/ are made in it.
	Home   string
	Logger *slog.Logger // slog.Default if nil
	// Images opens the image store's options: keychain, transport, limits.
	Images image.Options
	// Launcher names the supervisor and init to use; the embedded ones if zero.
	Launcher supervise.Launcher
	// Apart moves this process to cgroups of lepto's own until Close, and so all
	// that it starts: whoever started it may then be ended with all of theirs.
	Apart bool

	// failpoints make named steps fail or stop, in tests of crashes. A step that
	// gives an error leaves things as a crash at that point would.
	failpoints map[string]func() error
}

// Bounds of what no caller's context bounds. They are for a host that is stuck,
// not for one that is busy.
const (
	startBound   = 2 * time.Minute
	removeBound  = time.Minute
	destroyBound = 3 * time.Minute
)

// Backend implements backend.Backend with ImagePuller, ImageBuilder and ImageStore.
type Backend struct {
	cfg      Config
	log      *slog.Logger
	launcher supervise.Launcher
	images   *image.Store
	limits   backend.Limits
	seat     *seat // nil unless Config.Apart

	opening backend.Turns[backend.EnclaveID]
	subnets sync.Mutex // held while a subnet is chosen and written

	mu       sync.Mutex
	enclaves map[backend.EnclaveID]*Enclave

	unwatch func() // ends what watchFirewall began; nil before
}

var (
	_ backend.Backend      = (*Backend)(nil)
	_ backend.ImagePuller  = (*Backend)(nil)
	_ backend.ImageBuilder = (*Backend)(nil)
	_ backend.ImageStore   = (*Backend)(nil)
)

// Open makes the home's folders, unpacks the embedded programs and opens the
// image store. It touches no enclave.
func Open(ctx context.Context, cfg Config) (*Backend, error) {
	if !filepath.IsAbs(cfg.Home) {
		return nil, fmt.Errorf("home %q is not absolute: %w", cfg.Home, fault.ErrInvalid)
	}
	if err := refuseChroot(); err != nil {
		return nil, err
	}
	b := &Backend{cfg: cfg, log: cfg.Logger, launcher: cfg.Launcher, enclaves: map[backend.EnclaveID]*Enclave{}}
	if b.log == nil {
		b.log = slog.Default()
	}
	if cfg.Apart {
		b.seat = takeSeat(b.engineCgroup(), b.log)
	}
	if err := b.prepare(ctx, cfg); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	b.watchFirewall()
	return b, nil
}

// prepare makes the home ready.
func (b *Backend) prepare(ctx context.Context, cfg Config) error {
	if err := os.MkdirAll(b.root(), 0o700); err != nil {
		return diskFault("open the native backend", err)
	}
	if b.launcher == (supervise.Launcher{}) {
		programs, err := embedded.Extract(filepath.Join(cfg.Home, "bin"))
		if err != nil {
			return diskFault("unpack the supervisor", err)
		}
		b.launcher = supervise.Launcher{Supervisor: programs.Supervisor, Init: programs.Init}
	}
	// Before the image store is opened: it deletes the folders of these steps.
	if err := b.endBuildSteps(ctx); err != nil {
		return err
	}
	if cfg.Images.Logger == nil {
		cfg.Images.Logger = b.log
	}
	var err error
	if b.images, err = image.Open(filepath.Join(cfg.Home, "images"), cfg.Images); err != nil {
		return err
	}
	b.limits = hostLimits()
	go shape.Probe() // 10 ms that Capabilities need not wait for; it ends by itself
	return nil
}

// root is the folder of all enclaves.
func (b *Backend) root() string { return filepath.Join(b.cfg.Home, "native") }

func (b *Backend) dir(id backend.EnclaveID) string { return filepath.Join(b.root(), string(id)) }

// found gives the paths of what is in the folder of all enclaves and fits a
// pattern. The home's own name is none: it may have a "[" in it.
func (b *Backend) found(pattern string) []string {
	names, _ := fs.Glob(os.DirFS(b.root()), pattern) // fails only for a bad pattern
	for i, name := range names {
		names[i] = filepath.Join(b.root(), name)
	}
	return names
}

// Name is "native".
func (b *Backend) Name() string { return "native" }

// Capabilities says what this backend can do here.
func (b *Backend) Capabilities() backend.Capabilities {
	c := backend.Capabilities{
		Backend: b.Name(), Architecture: runtime.GOARCH, Limits: b.limits,
		Abilities: map[backend.Ability]bool{}, Missing: map[backend.Ability]string{},
	}
	for _, a := range []backend.Ability{
		backend.AbilityPullImages, backend.AbilityBuildImages, backend.AbilityImageStore, backend.AbilityPause,
		backend.AbilityPublishTCP, backend.AbilityPublishUDP, backend.AbilityTTY, backend.AbilityDevices,
		backend.AbilityPrivileged, backend.AbilityPersistent, backend.AbilityHostPublicPort,
	} {
		c.Abilities[a] = true
	}
	lacks := func(a backend.Ability, why string) {
		c.Abilities[a] = why == ""
		if why != "" {
			c.Missing[a] = why
		}
	}
	lacks(backend.AbilityMemoryLimit, missingController("memory"))
	lacks(backend.AbilityCPULimit, missingController("cpu"))
	lacks(backend.AbilityGPU, "the native backend sets up no GPU drivers")
	lacks(backend.AbilityShapeLinks, missingShaping())
	lacks(backend.AbilitySnapshot, "the native backend takes no snapshots yet")
	return c
}

// Enclaves lists the folders: whatever is left of an enclave, its folder is.
func (b *Backend) Enclaves(ctx context.Context) ([]backend.EnclaveID, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	entries, err := os.ReadDir(b.root())
	if err != nil {
		return nil, fmt.Errorf("list enclaves: %w", err)
	}
	var ids []backend.EnclaveID
	for _, e := range entries {
		if id := backend.EnclaveID(e.Name()); e.IsDir() && validID(id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

func validID(id backend.EnclaveID) bool {
	return len(id) == 32 && strings.Trim(string(id), "0123456789abcdef") == ""
}

// Close lets go of all enclaves. Their services, and the processes that look
// after them, go on.
func (b *Backend) Close() error {
	if b.unwatch != nil {
		b.unwatch()
	}
	b.mu.Lock()
	open := b.enclaves
	b.enclaves = map[backend.EnclaveID]*Enclave{}
	b.mu.Unlock()
	var errs []error
	for _, e := range open {
		errs = append(errs, e.close())
	}
	left, err := b.Enclaves(context.Background())
	b.seat.leave(context.Background(), err == nil && len(left) == 0)
	return errors.Join(errs...)
}

// reach runs a named step's failpoint, if a test has set one.
func (b *Backend) reach(step string) error {
	if f := b.cfg.failpoints[step]; f != nil {
		return f()
	}
	return nil
}

// held gives the open handle of an enclave, if there is one.
func (b *Backend) held(id backend.EnclaveID) *Enclave {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.enclaves[id]
}

func (b *Backend) hold(e *Enclave) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.enclaves[e.id] = e
}

func (b *Backend) forget(e *Enclave) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.enclaves[e.id] == e {
		delete(b.enclaves, e.id)
	}
}
