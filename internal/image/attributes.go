package image

import (
	"archive/tar"
	"errors"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// This file sets owners, modes, times and extended attributes.

// opaqueAttribute is overlayfs' mark of a directory that hides lower ones
// (kernel documentation, filesystems/overlayfs).
const opaqueAttribute = "trusted.overlay.opaque"

func setOpaque(fd int) error { return unix.Fsetxattr(fd, opaqueAttribute, []byte("y"), 0) }

// setAttributes sets owner, extended attributes and mode of an open file or
// directory, in the order in which none undoes another: chown drops setuid bits
// and capabilities.
func setAttributes(fd int, h *tar.Header) error {
	if err := unix.Fchown(fd, h.Uid, h.Gid); err != nil {
		return err
	}
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, "SCHILY.xattr.")
		if !ok || !keptAttribute(name) {
			continue
		}
		err := unix.Fsetxattr(fd, name, []byte(value), 0)
		if err != nil && !(errors.Is(err, unix.ENOTSUP) && strings.HasPrefix(name, "user.")) {
			return err
		}
	}
	return unix.Fchmod(fd, uint32(h.Mode&0o7777))
}

// keptAttribute says which extended attributes of an image are kept. The ones in
// overlayfs' own namespaces could redirect it, and labels are the host's.
func keptAttribute(name string) bool {
	return name == "security.capability" ||
		strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "user.overlay.")
}

func setTimes(parent int, base string, h *tar.Header) error {
	ts := times(h.AccessTime, h.ModTime)
	return unix.UtimesNanoAt(parent, base, ts[:], unix.AT_SYMLINK_NOFOLLOW)
}

// times gives access and modification time for utimensat(2). An archive without
// access times gives the modification time twice.
func times(atime, mtime time.Time) [2]unix.Timespec {
	if mtime.IsZero() {
		mtime = time.Unix(0, 0)
	}
	if atime.IsZero() {
		atime = mtime
	}
	return [2]unix.Timespec{timespec(atime), timespec(mtime)}
}

func timespec(t time.Time) unix.Timespec {
	return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
}
