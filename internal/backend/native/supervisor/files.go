package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/backend/native/supervise/tree"
)

// files writes a tar of a path in a stopped container to stdout. It reports
// once the path has been found; its exit code tells whether the tar is whole.
func files(dir, path string) int {
	ready := os.NewFile(supervise.ReadyFD, "ready")
	found := false
	err := stopped(dir, func(root *os.File) error {
		source, err := tree.Open(root, path)
		if err != nil {
			return err
		}
		defer source.Close()
		found = true
		json.NewEncoder(ready).Encode(supervise.Ready{})
		ready.Close()
		return source.Write(context.Background(), os.Stdout)
	})
	switch {
	case err == nil:
		return 0
	case !found:
		return refuse(ready, err)
	}
	fmt.Fprintln(os.Stderr, "lepto-supervisor: files:", err)
	return 1
}

// copyIn unpacks the tar on stdin in a stopped container.
func copyIn(dir, path string) error {
	return stopped(dir, func(root *os.File) error {
		return tree.Extract(context.Background(), root, path, os.Stdin)
	})
}

// stopped calls f with the root of a container that does not run. It holds the
// folder's lock meanwhile: a root must not be mounted twice.
func stopped(dir string, f func(root *os.File) error) error {
	lock, err := claim(dir, 20*time.Second)
	if err != nil {
		return err
	}
	defer lock.Close()
	spec, err := supervise.ReadSpec(dir)
	if err != nil {
		return err
	}
	spec.Dir = dir
	r := rootfs{dir: dir, spec: spec}
	if err := r.mount(); err != nil {
		return err
	}
	root, err := os.Open(r.path())
	if err != nil {
		return err
	}
	defer root.Close()
	if err := r.mountVolumes(root); err != nil {
		return err
	}
	return f(root)
}

// mountVolumes mounts the spec's mounts where the container had them. A mount
// point that isn't there was never made: the container never ran with it.
func (r *rootfs) mountVolumes(root *os.File) error {
	for i, m := range r.spec.Mounts {
		source := m.Bind
		if len(m.Lower) > 0 {
			source = r.volume(i)
		}
		fd, err := unix.Openat2(int(root.Fd()), m.Path, &unix.OpenHow{
			Flags:   unix.O_PATH | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
		})
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err == nil {
			err = unix.Mount(source, "/proc/self/fd/"+strconv.Itoa(fd), "", unix.MS_BIND|unix.MS_REC, "")
			unix.Close(fd)
		}
		if err != nil {
			return fmt.Errorf("mount %s: %w", m.Path, err)
		}
	}
	return nil
}
