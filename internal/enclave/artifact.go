package enclave

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/lepto-dev/lepto/internal/artifact"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file holds the files artifacts of an enclave: names for trees of the
// artifact store. A tree is in the store before its row is written, and goes
// once no row of any enclave or service names it: whatever is in the store and
// in no row after a crash is a remnant.

// An Artifact is a files artifact: what is called by a name in an enclave.
type Artifact struct {
	Name    string    `json:"name"`
	UUID    string    `json:"uuid"`
	Hash    string    `json:"hash"`  // of its content: the name of its tree
	Files   int       `json:"files"` // files and links
	Bytes   int64     `json:"bytes"` // of all files
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"` // when it got this content
}

// ShortUUID gives the first 12 digits of the UUID.
func (a Artifact) ShortUUID() string { return shortUUID(a.UUID) }

// artifacts lists the rows of an enclave's artifacts, by name.
func (s *Store) artifacts(uuid string) (out []Artifact, err error) {
	err = s.viewEnclave(uuid, func(b *bbolt.Bucket) (err error) {
		out, err = rows[Artifact](b.Bucket(bucketArtifacts))
		return err
	})
	return out, err
}

func (s *Store) putArtifact(uuid string, a Artifact) error {
	return s.updateEnclave(uuid, "artifact stored", func(b *bbolt.Bucket) error {
		return put(b, bucketArtifacts, []byte(a.Name), a)
	})
}

func (s *Store) deleteArtifact(uuid, name string) error {
	return s.updateEnclave(uuid, "artifact removed", func(b *bbolt.Bucket) error {
		if list := b.Bucket(bucketArtifacts); list != nil {
			return list.Delete([]byte(name))
		}
		return nil
	})
}

// Artifacts lists the files artifacts, by name.
func (e *Enclave) Artifacts() []Artifact {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.SortedFunc(maps.Values(e.artifacts), func(a, b Artifact) int { return cmp.Compare(a.Name, b.Name) })
}

// Artifact finds a files artifact by full UUID, short UUID or name. E0356 if
// there is none, E0343 if several fit.
func (e *Enclave) Artifact(identifier string) (Artifact, error) {
	all := e.Artifacts()
	ids := make([]Identifier, len(all))
	names := make([]string, len(all))
	for i, a := range all {
		ids[i], names[i] = Identifier{UUID: a.UUID, Name: a.Name}, a.Name
	}
	id, err := find("files artifact", identifier, ids)
	if errors.Is(err, fault.ErrNotFound) {
		return Artifact{}, missing("E0356", "files artifact", identifier, names)
	}
	if err != nil {
		return Artifact{}, err
	}
	i := slices.IndexFunc(all, func(a Artifact) bool { return a.UUID == id.UUID })
	return all[i], nil
}

// artifact gives a files artifact by its name.
func (e *Enclave) artifact(name string) (Artifact, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	a, ok := e.artifacts[name]
	return a, ok
}

// ArtifactName makes up a name that no files artifact of the enclave has.
func (e *Enclave) ArtifactName() string {
	return RandomName(e.m.deps.Random, func(name string) bool {
		_, taken := e.artifact(name)
		return taken
	})
}

// StoreOptions say how to store a files artifact. The zero value is useful.
type StoreOptions struct {
	// New refuses a name that an artifact has: an E0357.
	New bool
	// Progress is told how far it is, if it takes longer than a moment.
	Progress func(text string)
}

// Change says what storing a files artifact did.
type Change string

// The changes.
const (
	Created   Change = "created"
	Updated   Change = "updated"   // it has other content now
	Unchanged Change = "unchanged" // it had this content
)

// StoreArtifact makes a files artifact, or gives the one of that name other
// content; its UUID stays. fill makes the content. An empty name is made up.
func (e *Enclave) StoreArtifact(ctx context.Context, name string, opts StoreOptions, fill func(*artifact.Builder) error) (Artifact, Change, error) {
	ctx, done := e.bind(ctx)
	defer done()
	if e.m.deps.Artifacts == nil {
		return Artifact{}, "", fault.New("E0358", "this enclave can't hold files artifacts")
	}
	if err := e.free(name, opts); err != nil {
		return Artifact{}, "", err // soon, where it can be told
	}
	tree, release, err := e.makeTree(ctx, name, opts, fill)
	if err != nil {
		return Artifact{}, "", err
	}
	defer release()
	return e.putArtifact(ctx, name, opts, tree)
}

