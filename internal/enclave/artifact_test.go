package enclave

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/artifact"
	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/memory"
	"github.com/lepto-dev/lepto/internal/fault"
)

// artifactWorld is a host with a state file and an artifact store.
type artifactWorld struct {
	host *memory.Backend
	dir  string
}

func newArtifactWorld(t *testing.T) artifactWorld {
	return artifactWorld{memory.New(memory.Options{}), t.TempDir()}
}

// manager is a process on the host. The one before it must have closed its store.
func (w artifactWorld) manager(t *testing.T, hook func(string) error) (*Manager, *Store) {
	t.Helper()
	store := openTestStore(t, filepath.Join(w.dir, "engine.db"))
	store.hook = hook
	artifacts, err := artifact.Open(filepath.Join(w.dir, "artifacts"), artifact.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewManager(store, w.host.Reopen(), Deps{Artifacts: artifacts})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	return m, store
}

func (w artifactWorld) enclave(t *testing.T, m *Manager, name string) *Enclave {
	t.Helper()
	e, err := m.Create(t.Context(), CreateSpec{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// trees counts the trees on the disk.
func (w artifactWorld) trees(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(w.dir, "artifacts", "trees"))
	if err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(filepath.Join(w.dir, "artifacts", "tmp"))
	if err != nil || len(left) > 0 {
		t.Errorf("work is left: %v, %v", left, err)
	}
	return len(entries)
}

// file fills an artifact with one file "f".
func file(text string) func(*artifact.Builder) error {
	return func(b *artifact.Builder) error {
		return b.File("f", func(w io.Writer) error { _, err := io.WriteString(w, text); return err })
	}
}

func mustStore(t *testing.T, e *Enclave, name, text string, want Change) Artifact {
	t.Helper()
	a, change, err := e.StoreArtifact(t.Context(), name, StoreOptions{}, file(text))
	if err != nil || change != want {
		t.Fatalf("store %q: %s, %v", name, change, err)
	}
	return a
}

// sees gives what a service reads.
func sees(t *testing.T, e *Enclave, service, path string) string {
	t.Helper()
	var out strings.Builder
	if code, err := e.Exec(t.Context(), service, backend.ExecSpec{Args: []string{"cat", path}, Stdout: &out}); err != nil || code != 0 {
		t.Fatalf("cat %s in %s: %d, %v", path, service, code, err)
	}
	return out.String()
}

func mounting(artifacts ...string) ServiceConfig {
	cfg := idle()
	cfg.Files = []FileMount{{Path: "/m", Artifacts: artifacts}}
	return cfg
}

func TestArtifactsShareTreesAndGoWithTheLast(t *testing.T) {
	w := newArtifactWorld(t)
	m, _ := w.manager(t, nil)
	one, two := w.enclave(t, m, "one"), w.enclave(t, m, "two")
	a := mustStore(t, one, "a", "x", Created)
	b := mustStore(t, two, "b", "x", Created)
	if a.Hash != b.Hash || a.UUID == b.UUID || w.trees(t) != 1 {
		t.Errorf("one content, %d trees: %+v, %+v", w.trees(t), a, b)
	}
	mustStore(t, one, "a", "x", Unchanged)
	updated := mustStore(t, one, "a", "y", Updated)
	if updated.UUID != a.UUID || w.trees(t) != 2 {
		t.Errorf("got %+v, %d trees", updated, w.trees(t))
	}
	if err := m.Destroy(t.Context(), "two"); err != nil {
		t.Fatal(err)
	}
	if n := w.trees(t); n != 1 {
		t.Errorf("%d trees after the enclave of one is gone", n)
	}
	if err := one.RemoveArtifact(t.Context(), a.ShortUUID()); err != nil {
		t.Fatal(err)
	}
	if n := w.trees(t); n != 0 {
		t.Errorf("%d trees after all are removed", n)
	}
	wantCode(t, one.RemoveArtifact(t.Context(), "a"), "E0356")
}

// A service sees the content that the artifact had when the service was added,
// and so it does when the artifact is updated, removed, or the engine restarted.
func TestServicesKeepTheirTrees(t *testing.T) {
	w := newArtifactWorld(t)
	m, store := w.manager(t, nil)
	e := w.enclave(t, m, "home")
	mustStore(t, e, "a", "first", Created)
	mustAdd(t, e, "old", mounting("a"))
	mustStore(t, e, "a", "second", Updated)
	mustAdd(t, e, "new", mounting("a"))
	if err := e.RemoveArtifact(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if n := w.trees(t); n != 2 {
		t.Errorf("%d trees, but two services have one each", n)
	}
	store.Close()
	m, _ = w.manager(t, nil)
	e, err := m.Get("home")
	if err != nil {
		t.Fatal(err)
	}
	if n := w.trees(t); n != 2 {
		t.Errorf("%d trees after a restart", n)
	}
	for name, want := range map[string]string{"old": "first", "new": "second"} {
		if err := e.StopService(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if err := e.StartService(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if got := sees(t, e, name, "/m/f"); got != want {
			t.Errorf("%s sees %q", name, got)
		}
	}
	for n, name := range []string{"old", "new"} {
		if err := e.RemoveService(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if got := w.trees(t); got != 1-n {
			t.Errorf("%d trees after %s is removed", got, name)
		}
	}
	_, err = e.AddService(t.Context(), "late", mounting("a"), AddOptions{})
	wantCode(t, err, "E0355")
	if err := m.Destroy(t.Context(), "home"); err != nil {
		t.Fatal(err)
	}
}

func TestReplacedServiceLetsItsTreeGo(t *testing.T) {
	w := newArtifactWorld(t)
	m, _ := w.manager(t, nil)
	e := w.enclave(t, m, "home")
	mustStore(t, e, "a", "first", Created)
	mustAdd(t, e, "s", mounting("a"))
	mustStore(t, e, "a", "second", Updated)
	mustAdd(t, e, "s", mounting("a"))
	if got := sees(t, e, "s", "/m/f"); got != "second" || w.trees(t) != 1 {
		t.Errorf("sees %q, %d trees", got, w.trees(t))
	}
}

func TestStoreArtifactNames(t *testing.T) {
	w := newArtifactWorld(t)
	m, _ := w.manager(t, nil)
	e := w.enclave(t, m, "home")
	made := mustStore(t, e, "", "x", Created)
	if len(strings.Split(made.Name, "-")) != 2 {
		t.Errorf("made up %q", made.Name)
	}
	_, _, err := e.StoreArtifact(t.Context(), made.Name, StoreOptions{New: true}, file("y"))
	if f := wantCode(t, err, "E0357"); !errors.Is(f, fault.ErrExists) {
		t.Errorf("got %v", err)
	}
	for _, identifier := range []string{made.Name, made.UUID, made.ShortUUID()} {
		if a, err := e.Artifact(identifier); err != nil || a != made {
			t.Errorf("%s: %+v, %v", identifier, a, err)
		}
	}
	_, err = e.Artifact(made.Name + "x")
	if f := wantCode(t, err, "E0356"); !strings.Contains(f.Hint, made.Name) {
		t.Errorf("got hint %q", f.Hint)
	}
	failed := errors.New("no content")
	if _, _, err := e.StoreArtifact(t.Context(), "z", StoreOptions{}, func(*artifact.Builder) error { return failed }); !errors.Is(err, failed) || w.trees(t) != 1 {
		t.Errorf("got %v, %d trees", err, w.trees(t))
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(failed)
	if _, _, err := e.StoreArtifact(ctx, "z", StoreOptions{}, file("z")); !errors.Is(err, failed) {
		t.Errorf("cancelled: %v", err)
	}
}

// Whenever the process dies, the next one finds the artifacts that the state
// names, with their trees, and no others.
func TestArtifactsSurviveCrashes(t *testing.T) {
	actions := []func(context.Context, *Enclave) error{
		func(ctx context.Context, e *Enclave) error {
			_, _, err := e.StoreArtifact(ctx, "a", StoreOptions{}, file("1"))
			return err
		},
		func(ctx context.Context, e *Enclave) error {
			_, err := e.AddService(ctx, "s", mounting("a"), AddOptions{})
			return err
		},
		func(ctx context.Context, e *Enclave) error {
			_, _, err := e.StoreArtifact(ctx, "a", StoreOptions{}, file("2"))
			return err
		},
		func(ctx context.Context, e *Enclave) error {
			_, err := e.AddService(ctx, "s", mounting("a"), AddOptions{})
			return err
		},
		func(ctx context.Context, e *Enclave) error { return e.RemoveArtifact(ctx, "a") },
		func(ctx context.Context, e *Enclave) error { return e.RemoveService(ctx, "s") },
	}
	for left := 0; ; left++ {
		w := newArtifactWorld(t)
		mortality := &mortality{left: -1}
		m, store := w.manager(t, mortality.pass)
		e := w.enclave(t, m, "home")
		mortality.left = left
		for _, act := range actions {
			if err := act(t.Context(), e); mortality.alive() != nil {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		died := mortality.alive() != nil
		store.Close()
		next, _ := w.manager(t, nil)
		checkTrees(t, w, next, fmt.Sprintf("death at %d (%s)", left, mortality.point))
		if err := next.Destroy(t.Context(), "home"); err != nil {
			t.Fatal(err)
		}
		if n := w.trees(t); n != 0 {
			t.Errorf("death at %d: %d trees are left", left, n)
		}
		if !died {
			return
		}
	}
}

// checkTrees checks that the trees on the disk are those that rows name.
func checkTrees(t *testing.T, w artifactWorld, m *Manager, when string) {
	t.Helper()
	var named []string
	for hash := range m.liveTrees() {
		named = append(named, hash)
	}
	entries, err := os.ReadDir(filepath.Join(w.dir, "artifacts", "trees"))
	if err != nil {
		t.Fatal(err)
	}
	var there []string
	for _, entry := range entries {
		there = append(there, entry.Name())
	}
	slices.Sort(named)
	if !slices.Equal(named, there) {
		t.Errorf("%s: rows name %q, there is %q", when, named, there)
	}
}

// Storing that takes a while tells how far it is.
func TestStoreArtifactTellsItsProgress(t *testing.T) {
	w := newArtifactWorld(t)
	m, _ := w.manager(t, nil)
	now := time.Unix(0, 0)
	m.deps.Now = func() time.Time { return now }
	e := w.enclave(t, m, "home")
	var told []string
	_, _, err := e.StoreArtifact(t.Context(), "big", StoreOptions{Progress: func(text string) { told = append(told, text) }}, func(b *artifact.Builder) error {
		return b.File("f", func(w io.Writer) error {
			for range 8 {
				now = now.Add(300 * time.Millisecond)
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if want := []string{`files artifact "big": 4 MiB`, `files artifact "big": 6 MiB`, `files artifact "big": 8 MiB`}; err != nil || !slices.Equal(told, want) {
		t.Errorf("got %q, %v", told, err)
	}
}
