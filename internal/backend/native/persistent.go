package native

import (
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/image"
)

// This file makes persistent directories. Like a new volume of Docker's, a new
// directory begins as a copy of what the image holds where it is mounted, with
// its owners and modes: a database that runs as a user of its own finds a
// directory that it may write.

// persistent gives the directory of a key, made on first use.
func (e *Enclave) persistent(key, at string, img *image.Image) (string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	dir := filepath.Join(e.dir, persistentDir, "k"+url.PathEscape(key))
	if exists(dir) {
		return dir, nil
	}
	fresh := dir + ".new" // what a crash leaves of it is made again
	if err := removeTree(fresh); err != nil {
		return "", err
	}
	if err := os.MkdirAll(fresh, 0o755); err != nil {
		return "", err
	}
	for _, l := range img.Layers {
		layer, err := filepath.EvalSymlinks(l.Dir)
		if err != nil {
			return "", err
		}
		from := filepath.Join(layer, at)
		if real, err := filepath.EvalSymlinks(from); err != nil || real != from {
			continue // not there; and a link might lead out of the layer
		}
		if err := overlayCopy(from, fresh); err != nil {
			return "", err
		}
	}
	return dir, os.Rename(fresh, dir)
}

// overlayCopy copies a layer's directory over another, heeding the marks of
// overlayfs for what the layer deletes.
func overlayCopy(from, to string) error {
	info, err := os.Lstat(from)
	if err != nil || !info.IsDir() {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := copyEntry(filepath.Join(from, entry.Name()), filepath.Join(to, entry.Name())); err != nil {
			return err
		}
	}
	return copyMeta(from, to)
}

func copyEntry(from, to string) error {
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return &os.PathError{Op: "stat", Path: from, Err: err}
	}
	kind := st.Mode & unix.S_IFMT
	if kind != unix.S_IFDIR || opaque(from) {
		if err := os.RemoveAll(to); err != nil {
			return err
		}
	}
	switch kind {
	case unix.S_IFDIR:
		if err := os.Mkdir(to, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return overlayCopy(from, to)
	case unix.S_IFREG:
		if err := copyFile(from, to); err != nil {
			return err
		}
	case unix.S_IFLNK:
		target, err := os.Readlink(from)
		if err == nil {
			err = os.Symlink(target, to)
		}
		if err != nil {
			return err
		}
		return os.Lchown(to, int(st.Uid), int(st.Gid))
	default: // a whiteout, or a device, socket or pipe that nobody keeps data in
		return nil
	}
	return copyMeta(from, to)
}

func opaque(dir string) bool {
	mark := make([]byte, 1)
	n, err := unix.Lgetxattr(dir, "trusted.overlay.opaque", mark)
	return err == nil && n == 1 && mark[0] == 'y'
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// copyMeta copies owner, mode and times. The mode comes after the owner, whose
// change takes setuid bits away.
func copyMeta(from, to string) error {
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return err
	}
	if err := os.Lchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := unix.Chmod(to, st.Mode&0o7777); err != nil {
		return err
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, to, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}
