package memory

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lepto-dev/lepto/internal/fault"
)

// Files is the file tree that a service sees. Paths are absolute, or relative
// to its root. Safe for concurrent use. A persistent directory is one node that
// hangs in the trees of several services, so the lock is the enclave's.
type Files struct {
	mu   *sync.Mutex
	root *node
}

// node is a file, a directory (children is not nil) or a symlink (link is set).
type node struct {
	mode     fs.FileMode
	uid, gid int
	modified time.Time
	data     []byte
	link     string
	children map[string]*node
}

// maxLinks bounds the symlinks followed in one path, as Linux does (path_resolution(7)).
const maxLinks = 40

func newDir() *node { return &node{mode: fs.ModeDir | 0o755, children: map[string]*node{}} }

func newFiles(mu *sync.Mutex) *Files { return &Files{mu: mu, root: newDir()} }

// ReadFile gives a file's content.
func (f *Files) ReadFile(name string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.find(name)
	if err != nil {
		return nil, err
	}
	if n.children != nil {
		return nil, fmt.Errorf("read %s: is a directory: %w", name, fault.ErrInvalid)
	}
	return slices.Clone(n.data), nil
}

// WriteFile writes a file, making the directories above it.
func (f *Files) WriteFile(name string, data []byte, mode fs.FileMode) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir, err := f.makeDir(path.Dir(path.Clean("/" + name)))
	if err != nil {
		return err
	}
	base := path.Base(name)
	old := dir.children[base]
	switch {
	case old != nil && old.children != nil:
		return fmt.Errorf("write %s: is a directory: %w", name, fault.ErrInvalid)
	case old != nil && old.link == "":
		old.data = slices.Clone(data)
	default:
		dir.children[base] = &node{mode: mode.Perm(), data: slices.Clone(data)}
	}
	return nil
}

// MkdirAll makes a directory and those above it.
func (f *Files) MkdirAll(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := f.makeDir(name)
	return err
}

// Symlink makes a symbolic link, in place of what is there.
func (f *Files) Symlink(target, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir, err := f.makeDir(path.Dir(path.Clean("/" + name)))
	if err != nil {
		return err
	}
	dir.children[path.Base(name)] = &node{mode: fs.ModeSymlink | 0o777, link: target}
	return nil
}

// Mode gives a file's mode.
func (f *Files) Mode(name string) (fs.FileMode, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.find(name)
	if err != nil {
		return 0, err
	}
	return n.mode, nil
}

// find follows symlinks inside the root, the last one too. f.mu is held.
func (f *Files) find(name string) (*node, error) {
	n, err := f.walk(name, false)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return n, nil
}

// makeDir finds a directory or makes it. f.mu is held.
func (f *Files) makeDir(name string) (*node, error) {
	n, err := f.walk(name, true)
	if err == nil && n.children == nil {
		err = fmt.Errorf("not a directory: %w", fault.ErrInvalid)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return n, nil
}

func (f *Files) walk(name string, create bool) (*node, error) {
	trail := []*node{f.root}
	todo := strings.Split(name, "/")
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		at := trail[len(trail)-1]
		switch part {
		case "", ".":
			continue
		case "..":
			trail = trail[:max(1, len(trail)-1)]
			continue
		}
		if at.children == nil {
			return nil, fault.ErrNotFound
		}
		next := at.children[part]
		switch {
		case next == nil && !create:
			return nil, fault.ErrNotFound
		case next == nil:
			next = newDir()
			at.children[part] = next
		case next.link != "":
			if links++; links > maxLinks {
				return nil, fmt.Errorf("too many levels of symbolic links: %w", fault.ErrInvalid)
			}
			if path.IsAbs(next.link) {
				trail = trail[:1]
			}
			todo = append(strings.Split(next.link, "/"), todo...)
			continue
		}
		trail = append(trail, next)
	}
	return trail[len(trail)-1], nil
}

// mount hangs a node at a path, over what is there. f.mu is held.
func (f *Files) mount(name string, n *node) error {
	clean := path.Clean("/" + name)
	if clean == "/" {
		return fmt.Errorf("mount at %s: %w", name, fault.ErrInvalid)
	}
	dir, err := f.makeDir(path.Dir(clean))
	if err != nil {
		return err
	}
	dir.children[path.Base(clean)] = n
	return nil
}

// loadTree copies a directory of the host over the node's own entries.
func (n *node) loadTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := n.loadEntry(filepath.Join(dir, e.Name()), e); err != nil {
			return err
		}
	}
	return nil
}

func (n *node) loadEntry(from string, e fs.DirEntry) error {
	info, err := e.Info()
	if err != nil {
		return err
	}
	child := &node{mode: info.Mode(), modified: info.ModTime()}
	switch {
	case e.IsDir():
		if old := n.children[e.Name()]; old != nil && old.children != nil {
			child = old
		} else {
			child.children = map[string]*node{}
		}
		err = child.loadTree(from)
	case info.Mode()&fs.ModeSymlink != 0:
		child.link, err = os.Readlink(from)
	case info.Mode().IsRegular():
		child.data, err = os.ReadFile(from)
	default:
		return nil // devices and sockets have no content to copy
	}
	n.children[e.Name()] = child
	return err
}

func (n *node) names() []string { return slices.Sorted(maps.Keys(n.children)) }
