package image

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// This file remembers what build steps made. The keys and what they mean are the
// builder's; the store only keeps the layers alive.

// cacheLife is how long a build step that nobody asks for is remembered.
const cacheLife = 14 * 24 * time.Hour

// CacheEntry is what a build step made.
type CacheEntry struct {
	DiffID string `json:"diff_id,omitempty"` // its layer; empty if it changed no file
	Note   string `json:"note,omitempty"`    // the builder's own
}

func (s *Store) cachePath(key string) string {
	return filepath.Join(s.dir, "cache", hexOf(digestOf([]byte(key)))+".json")
}

// CacheGet gives what a build step made earlier, if its layer is still there.
// Hold the store around it.
func (s *Store) CacheGet(key string) (entry CacheEntry, layer Layer, ok bool) {
	path := s.cachePath(key)
	raw, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(raw, &entry) != nil {
		return CacheEntry{}, Layer{}, false
	}
	if entry.DiffID != "" {
		if layer, err = s.readLayer(entry.DiffID); err != nil {
			return CacheEntry{}, Layer{}, false
		}
	}
	now := time.Now()
	if err := os.Chtimes(path, now, now); err != nil { // it only lives shorter
		s.log.Debug("build cache: time not set", "error", err)
	}
	return entry, layer, true
}

// CachePut remembers what a build step made.
func (s *Store) CachePut(ctx context.Context, key string, entry CacheEntry) error {
	raw, err := json.Marshal(entry)
	if err != nil {
		return err
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.writeFile(s.cachePath(key), raw, false); err != nil {
		return storeFault("remember build step", err)
	}
	return nil
}

// cachedLayers adds the layers of remembered build steps, and forgets those that
// nobody asked for in a long time.
func (s *Store) cachedLayers(needed map[string]bool) error {
	return s.eachCached(func(path string, info os.FileInfo) error {
		if time.Since(info.ModTime()) > cacheLife {
			return os.Remove(path)
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var entry CacheEntry
		if json.Unmarshal(raw, &entry) == nil && entry.DiffID != "" {
			needed[entry.DiffID] = true
		}
		return nil
	})
}

// dropCache forgets all build steps.
func (s *Store) dropCache() error {
	err := s.eachCached(func(path string, _ os.FileInfo) error { return os.Remove(path) })
	return errors.Join(err, s.dropCacheDirs())
}

func (s *Store) eachCached(do func(path string, info os.FileInfo) error) error {
	entries, err := os.ReadDir(filepath.Join(s.dir, "cache"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil {
			err = do(filepath.Join(s.dir, "cache", e.Name()), info)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// CacheDir gives a directory that RUN --mount=type=cache keeps between builds,
// making it if need be. exclusive waits until no other build has it so.
func (s *Store) CacheDir(ctx context.Context, id string, exclusive bool) (dir string, release func(), err error) {
	base := filepath.Join(s.dir, "mounts", hexOf(digestOf([]byte(id))))
	if err := os.MkdirAll(base, 0o755); err != nil {
		return "", nil, storeFault("make cache folder", err)
	}
	how := unix.LOCK_SH
	if exclusive {
		how = unix.LOCK_EX
	}
	release, err = flock(ctx, filepath.Join(base, "lock"), how)
	if err != nil {
		return "", nil, err
	}
	dir = filepath.Join(base, "data")
	if err := os.MkdirAll(dir, 0o755); err != nil { // under the lock: pruning removes it
		release()
		return "", nil, storeFault("make cache folder", err)
	}
	return dir, release, nil
}

// dropCacheDirs removes the cache directories that no build uses just now.
func (s *Store) dropCacheDirs() error {
	mounts := filepath.Join(s.dir, "mounts")
	bases, err := os.ReadDir(mounts)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, base := range bases {
		if err := dropUnlocked(filepath.Join(mounts, base.Name())); err != nil {
			return err
		}
	}
	return nil
}

// dropUnlocked removes a cache directory unless a build has it.
func dropUnlocked(base string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	unlock, err := flock(ctx, filepath.Join(base, "lock"), unix.LOCK_EX)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unlock()
	return os.RemoveAll(filepath.Join(base, "data"))
}
