package supervisor

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// This file takes away what a container leaves in its root only because
// something had to be mounted on it: a build step's layer must not have it.

// missing gives the paths, parents before children, that have to be made in the
// root to mount on the targets.
func missing(root string, targets []string) []string {
	var out []string
	for _, target := range targets {
		parts := strings.Split(strings.Trim(path.Clean(target), "/"), "/")
		for i := range parts {
			p := "/" + path.Join(parts[:i+1]...)
			if _, err := statIn(root, p); errors.Is(err, unix.ENOENT) && !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	return out
}

// removeStubs removes those of the paths that are still empty. The parent is
// looked up inside the root; the container is gone, so nothing changes it.
func removeStubs(root string, paths []string) {
	dir, err := os.Open(root)
	if err != nil {
		return
	}
	defer dir.Close()
	for _, p := range slices.Backward(paths) {
		parent, err := unix.Openat2(int(dir.Fd()), filepath.Dir(p), &unix.OpenHow{
			Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
		})
		if err != nil {
			continue
		}
		var st unix.Stat_t
		name := filepath.Base(p)
		if unix.Fstatat(parent, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
			switch {
			case st.Mode&unix.S_IFMT == unix.S_IFDIR:
				_ = unix.Unlinkat(parent, name, unix.AT_REMOVEDIR) // fails if it isn't empty
			case st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size == 0:
				_ = unix.Unlinkat(parent, name, 0)
			}
		}
		unix.Close(parent)
	}
}

// mountPoints are the paths that are mounted on in every container, and in
// this one.
func (c *container) mountPoints() []string {
	targets := []string{"/proc", "/dev", "/sys"}
	for _, b := range c.binds() {
		targets = append(targets, b.target)
	}
	return slices.DeleteFunc(targets, func(t string) bool { return strings.HasPrefix(t, "/dev/") })
}
