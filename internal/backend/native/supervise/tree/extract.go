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
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/fault"
)

// Extract unpacks a tar into a directory of a root, making the directory if
// need be. Files are replaced, directories merged. Entries that would leave the
// directory — by "..", an absolute name, or a symlink on their way — and device
// nodes are refused with fault.ErrInvalid; what came before them stays.
func Extract(ctx context.Context, root *os.File, dir string, r io.Reader) error {
	base, err := makeDir(root, dir)
	if err != nil {
		return err
	}
	x := &extraction{base: base}
	defer unix.Close(base)
	in := tar.NewReader(r)
	for {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return x.finish()
		}
		if err != nil {
			return fmt.Errorf("read tar: %w", err)
		}
		if err := x.entry(h, in); err != nil {
			return fmt.Errorf("unpack %q: %w", h.Name, err)
		}
	}
}

// makeDir opens a directory of the root, and makes what is missing of it.
func makeDir(root *os.File, dir string) (int, error) {
	how := &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	parts := strings.Split(strings.Trim(path.Join("/", dir), "/"), "/")
	at, err := unix.Openat2(int(root.Fd()), "/", how)
	for i := 0; err == nil && i < len(parts) && parts[0] != ""; i++ {
		below := "/" + path.Join(parts[:i+1]...)
		var next int
		next, err = unix.Openat2(int(root.Fd()), below, how)
		if errors.Is(err, unix.ENOENT) {
			if err = unix.Mkdirat(at, parts[i], 0o755); err == nil {
				next, err = unix.Openat2(int(root.Fd()), below, how)
			}
		}
		unix.Close(at)
		at = next
	}
	if err != nil {
		return -1, &os.PathError{Op: "make directory", Path: dir, Err: err}
	}
	return at, nil
}

// An extraction is one run of Extract.
type extraction struct {
	base int // O_PATH
	dirs []dirTime
}

// dirTime is a directory's time, set at the end: entries made in it change it.
type dirTime struct {
	name string
	at   time.Time
}

func (x *extraction) entry(h *tar.Header, content io.Reader) error {
	switch h.Typeflag {
	case tar.TypeXGlobalHeader:
		return nil
	case tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink, tar.TypeFifo:
	default:
		return fmt.Errorf("entry of type %q: %w", h.Typeflag, fault.ErrInvalid)
	}
	name, err := inside(h.Name)
	if err != nil {
		return err
	}
	if name == "." {
		return nil // the directory itself stays as it is
	}
	parent, err := x.parent(path.Dir(name))
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	base := path.Base(name)
	if h.Typeflag == tar.TypeDir {
		x.dirs = append(x.dirs, dirTime{name, h.ModTime})
		return makeEntryDir(parent, base, h)
	}
	if err := unix.Unlinkat(parent, base, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("replace: %w", err)
	}
	switch h.Typeflag {
	case tar.TypeReg:
		return makeFile(parent, base, h, content)
	case tar.TypeSymlink:
		if err := unix.Symlinkat(h.Linkname, parent, base); err != nil {
			return err
		}
	case tar.TypeFifo:
		if err := unix.Mknodat(parent, base, unix.S_IFIFO|uint32(h.Mode&0o777), 0); err != nil {
			return err
		}
	case tar.TypeLink:
		return x.link(parent, base, h.Linkname)
	}
	if err := unix.Fchownat(parent, base, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	return setTime(parent, base, h.ModTime)
}

// inside cleans an entry's name, and refuses one that leaves.
func inside(name string) (string, error) {
	if path.IsAbs(name) || slices.Contains(strings.Split(name, "/"), "..") {
		return "", fmt.Errorf("name leaves the directory: %w", fault.ErrInvalid)
	}
	return path.Clean(name), nil
}

// beneath opens a path below the base; a symlink that leaves it is refused.
func (x *extraction) beneath(name string, flags uint64) (int, error) {
	fd, err := unix.Openat2(x.base, name, &unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	})
	if errors.Is(err, unix.EXDEV) || errors.Is(err, unix.ELOOP) {
		return -1, fmt.Errorf("a symlink leads out of the directory: %w", fault.ErrInvalid)
	}
	return fd, err
}

// parent opens the directory that an entry is made in; tars need not list it.
func (x *extraction) parent(name string) (int, error) {
	fd, err := x.beneath(name, unix.O_PATH|unix.O_DIRECTORY)
	if !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	above, err := x.parent(path.Dir(name))
	if err != nil {
		return -1, err
	}
	defer unix.Close(above)
	if err := unix.Mkdirat(above, path.Base(name), 0o755); err != nil {
		return -1, err
	}
	return x.beneath(name, unix.O_PATH|unix.O_DIRECTORY)
}

func makeEntryDir(parent int, base string, h *tar.Header) error {
	err := unix.Mkdirat(parent, base, 0o700)
	if errors.Is(err, unix.EEXIST) {
		var st unix.Stat_t
		if err := unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			err = nil
		}
	}
	if err != nil {
		return err
	}
	fd, err := unix.Openat(parent, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Fchown(fd, h.Uid, h.Gid); err != nil {
		return err
	}
	return unix.Fchmod(fd, uint32(h.Mode&0o7777))
}

func makeFile(parent int, base string, h *tar.Header, content io.Reader) error {
	fd, err := unix.Openat(parent, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), h.Name)
	defer f.Close()
	if _, err := io.Copy(f, content); err != nil {
		return err
	}
	if err := f.Chown(h.Uid, h.Gid); err != nil {
		return err
	}
	if err := unix.Fchmod(int(f.Fd()), uint32(h.Mode&0o7777)); err != nil {
		return err
	}
	return setTime(parent, base, h.ModTime)
}

// link makes another name of a file unpacked before, and of nothing else.
func (x *extraction) link(parent int, base, target string) error {
	target, err := inside(target)
	if err != nil {
		return err
	}
	fd, err := x.beneath(target, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("link to something that is no file: %w", fault.ErrInvalid)
	}
	return unix.Linkat(fd, "", parent, base, unix.AT_EMPTY_PATH)
}

func setTime(parent int, base string, at time.Time) error {
	if at.IsZero() {
		return nil
	}
	ts, err := unix.TimeToTimespec(at)
	if err != nil {
		return nil //nolint:nilerr // beyond what the system can say
	}
	return unix.UtimesNanoAt(parent, base, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}

// finish sets the directories' times, deepest first.
func (x *extraction) finish() error {
	for _, d := range slices.Backward(x.dirs) {
		parent, err := x.beneath(path.Dir(d.name), unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			continue // replaced by a later entry
		}
		_ = setTime(parent, path.Base(d.name), d.at) // a time that can't be set is no loss of content
		unix.Close(parent)
	}
	return nil
}
