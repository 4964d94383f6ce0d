// Package tree reads and writes file trees in a root that is not to be
// trusted: a container's.
//
// [Open] finds a path in the root and [Source.Write] makes a tar of it;
// [Extract] unpacks one. The kernel resolves every path inside the root
// (openat2(2)), so that neither symlinks nor ".." lead out, also while a
// process in the container changes them.
//
// The package knows nothing of containers: a root is a directory's descriptor.
package tree

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/fault"
)

// A Source is a file or directory of a root.
type Source struct {
	fd   int // O_PATH
	name string
	stat unix.Stat_t
	// seen gives the first name of files with several: later ones are links.
	seen map[inode]string
}

type inode struct{ dev, ino uint64 }

// Open finds a path in a root, following symlinks. fault.ErrNotFound if there
// is nothing. The caller closes it.
func Open(root *os.File, name string) (*Source, error) {
	fd, err := unix.Openat2(int(root.Fd()), path.Join("/", name), &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil, fmt.Errorf("%s: %w", name, fault.ErrNotFound)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	s := &Source{fd: fd, name: path.Base(path.Join("/", name)), seen: map[inode]string{}}
	if err := unix.Fstat(fd, &s.stat); err != nil {
		unix.Close(fd)
		return nil, &os.PathError{Op: "stat", Path: name, Err: err}
	}
	return s, nil
}

// Close lets go of it.
func (s *Source) Close() { unix.Close(s.fd) }

// Write writes a tar: of a directory its entries, of anything else the single
// entry under its base name. Sockets are left out. Owners are numbers. What the
// kernel makes up (/proc, /sys, …) stays empty below a directory on disk.
func (s *Source) Write(ctx context.Context, w io.Writer) error {
	out := tar.NewWriter(w)
	var err error
	if s.stat.Mode&unix.S_IFMT == unix.S_IFDIR {
		err = s.children(ctx, out, reopened(s.fd), "", s.stat)
	} else {
		err = s.entry(ctx, out, unix.AT_FDCWD, reopened(s.fd), s.name, s.stat)
	}
	if err != nil {
		return err
	}
	return out.Close()
}

// reopened is the name under which a descriptor's file can be opened again.
func reopened(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// children writes the entries of a directory.
func (s *Source) children(ctx context.Context, out *tar.Writer, open, prefix string, st unix.Stat_t) error {
	fd, err := unix.Open(open, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: prefix, Err: err}
	}
	dir := os.NewFile(uintptr(fd), prefix)
	defer dir.Close()
	if prefix != "" && st.Dev != s.stat.Dev && synthetic(fd) {
		return nil
	}
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		var st unix.Stat_t
		err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if errors.Is(err, unix.ENOENT) {
			continue // removed meanwhile
		}
		if err != nil {
			return &os.PathError{Op: "stat", Path: path.Join(prefix, name), Err: err}
		}
		if err := s.entry(ctx, out, fd, name, path.Join(prefix, name), st); err != nil {
			return err
		}
	}
	return nil
}

// synthetic reports whether a file system has no files but what the kernel
// tells: reading those would never end, or have effects.
func synthetic(fd int) bool {
	var fs unix.Statfs_t
	if unix.Fstatfs(fd, &fs) != nil {
		return false
	}
	return slices.Contains([]int64{
		unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC,
		unix.DEVPTS_SUPER_MAGIC, unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.BPF_FS_MAGIC, 0x19800202, // mqueue
	}, fs.Type)
}

// entry writes one entry, and what is below it. name is relative to dir.
func (s *Source) entry(ctx context.Context, out *tar.Writer, dir int, name, as string, st unix.Stat_t) error {
	h := &tar.Header{
		Name: as, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid),
		ModTime: time.Unix(st.Mtim.Unix()), Format: tar.FormatPAX,
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return s.file(out, dir, name, h, st)
	case unix.S_IFDIR:
		h.Typeflag, h.Name = tar.TypeDir, as+"/"
		if err := out.WriteHeader(h); err != nil {
			return err
		}
		fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return skipRaced(as, err)
		}
		defer unix.Close(fd)
		return s.children(ctx, out, reopened(fd), as, st)
	case unix.S_IFLNK:
		target := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(dir, name, target)
		if err != nil {
			return skipRaced(as, err)
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, string(target[:n])
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case unix.S_IFCHR, unix.S_IFBLK:
		h.Typeflag = tar.TypeChar
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			h.Typeflag = tar.TypeBlock
		}
		h.Devmajor, h.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	default:
		return nil
	}
	return out.WriteHeader(h)
}

// skipRaced forgives what was removed or replaced while the tar was made.
func skipRaced(name string, err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	return &os.PathError{Op: "read", Path: name, Err: err}
}

// file writes a regular file. One that shrinks meanwhile is padded with zeros,
// of one that grows the start is taken: the size goes first.
func (s *Source) file(out *tar.Writer, dir int, name string, h *tar.Header, st unix.Stat_t) error {
	id := inode{st.Dev, st.Ino}
	if first, ok := s.seen[id]; ok && st.Nlink > 1 {
		h.Typeflag, h.Linkname = tar.TypeLink, first
		return out.WriteHeader(h)
	}
	flags := unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC
	if dir != unix.AT_FDCWD {
		flags |= unix.O_NOFOLLOW
	}
	fd, err := unix.Openat(dir, name, flags, 0)
	if err != nil {
		return skipRaced(h.Name, err)
	}
	f := os.NewFile(uintptr(fd), h.Name)
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return nil
	}
	s.seen[id] = h.Name
	h.Typeflag, h.Size = tar.TypeReg, info.Size()
	if err := out.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.CopyN(out, f, h.Size)
	if errors.Is(err, io.EOF) {
		_, err = io.CopyN(out, zeros{}, h.Size-n)
	}
	return err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
