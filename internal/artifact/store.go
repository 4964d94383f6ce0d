package artifact

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/lepto-dev/lepto/internal/fault"
)

// A Store keeps trees by content: a tree is a directory named by its hash, and
// never changes. Which trees are wanted is said by whoever collects. Safe for
// concurrent use; one process uses a store at a time.
type Store struct {
	dir    string
	limits Limits

	mu   sync.Mutex
	pins map[string]int // trees that someone uses at this moment
}

// Limits bound a tree. Zero fields mean the default.
type Limits struct {
	Entries int   // files, directories and links; a million
	Free    int64 // bytes of disk that are left to others; 256 MiB, or a fiftieth of a small disk
}

// defaultFree is what is left to others on a disk that is large enough.
const defaultFree = 256 << 20

func (l Limits) orDefault() Limits {
	if l.Entries == 0 {
		l.Entries = 1_000_000
	}
	return l
}

// Open opens the store in a directory, which it makes. What a process before
// this one was writing when it ended is removed.
func Open(dir string, limits Limits) (*Store, error) {
	s := &Store{dir: dir, limits: limits.orDefault(), pins: map[string]int{}}
	if err := os.RemoveAll(s.tmp()); err != nil {
		return nil, fmt.Errorf("artifact store: %w", err)
	}
	for _, folder := range []string{s.tmp(), s.trees()} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, fmt.Errorf("artifact store: %w", err)
		}
	}
	return s, nil
}

func (s *Store) tmp() string   { return filepath.Join(s.dir, "tmp") }
func (s *Store) trees() string { return filepath.Join(s.dir, "trees") }

// Dir gives the directory of a tree. Nobody may change what is in it.
func (s *Store) Dir(hash string) string { return filepath.Join(s.trees(), hash) }

// Pin keeps a tree until release, which must be called. fault.ErrNotFound if it
// is not there.
func (s *Store) Pin(hash string) (release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := os.Lstat(s.Dir(hash)); hash == "" || errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("tree %.12s: %w", hash, fault.ErrNotFound)
	} else if err != nil {
		return nil, err
	}
	return s.pin(hash), nil
}

// pin is Pin of a tree that is there. s.mu is held.
func (s *Store) pin(hash string) (release func()) {
	s.pins[hash]++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.pins[hash]--; s.pins[hash] == 0 {
			delete(s.pins, hash)
		}
	})
}

// Collect removes the trees that are neither live nor pinned. live is asked
// while nothing can be pinned, and must not use the store.
func (s *Store) Collect(live func() map[string]bool) error {
	dead, err := s.bury(live)
	for _, dir := range dead {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	if err != nil {
		return fmt.Errorf("collect artifacts: %w", err)
	}
	return nil
}

// bury takes the names of dead trees away: from then on they are not there.
func (s *Store) bury(live func() map[string]bool) (dead []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wanted := live()
	entries, err := os.ReadDir(s.trees())
	for _, entry := range entries {
		hash := entry.Name()
		if wanted[hash] || s.pins[hash] > 0 {
			continue
		}
		grave, made := os.MkdirTemp(s.tmp(), "gone-")
		if made == nil {
			made = os.Rename(s.Dir(hash), filepath.Join(grave, hash))
		}
		if made != nil {
			err = errors.Join(err, made)
			continue
		}
		dead = append(dead, grave)
	}
	return dead, err
}