// makeTree puts a tree into the store, and pins it.
func (e *Enclave) makeTree(ctx context.Context, name string, opts StoreOptions, fill func(*artifact.Builder) error) (artifact.Tree, func(), error) {
	b, err := e.m.deps.Artifacts.Build(ctx, e.storeProgress(name, opts))
	if err != nil {
		return artifact.Tree{}, nil, fault.From(err, "E0358")
	}
	defer b.Close()
	if err := fill(b); err != nil {
		return artifact.Tree{}, nil, err
	}
	tree, release, err := b.Commit()
	if err != nil {
		return artifact.Tree{}, nil, fault.From(err, "E0358")
	}
	return tree, release, nil
}

// Stage makes the content of a files artifact that is stored later, with
// StoreStaged. Until release, which must be called, it stays.
func (e *Enclave) Stage(ctx context.Context, name string, opts StoreOptions, fill func(*artifact.Builder) error) (tree artifact.Tree, release func(), err error) {
	ctx, done := e.bind(ctx)
	defer done()
	if e.m.deps.Artifacts == nil {
		return tree, nil, fault.New("E0358", "this enclave can't hold files artifacts")
	}
	tree, unpin, err := e.makeTree(ctx, name, opts, fill)
	return tree, func() { unpin(); e.m.collect() }, err
}

// StoreStaged is StoreArtifact with what Stage has made.
func (e *Enclave) StoreStaged(ctx context.Context, name string, tree artifact.Tree) (Artifact, Change, error) {
	ctx, done := e.bind(ctx)
	defer done()
	return e.putArtifact(ctx, name, StoreOptions{}, tree)
}

// free refuses a name that is taken, where it must not be.
func (e *Enclave) free(name string, opts StoreOptions) error {
	if _, taken := e.artifact(name); !opts.New || !taken {
		return nil
	}
	f := fault.New("E0357", "a files artifact named %q exists already in enclave %q", name, e.Name())
	f.Cause = fault.ErrExists
	return f.WithHint("choose another name, or none to have one made up")
}

// putArtifact writes the row of a tree that is pinned.
func (e *Enclave) putArtifact(ctx context.Context, name string, opts StoreOptions, tree artifact.Tree) (Artifact, Change, error) {
	release, err := e.claims.names(ctx, "files artifacts") // no service has such a name
	if err != nil {
		return Artifact{}, "", err
	}
	defer release()
	if name == "" {
		name = e.ArtifactName()
	}
	if err := e.free(name, opts); err != nil {
		return Artifact{}, "", err
	}
	now := e.m.deps.Now().UTC()
	a, exists := e.artifact(name)
	change := Updated
	switch {
	case !exists:
		change = Created
		a = Artifact{Name: name, UUID: e.m.deps.NewID(), Created: now}
	case a.Hash == tree.Hash:
		return a, Unchanged, nil
	}
	a.Hash, a.Files, a.Bytes, a.Updated = tree.Hash, tree.Files, tree.Bytes, now
	if err := e.m.store.putArtifact(e.uuid, a); err != nil {
		return Artifact{}, "", fault.From(fmt.Errorf("files artifact %q: %w", name, err), "E0358")
	}
	e.mu.Lock()
	e.artifacts[name] = a
	e.mu.Unlock()
	if exists {
		e.m.collect()
	}
	return a, change, nil
}

// RemoveArtifact forgets a files artifact. Services that mount it keep its files.
func (e *Enclave) RemoveArtifact(ctx context.Context, identifier string) error {
	ctx, done := e.bind(ctx)
	defer done()
	release, err := e.claims.names(ctx, "files artifacts")
	if err != nil {
		return err
	}
	defer release()
	a, err := e.Artifact(identifier)
	if err != nil {
		return err
	}
	if err := e.m.store.deleteArtifact(e.uuid, a.Name); err != nil {
		return fault.From(fmt.Errorf("files artifact %q: %w", a.Name, err), "E0358")
	}
	e.mu.Lock()
	delete(e.artifacts, a.Name)
	e.mu.Unlock()
	e.m.collect()
	return nil
}

