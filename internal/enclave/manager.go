package enclave

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lepto-dev/lepto/internal/artifact"
	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// Deps is what a Manager needs of the world. Zero fields get the real thing.
type Deps struct {
	Now       func() time.Time
	NewID     func() string   // 32 lower-case hex digits
	Random    func(n int) int // a number from 0 to n-1
	Artifacts *artifact.Store // nil: there are none
	Logger    *slog.Logger
}

func (d Deps) withDefaults() Deps {
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.NewID == nil {
		d.NewID = NewID
	}
	if d.Random == nil {
		d.Random = randomBelow
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	return d
}

// NewID makes a random UUID (RFC 9562, version 4): 32 lower-case hex digits.
func NewID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return hex.EncodeToString(b[:])
}

func randomBelow(n int) int {
	i, err := rand.Int(rand.Reader, big.NewInt(int64(n)))
	if err != nil {
		return 0 // crypto/rand's reader never fails
	}
	return int(i.Int64())
}

// A Manager is the set of enclaves over one backend. Safe for concurrent use.
// Call Reconcile once, before anything else.
type Manager struct {
	store   *Store
	backend backend.Backend
	deps    Deps

	mu       sync.Mutex
	enclaves map[string]*Enclave // by UUID, those being made too
}

// NewManager makes a Manager of what the store knows. It asks the backend nothing.
func NewManager(store *Store, be backend.Backend, deps Deps) (*Manager, error) {
	m := &Manager{store: store, backend: be, deps: deps.withDefaults(), enclaves: map[string]*Enclave{}}
	known, err := store.enclaves()
	if err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	for _, row := range known {
		services, err := store.services(row.UUID)
		if err != nil {
			return nil, fmt.Errorf("read state of enclave %q: %w", row.Name, err)
		}
		artifacts, err := store.artifacts(row.UUID)
		if err != nil {
			return nil, fmt.Errorf("read state of enclave %q: %w", row.Name, err)
		}
		links, err := store.links(row.UUID)
		if err != nil {
			return nil, fmt.Errorf("read state of enclave %q: %w", row.Name, err)
		}
		m.enclaves[row.UUID] = newEnclave(m, row, services, artifacts, links)
	}
	return m, nil
}

// Backend gives the backend that the enclaves live on.
func (m *Manager) Backend() backend.Backend { return m.backend }

// CreateSpec says how to make an enclave.
type CreateSpec struct {
	Name       string // empty: a generated one
	Production bool   // services restart when they end
	LinkSeed   uint64 // of the fates of packets between subnetworks; 0: one from the UUID, which is random
}

// Create makes an enclave. A bad name is an E0340, one in use an E0341.
func (m *Manager) Create(ctx context.Context, spec CreateSpec) (*Enclave, error) {
	if spec.Name != "" {
		if err := CheckName(spec.Name); err != nil {
			return nil, err
		}
	}
	e, err := m.reserve(spec)
	if err != nil {
		return nil, err
	}
	if err := m.make(ctx, e); err != nil {
		m.forget(e)
		return nil, err
	}
	return e, nil
}

// reserve takes a name, in memory.
func (m *Manager) reserve(spec CreateSpec) (*Enclave, error) {
	past, err := m.store.enclaveHistory()
	if err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	live := func(name string) bool {
		for _, e := range m.enclaves {
			if e.row().Name == name {
				return true
			}
		}
		return false
	}
	name := spec.Name
	switch {
	case name == "":
		name = RandomName(m.deps.Random, func(name string) bool {
			return live(name) || slices.ContainsFunc(past, func(i Identifier) bool { return i.Name == name })
		})
	case live(name):
		err := fault.New("E0341", "an enclave named %q exists already", name).
			WithHint("choose another name, or remove it: lepto enclave rm -f %s", name)
		err.Cause = fault.ErrExists
		return nil, err
	}
	row := enclaveRow{
		UUID: m.deps.NewID(), Name: name, Production: spec.Production,
		Created: m.deps.Now().UTC(), Phase: phaseIntended, LinkSeed: spec.LinkSeed,
	}
	e := newEnclave(m, row, nil, nil, nil)
	m.enclaves[row.UUID] = e
	return e, nil
}

