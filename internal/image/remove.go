package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file takes images away: names, then configs without a name, then layers
// that no config and no build step needs.

// Remove takes a name away, and the image with its layers where nothing else
// has them. An image id takes all its names away. inUse says whether something
// runs on the image; then its last name stays, with fault E0426. The error wraps
// [ErrNotFound] if there is no such image.
func (s *Store) Remove(ctx context.Context, ref string, inUse func(digest string) bool) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return fmt.Errorf("remove image %q: %w", ref, err)
	}
	err = s.unname(ref, inUse)
	unlock()
	if err != nil {
		return err
	}
	return s.collect()
}

// unname removes a name, and the config if that was its last.
func (s *Store) unname(ref string, inUse func(digest string) bool) error {
	goners, id, err := s.named(ref)
	if err != nil {
		return err
	}
	refs, err := s.readRefs()
	if err != nil {
		return fmt.Errorf("remove image %q: %w", ref, err)
	}
	others := 0
	for _, rec := range refs {
		if rec.Config == id {
			others++
		}
	}
	last := others <= len(goners)
	if last && inUse != nil && inUse(id) {
		return fault.New("E0426", "image %q is in use", ref).WithHint("remove the services that run it first")
	}
	for _, rec := range goners {
		if err := os.Remove(s.refPath(rec.Ref)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove image %q: %w", ref, err)
		}
	}
	if last {
		if err := os.Remove(s.configPath(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove image %q: %w", ref, err)
		}
	}
	return nil
}

// named gives the names that ref stands for, and the id of their image.
func (s *Store) named(ref string) ([]record, string, error) {
	if !isID(ref) {
		r, err := parseReference(ref)
		if err != nil {
			return nil, "", err
		}
		rec, err := s.readRef(r)
		if errors.Is(err, ErrNotFound) {
			return nil, "", noSuchImage(ref)
		}
		return []record{rec}, rec.Config, err
	}
	if _, err := os.Stat(s.configPath(ref)); err != nil {
		return nil, "", noSuchImage(ref)
	}
	refs, err := s.readRefs()
	var out []record
	for _, rec := range refs {
		if rec.Config == ref {
			out = append(out, rec)
		}
	}
	return out, ref, err
}

func noSuchImage(ref string) error {
	return fault.New("E0410", "image %q: %w", ref, ErrNotFound).WithHint("see the images there are: lepto image ls")
}

// Prune removes all images without a name that nothing runs on, what builds
// remember, and the layers that nothing needs any more.
func (s *Store) Prune(ctx context.Context, inUse func(digest string) bool) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return fmt.Errorf("prune images: %w", err)
	}
	err = s.forgetUnnamed(inUse)
	unlock()
	if err != nil {
		return fmt.Errorf("prune images: %w", err)
	}
	return s.collect()
}

func (s *Store) forgetUnnamed(inUse func(digest string) bool) error {
	refs, err := s.readRefs()
	if err != nil {
		return err
	}
	named := map[string]bool{}
	for _, rec := range refs {
		named[rec.Config] = true
	}
	ids, err := s.configIDs()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if named[id] || inUse != nil && inUse(id) {
			continue
		}
		if err := os.Remove(s.configPath(id)); err != nil {
			return err
		}
	}
	return s.dropCache()
}

// wantedPath names the file that says: there may be layers to collect. begunPath is
// what a collection renames it to, so that one that is wanted from then on is told
// from its own.
func (s *Store) wantedPath() string { return filepath.Join(s.dir, "gc.wanted") }
func (s *Store) begunPath() string  { return filepath.Join(s.dir, "gc.begun") }

func (s *Store) collectionWanted() bool {
	_, wanted := os.Stat(s.wantedPath())
	_, begun := os.Stat(s.begunPath()) // by one that did not end
	return wanted == nil || begun == nil
}

// collect removes the layers that nothing needs. If somebody is adding or collecting
// layers just now, the last of them does it.
func (s *Store) collect() error {
	if err := os.WriteFile(s.wantedPath(), nil, 0o600); err != nil {
		return storeFault("collect layers", err)
	}
	return s.collectWanted()
}

// collectIfWanted does what collect had to leave undone.
func (s *Store) collectIfWanted() {
	if err := s.collectWanted(); err != nil {
		s.log.Warn("image store: unused layers stay", "error", err)
	}
}

// collectWanted collects until nobody wants it any more: who wants it while another
// one is at it leaves it to that one, which may have seen the layers as needed.
func (s *Store) collectWanted() error {
	for s.collectionWanted() {
		if done, err := s.collectNow(); err != nil || !done {
			return err
		}
	}
	return nil
}

// collectNow moves unused layers out of the way while nobody adds any, and then
// deletes them at leisure. It reports whether it did: not if somebody adds or
// collects layers, who does it when done.
func (s *Store) collectNow() (bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	unlock, err := flock(ctx, filepath.Join(s.dir, "gc.lock"), unix.LOCK_EX)
	if errors.Is(err, context.DeadlineExceeded) {
		return false, nil
	}
	if err != nil {
		return false, storeFault("collect layers", err)
	}
	bin, release, err := s.workDir(context.Background())
	if err != nil {
		unlock()
		return false, storeFault("collect layers", err)
	}
	defer release()
	err = os.Rename(s.wantedPath(), s.begunPath())
	if err == nil || errors.Is(err, os.ErrNotExist) {
		err = s.moveUnused(bin)
	}
	if err == nil {
		err = os.Remove(s.begunPath())
	}
	unlock()
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, fmt.Errorf("collect layers: %w", err)
	}
	return true, nil
}

// moveUnused moves all layers that are not needed into bin.
func (s *Store) moveUnused(bin string) error {
	needed, err := s.neededLayers()
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(s.dir, "layers"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if needed["sha256:"+e.Name()] {
			continue
		}
		if err := os.Rename(filepath.Join(s.dir, "layers", e.Name()), filepath.Join(bin, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// neededLayers gives the layers of all images and remembered build steps. If a
// config can't be read, nothing is known to be unused: that is an error.
func (s *Store) neededLayers() (map[string]bool, error) {
	needed := map[string]bool{}
	ids, err := s.configIDs()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		raw, err := os.ReadFile(s.configPath(id))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var config struct {
			RootFS struct {
				DiffIDs []string `json:"diff_ids"`
			} `json:"rootfs"`
		}
		if err := json.Unmarshal(raw, &config); err != nil {
			return nil, fmt.Errorf("config %s: %w", id, err)
		}
		for _, diffID := range config.RootFS.DiffIDs {
			needed[diffID] = true
		}
	}
	return needed, s.cachedLayers(needed)
}