// ReadArtifact calls read with an artifact's tree, which stays until read returns.
func (e *Enclave) ReadArtifact(identifier string, read func(store *artifact.Store, a Artifact) error) error {
	a, release, err := e.pinArtifact(func() (Artifact, error) { return e.Artifact(identifier) })
	if err != nil {
		return err
	}
	defer e.m.collect() // it may have been updated meanwhile
	defer release()
	return read(e.m.deps.Artifacts, a)
}

// pinArtifact finds an artifact and pins its tree. Between the two it may be
// updated and the tree be gone; then it is found again.
func (e *Enclave) pinArtifact(locate func() (Artifact, error)) (Artifact, func(), error) {
	for before := ""; ; {
		a, err := locate()
		if err != nil {
			return a, nil, err
		}
		release, err := e.m.deps.Artifacts.Pin(a.Hash)
		if err == nil {
			return a, release, nil
		}
		if a.Hash == before || !errors.Is(err, fault.ErrNotFound) {
			return a, nil, fault.New("E0358", "the files of artifact %q are gone or can't be read: %w", a.Name, err).
				WithHint("make the artifact again")
		}
		before = a.Hash
	}
}

// pinTrees finds the trees that a service mounts, and pins them. An unknown
// files artifact is an E0355.
func (e *Enclave) pinTrees(service string, cfg ServiceConfig) (trees map[string]string, release func(), err error) {
	var releases []func()
	release = func() {
		for _, r := range releases {
			r()
		}
	}
	for _, file := range cfg.Files {
		for _, name := range file.Artifacts {
			if trees[name] != "" {
				continue
			}
			a, unpin, err := e.pinArtifact(func() (Artifact, error) {
				if a, ok := e.artifact(name); ok {
					return a, nil
				}
				return Artifact{}, fault.New("E0355", "files artifact %q, which service %q mounts at %s, does not exist", name, service, file.Path)
			})
			if err != nil {
				release()
				return nil, nil, err
			}
			releases = append(releases, unpin)
			if trees == nil {
				trees = map[string]string{}
			}
			trees[name] = a.Hash
		}
	}
	return trees, release, nil
}

// collect removes the trees that nothing names any more. What can't be removed
// is tried again the next time.
func (m *Manager) collect() {
	if m.deps.Artifacts == nil {
		return
	}
	if err := m.deps.Artifacts.Collect(m.liveTrees); err != nil {
		m.deps.Logger.Error("files artifacts", "error", err)
	}
}

// liveTrees gives the trees that a row names.
func (m *Manager) liveTrees() map[string]bool {
	m.mu.Lock()
	enclaves := slices.Collect(maps.Values(m.enclaves))
	m.mu.Unlock()
	live := map[string]bool{}
	for _, e := range enclaves {
		e.mu.Lock()
		for _, a := range e.artifacts {
			live[a.Hash] = true
		}
		for _, row := range e.services {
			for ; row != nil; row = row.Previous {
				for _, hash := range row.Trees {
					live[hash] = true
				}
			}
		}
		e.mu.Unlock()
	}
	return live
}

const (
	// storePatience is how long storing may take before its progress is told, and
	// storePause how often it is.
	storePatience = time.Second
	storePause    = 500 * time.Millisecond
)

// storeProgress gives the function that a builder tells its bytes; nil where
// nobody wants to know.
func (e *Enclave) storeProgress(name string, opts StoreOptions) func(int64) {
	if opts.Progress == nil {
		return nil
	}
	next := e.m.deps.Now().Add(storePatience)
	return func(bytes int64) {
		if now := e.m.deps.Now(); now.After(next) {
			next = now.Add(storePause)
			opts.Progress(fmt.Sprintf("files artifact %q: %d MiB", name, bytes>>20))
		}
	}
}
