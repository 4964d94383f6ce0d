package build

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/image"
)

// view shows directories laid over one another as overlayfs would, without a
// mount: the layers of an image, or a build context, which is a view of one.
// Symlinks are resolved inside it; nothing outside can be reached. Paths are
// slash-separated and relative to the view's root, which is "".
type view struct {
	layers []string                         // lowest first
	hidden func(name string, dir bool) bool // nil: nothing is
}

// node is a file in a view.
type node struct {
	name string   // canonical: no symlinks in it
	dirs []string // of a directory: the real ones, topmost first
	real string   // the real path; of a directory, the topmost
	stat unix.Stat_t
}

func (n *node) kind() uint32    { return n.stat.Mode & unix.S_IFMT }
func (n *node) isDir() bool     { return n.kind() == unix.S_IFDIR }
func (n *node) isRegular() bool { return n.kind() == unix.S_IFREG }
func (n *node) isLink() bool    { return n.kind() == unix.S_IFLNK }

// maxLinks bounds how many symlinks a path may lead through, as the kernel does.
const maxLinks = 40

var (
	errNotDirectory = errors.New("not a directory")
	errLoop         = errors.New("too many symbolic links")
)

// viewOf shows the root file system that layers make.
func viewOf(layers []image.Layer) *view {
	v := &view{}
	for _, l := range layers {
		v.layers = append(v.layers, l.Dir)
	}
	return v
}

func (v *view) root() (*node, error) {
	n := &node{stat: unix.Stat_t{Mode: unix.S_IFDIR | 0o755}}
	for _, dir := range slices.Backward(v.layers) {
		n.dirs = append(n.dirs, dir)
	}
	if len(n.dirs) == 0 {
		return n, nil
	}
	n.real = n.dirs[0]
	if err := unix.Stat(n.real, &n.stat); err != nil {
		return nil, &os.PathError{Op: "stat", Path: n.real, Err: err}
	}
	return n, nil
}

// child looks a name up in a directory; nil if it is not there.
func (v *view) child(in *node, name string) (*node, error) {
	var found *node
	for i, dir := range in.dirs {
		real := filepath.Join(dir, name)
		var st unix.Stat_t
		err := unix.Lstat(real, &st)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "lstat", Path: real, Err: err}
		}
		isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
		if image.IsWhiteout(&st) || found != nil && !isDir {
			break
		}
		if found == nil {
			found = &node{name: path.Join(in.name, name), real: real, stat: st}
		}
		if !isDir {
			break
		}
		found.dirs = append(found.dirs, real)
		if i < len(in.dirs)-1 && image.IsOpaque(real) {
			break
		}
	}
	if found != nil && v.hidden != nil && v.hidden(found.name, found.isDir()) {
		return nil, nil
	}
	return found, nil
}

// names lists a directory, sorted.
func (v *view) names(in *node) ([]string, error) {
	gone, there := map[string]bool{}, map[string]bool{}
	for _, dir := range in.dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if gone[e.Name()] || there[e.Name()] {
				continue
			}
			if e.Type()&os.ModeCharDevice != 0 && len(v.layers) > 1 {
				var st unix.Stat_t
				if unix.Lstat(filepath.Join(dir, e.Name()), &st) == nil && image.IsWhiteout(&st) {
					gone[e.Name()] = true
					continue
				}
			}
			there[e.Name()] = true
		}
	}
	return slices.Sorted(maps.Keys(there)), nil
}

// find gives the node at a path; nil if there is none. follow says whether a
// symlink as the last part is followed.
func (v *view) find(name string, follow bool) (*node, error) {
	n, rest, err := v.resolve(name, follow)
	if err != nil || rest != "" {
		return nil, err
	}
	return n, nil
}

// resolve follows a path as far as there is something, and gives what is left.
func (v *view) resolve(name string, follow bool) (at *node, rest string, err error) {
	root, err := v.root()
	if err != nil {
		return nil, "", err
	}
	trail, todo, links := []*node{root}, parts(name), 0
	for len(todo) > 0 {
		here := trail[len(trail)-1]
		if todo[0] == ".." {
			trail, todo = trail[:max(len(trail)-1, 1)], todo[1:]
			continue
		}
		if !here.isDir() {
			return nil, "", fmt.Errorf("/%s: %w", here.name, errNotDirectory)
		}
		next, err := v.child(here, todo[0])
		if err != nil {
			return nil, "", err
		}
		if next == nil {
			return here, strings.TrimPrefix(path.Clean("/"+path.Join(todo...)), "/"), nil
		}
		todo = todo[1:]
		if !next.isLink() || len(todo) == 0 && !follow {
			trail = append(trail, next)
			continue
		}
		if links++; links > maxLinks {
			return nil, "", fmt.Errorf("/%s: %w", next.name, errLoop)
		}
		target, err := os.Readlink(next.real)
		if err != nil {
			return nil, "", err
		}
		if path.IsAbs(target) {
			trail = trail[:1]
		}
		todo = append(parts(target), todo...)
	}
	return trail[len(trail)-1], "", nil
}

// canonical gives the path without symlinks that name leads to, whether or not
// something is there.
func (v *view) canonical(name string) (string, error) {
	n, rest, err := v.resolve(name, true)
	if err != nil {
		return "", err
	}
	return path.Join(n.name, rest), nil
}

// parts splits a path, leaving out what says nothing.
func parts(name string) []string {
	return slices.DeleteFunc(strings.Split(name, "/"), func(p string) bool { return p == "" || p == "." })
}
