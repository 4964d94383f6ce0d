package native

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// This file deletes folders.

// removeTree deletes a folder and what is in it, but never through a mount:
// where something is mounted below the folder, the mount is taken away and not
// what it shows. An unknown folder is no error.
//
// The list of mounts in /proc is no help: it is read in pieces, and misses some
// when others mount meanwhile. Instead the kernel is told not to cross a mount
// (RESOLVE_NO_XDEV, openat2(2)), bind mounts of the same file system included.
func removeTree(dir string) error {
	parent, err := unix.Open(filepath.Dir(dir), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "open", Path: filepath.Dir(dir), Err: err}
	}
	defer unix.Close(parent)
	if err := removeAt(parent, filepath.Base(dir)); err != nil {
		return fmt.Errorf("delete %s: %w", dir, err)
	}
	return nil
}

// removeTries bounds how often one entry is tried: mounts may be stacked, and a
// process on its way out may still add a file.
const removeTries = 10

// removeAt deletes the entry of an open directory.
func removeAt(parent int, name string) error {
	var last error
	for range removeTries {
		err := unix.Unlinkat(parent, name, 0)
		if errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EPERM) {
			if err = removeChildren(parent, name); err == nil {
				err = unix.Unlinkat(parent, name, unix.AT_REMOVEDIR)
			}
		}
		switch {
		case err == nil || errors.Is(err, unix.ENOENT):
			return nil
		case errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EBUSY):
			at := "/proc/self/fd/" + strconv.Itoa(parent) + "/" + name
			if err := unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
				return fmt.Errorf("unmount %s: %w", name, err)
			}
		case !errors.Is(err, unix.ENOTEMPTY):
			return fmt.Errorf("%s: %w", name, err)
		}
		last = err
	}
	return fmt.Errorf("%s: %w", name, last)
}

// removeChildren deletes what is in a directory; EXDEV if it is a mount.
func removeChildren(parent int, name string) error {
	fd, err := unix.Openat2(parent, name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return err
	}
	dir := os.NewFile(uintptr(fd), name)
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(256)
		for _, child := range names {
			if err := removeAt(fd, child); err != nil {
				return fmt.Errorf("%s/%w", name, err)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
