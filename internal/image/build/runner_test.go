package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// chrootRunner runs steps for tests: overlay and chroot, without confinement.
type chrootRunner struct{ steps []Step }

func (r *chrootRunner) RunStep(ctx context.Context, step Step) error {
	r.steps = append(r.steps, step)
	return privately(func() error {
		root, err := mountRoot(step)
		if err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, step.Args[0], step.Args[1:]...)
		if !strings.Contains(step.Args[0], "/") {
			cmd.Path, cmd.Err = "/bin/"+step.Args[0], nil
		}
		if err := os.MkdirAll(filepath.Join(root, step.WorkDir), 0o755); err != nil {
			return err
		}
		cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = step.Env, step.WorkDir, step.Stdout, step.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: credential(step.User)}
		err = cmd.Run()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return &ExitError{Code: exit.ExitCode()}
		}
		if errors.Is(err, os.ErrNotExist) {
			return &ExitError{Code: 127}
		}
		return err
	})
}

func credential(user string) *syscall.Credential {
	uid, gid, _ := strings.Cut(user, ":")
	u, _ := strconv.Atoi(uid)
	g, _ := strconv.Atoi(gid)
	return &syscall.Credential{Uid: uint32(u), Gid: uint32(g)}
}

// mountRoot mounts a step's root file system in this thread's namespace.
func mountRoot(step Step) (string, error) {
	root, empty := filepath.Join(step.Dir, "root"), filepath.Join(step.Dir, "empty")
	if err := errors.Join(os.Mkdir(root, 0o755), os.Mkdir(empty, 0o755)); err != nil {
		return "", err
	}
	if err := overlay(root, append([]string{empty}, step.Layers...), step.Dir); err != nil {
		return "", err
	}
	for i, m := range step.Mounts {
		at := filepath.Join(root, m.Target)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return "", err
		}
		if len(m.Layers) > 0 {
			own := ""
			if !m.ReadOnly {
				own = filepath.Join(step.Dir, fmt.Sprint("volume", i))
				if err := errors.Join(os.MkdirAll(own+"/upper", 0o755), os.MkdirAll(own+"/work", 0o755)); err != nil {
					return "", err
				}
			}
			if err := errors.Join(os.MkdirAll(at, 0o755), overlay(at, append([]string{empty}, m.Layers...), own)); err != nil {
				return "", err
			}
			continue
		}
		if err := bind(m, at); err != nil {
			return "", err
		}
	}
	return root, nil
}

func bind(m Mount, at string) error {
	info, err := os.Stat(m.Source)
	if err != nil {
		return err
	}
	if info.IsDir() {
		err = os.MkdirAll(at, 0o755)
	} else {
		err = os.WriteFile(at, nil, 0o644)
	}
	if err != nil {
		return err
	}
	if err := unix.Mount(m.Source, at, "", unix.MS_BIND, ""); err != nil || !m.ReadOnly {
		return err
	}
	return unix.Mount("", at, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
}

// overlay mounts layers, lowest first, writable if dir has upper and work.
func overlay(at string, layers []string, dir string) error {
	layers = slices.Clone(layers)
	slices.Reverse(layers)
	opts := "lowerdir=" + strings.Join(layers, ":")
	if dir != "" {
		opts += fmt.Sprintf(",upperdir=%s/upper,workdir=%s/work", dir, dir)
	}
	if err := unix.Mount("overlay", at, "overlay", 0, opts); err != nil {
		return &os.PathError{Op: "mount overlay", Path: at, Err: err}
	}
	return nil
}

// privately runs do on a thread with a mount namespace of its own, which ends
// with it and takes all mounts along.
func privately(do func() error) error {
	done := make(chan error, 1)
	go func() {
		done <- func() error {
			runtime.LockOSThread() // never unlocked: the thread dies with the goroutine
			if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
				return err
			}
			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				return err
			}
			return do()
		}()
	}()
	return <-done
}

// mergedListing lists what a container with the layers would see.
func mergedListing(t testing.TB, layers []string) []string {
	t.Helper()
	root, empty, blank := t.TempDir(), t.TempDir(), t.TempDir()
	var out []string
	err := privately(func() error {
		if err := overlay(root, append([]string{empty, blank}, layers...), ""); err != nil {
			return err
		}
		defer unix.Unmount(root, 0) //nolint:errcheck // the namespace ends anyway
		out = listing(t, &view{layers: []string{root}})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// listing gives one line per file of a view.
func listing(t testing.TB, v *view) []string {
	t.Helper()
	root, err := v.root()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	var walk func(*node)
	walk = func(in *node) {
		names, err := v.names(in)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			n, err := v.child(in, name)
			if err != nil || n == nil {
				t.Fatalf("%s/%s: %v, %v", in.name, name, n, err)
			}
			out = append(out, describeNode(t, n))
			if n.isDir() {
				walk(n)
			}
		}
	}
	walk(root)
	return out
}

func describeNode(t testing.TB, n *node) string {
	t.Helper()
	info, err := os.Lstat(n.real)
	if err != nil {
		t.Fatal(err)
	}
	line := fmt.Sprintf("%s %d:%d %s", info.Mode(), n.stat.Uid, n.stat.Gid, n.name)
	switch {
	case n.isLink():
		target, _ := os.Readlink(n.real)
		line += " -> " + target
	case n.isRegular() && info.Size() > 300:
		line += " large"
	case n.isRegular():
		content, err := os.ReadFile(n.real)
		if err != nil {
			t.Fatal(err)
		}
		line += fmt.Sprintf(" %q", content)
	}
	return line
}
