package supervisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/fault"
)

// A rootfs is a container's file system, as mounted in this process's own
// mount namespace.
type rootfs struct {
	dir     string
	spec    supervise.Spec
	mounted bool
}

// path is where the root is mounted.
func (r *rootfs) path() string { return filepath.Join(r.dir, "rootfs") }

// volume is where the overlay of the i-th mount is mounted.
func (r *rootfs) volume(i int) string {
	return filepath.Join(r.dir, "m", strconv.Itoa(i), "merged")
}

// mount makes the root and the overlays of the mounts. It does nothing the
// second time: a restarted container finds its files as they were.
func (r *rootfs) mount() error {
	if r.mounted {
		return nil
	}
	empty := filepath.Join(r.dir, "empty")
	layers := r.spec.Layers
	if len(layers) == 0 {
		if err := os.MkdirAll(empty, 0o755); err != nil {
			return err
		}
		layers = []string{empty}
	}
	if err := overlay(layers, r.dir, r.path()); err != nil {
		return fault.New(supervise.CodeMount, "mount the root file system: %w", err)
	}
	for i, m := range r.spec.Mounts {
		if len(m.Lower) == 0 {
			continue
		}
		dir := filepath.Join(r.dir, "m", strconv.Itoa(i))
		if err := overlay(m.Lower, dir, r.volume(i)); err != nil {
			return fault.New(supervise.CodeMount, "mount %s: %w", m.Path, err)
		}
	}
	r.mounted = true
	return nil
}

// mounts lists where something is mounted, what lies above others last.
func (r *rootfs) mounts() []string {
	out := []string{r.path()}
	for i, m := range r.spec.Mounts {
		if len(m.Lower) > 0 {
			out = append(out, r.volume(i))
		}
	}
	return out
}

// overlay mounts lower (lowest first) under dir/upper on target.
//
// Layers are named by descriptor, "/proc/self/fd/N": mount(2) takes one page of
// options, which a dozen real paths fill, and overlayfs would have colons and
// commas in them escaped.
func overlay(lower []string, dir, target string) error {
	lower = eachOnce(lower)
	upper, work := filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	if err := makeUpper(lower[len(lower)-1], upper); err != nil {
		return err
	}
	for _, d := range []string{work, target} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
	}
	var names []string
	open := func(path string) error {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open layer", Path: path, Err: err}
		}
		names = append(names, "/proc/self/fd/"+strconv.Itoa(fd))
		return nil
	}
	defer func() {
		for _, name := range names {
			fd, _ := strconv.Atoi(filepath.Base(name))
			unix.Close(fd)
		}
	}()
	for i := len(lower) - 1; i >= 0; i-- { // overlayfs wants the topmost first
		if err := open(lower[i]); err != nil {
			return err
		}
	}
	if err := errors.Join(open(upper), open(work)); err != nil {
		return err
	}
	n := len(lower)
	options := "lowerdir=" + strings.Join(names[:n], ":") + ",upperdir=" + names[n] + ",workdir=" + names[n+1]
	// Without these, what is in upper could be read by overlayfs alone (a build
	// makes a layer of it), and a mount after a crash be refused as busy.
	const plain = ",index=off,redirect_dir=off,metacopy=off"
	err := unix.Mount("overlay", target, "overlay", 0, options+plain)
	if errors.Is(err, unix.EINVAL) { // a kernel without one of them
		err = unix.Mount("overlay", target, "overlay", 0, options)
	}
	if err != nil {
		return fmt.Errorf("overlay of %d layers: %w", n, err)
	}
	return nil
}

// eachOnce leaves out layers that come again further up: overlayfs refuses to
// have one twice, and they would not be seen. Whatever such a layer holds or
// hides, it does so from its upper place as well.
func eachOnce(lower []string) []string {
	var out []string
	for i, dir := range lower {
		if !slices.Contains(lower[i+1:], dir) {
			out = append(out, dir)
		}
	}
	return out
}

// makeUpper makes the writable layer. The overlay's root takes owner and mode
// from it, so it gets those of the topmost layer's root.
func makeUpper(top, upper string) error {
	if err := os.MkdirAll(filepath.Dir(upper), 0o700); err != nil {
		return err
	}
	if err := os.Mkdir(upper, 0o755); err != nil {
		if os.IsExist(err) {
			return nil
		}
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(top, &st); err != nil {
		return &os.PathError{Op: "stat", Path: top, Err: err}
	}
	if err := os.Chown(upper, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	return unix.Chmod(upper, st.Mode&0o7777)
}