// make gives a reserved enclave its rows and its place on the backend. On
// failure nothing of it is left; what can't be undone now, Reconcile undoes.
func (m *Manager) make(ctx context.Context, e *Enclave) error {
	row := e.row()
	if err := m.store.putEnclave("enclave intended", row, false); err != nil {
		return fmt.Errorf("enclave %q: %w", row.Name, err)
	}
	handle, err := m.backend.CreateEnclave(ctx, backend.EnclaveSpec{ID: backend.EnclaveID(row.UUID), Name: row.Name})
	if err != nil {
		return errors.Join(fault.From(fmt.Errorf("create enclave %q: %w", row.Name, err), "E0348"),
			m.store.deleteEnclave("enclave not made", row.UUID))
	}
	row.Phase = phaseDone
	if err := m.store.putEnclave("enclave done", row, true); err != nil {
		undo, cancel := lastWill(ctx)
		defer cancel()
		if undone := handle.Destroy(undo); undone != nil {
			return errors.Join(err, undone) // its row stays, so it is found again
		}
		return errors.Join(err, m.store.deleteEnclave("enclave undone", row.UUID))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.record, e.handle = row, handle
	return nil
}

// undoTime bounds what is done to clean up after a failure, whose own context
// may have ended.
const undoTime = 30 * time.Second

// lastWill gives a context for cleaning up: it outlives ctx, but not for long.
func lastWill(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(context.WithoutCancel(ctx), undoTime,
		fmt.Errorf("cleaning up: %w after %v", fault.ErrTimeout, undoTime))
}

func (m *Manager) forget(e *Enclave) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.enclaves, e.UUID())
}

// Get finds a live enclave by full UUID, short UUID or name. E0342 if there is
// none, E0343 if several fit.
func (m *Manager) Get(identifier string) (*Enclave, error) {
	live := m.List()
	ids := make([]Identifier, len(live))
	names := make([]string, len(live))
	for i, e := range live {
		row := e.row()
		ids[i], names[i] = Identifier{UUID: row.UUID, Name: row.Name}, row.Name
	}
	id, err := find("enclave", identifier, ids)
	if errors.Is(err, fault.ErrNotFound) {
		return nil, missing("E0342", "enclave", identifier, names)
	}
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(live, func(e *Enclave) bool { return e.UUID() == id.UUID })
	return live[i], nil
}

// List gives the live enclaves, oldest first, ties by name.
func (m *Manager) List() []*Enclave {
	m.mu.Lock()
	defer m.mu.Unlock()
	var live []*Enclave
	for _, e := range m.enclaves {
		if e.row().Phase != phaseIntended {
			live = append(live, e)
		}
	}
	slices.SortFunc(live, func(a, b *Enclave) int {
		x, y := a.row(), b.row()
		return cmp.Or(x.Created.Compare(y.Created), cmp.Compare(x.Name, y.Name), cmp.Compare(x.UUID, y.UUID))
	})
	return live
}

// History lists every enclave there ever was, live and destroyed, in order of
// creation.
func (m *Manager) History() ([]Identifier, error) { return m.store.enclaveHistory() }

// Destroy removes an enclave and all of it. What runs in it is cancelled. On
// failure it stays listed, and Destroy can be called again. Once the removal has
// begun it goes on to its end, also when ctx ends.
func (m *Manager) Destroy(ctx context.Context, identifier string) error {
	e, err := m.Get(identifier)
	if err != nil {
		return err
	}
	return e.destroy(ctx)
}

// Stop stops an enclave's services and keeps all they have. See [Enclave.Stop].
func (m *Manager) Stop(ctx context.Context, identifier string) error {
	e, err := m.Get(identifier)
	if err != nil {
		return err
	}
	return e.Stop(ctx)
}

// Start is the inverse of Stop.
func (m *Manager) Start(ctx context.Context, identifier string) error {
	e, err := m.Get(identifier)
	if err != nil {
		return err
	}
	return e.Start(ctx)
}

// destroyedAtOnce bounds how many enclaves Clean and Reconcile work on together.
const destroyedAtOnce = 4

// Clean destroys the enclaves that are stopped or empty and, with all, those
// that run too. It gives those destroyed, and the errors of the others joined.
func (m *Manager) Clean(ctx context.Context, all bool) ([]Identifier, error) {
	var (
		mu      sync.Mutex
		removed []Identifier
		errs    []error
		group   errgroup.Group
	)
	group.SetLimit(destroyedAtOnce)
	for _, e := range m.List() {
		info := e.Info()
		if info.Status == Running && !all {
			continue
		}
		group.Go(func() error {
			err := e.destroy(ctx)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
			} else {
				removed = append(removed, Identifier{UUID: info.UUID, Name: info.Name})
			}
			return nil
		})
	}
	_ = group.Wait() // the errors are gathered above
	slices.SortFunc(removed, func(a, b Identifier) int { return cmp.Compare(a.Name, b.Name) })
	return removed, errors.Join(errs...)
}
