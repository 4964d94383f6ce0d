package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tree writes files under a root directory that no symlink leads out of: every
// parent is opened with openat2(2) and RESOLVE_IN_ROOT, where "/" and ".." in a
// link mean the root, and every last component is acted on without following.
// Paths are clean and relative; "" is the root itself.
type tree struct {
	root int // a directory
	path string
	dirs []dirTime
	buf  []byte
}

// dirTime is a modification time to be set once nothing more goes into the directory.
type dirTime struct {
	dir  string
	time [2]unix.Timespec
}

// maxLinks bounds how many symlinks are followed to make a parent, as the kernel does.
const maxLinks = 40

func openTree(dir string) (*tree, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return &tree{root: fd, path: dir, buf: make([]byte, 256<<10)}, nil
}

func (t *tree) close() error { return unix.Close(t.root) }

// open opens a path inside the root.
func (t *tree) open(name string, flags int) (int, error) {
	if name == "" {
		name = "."
	}
	for {
		fd, err := unix.Openat2(t.root, name, &unix.OpenHow{
			Flags:   uint64(flags | unix.O_CLOEXEC),
			Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
		})
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) { // EAGAIN: a rename raced with ".."
			return fd, err
		}
	}
}

// parent opens the directory that name is in, making what is missing of it, and
// gives the last component.
func (t *tree) parent(name string, mtime time.Time) (fd int, base string, err error) {
	dir, base := path.Split(name)
	fd, err = t.mkdirAll(strings.TrimSuffix(dir, "/"), mtime, maxLinks)
	return fd, base, err
}

// mkdirAll opens a directory, making it where it is missing: an entry may come
// without its parents, and a symlink may lead where only a lower layer has
// something.
func (t *tree) mkdirAll(dir string, mtime time.Time, links int) (int, error) {
	fd, err := t.open(dir, unix.O_PATH|unix.O_DIRECTORY)
	if !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	if links == 0 {
		return -1, unix.ELOOP
	}
	up, base := path.Split(dir)
	up = strings.TrimSuffix(up, "/")
	parent, err := t.mkdirAll(up, mtime, links)
	if err != nil {
		return -1, err
	}
	defer unix.Close(parent)
	err = unix.Mkdirat(parent, base, 0o755)
	if errors.Is(err, unix.EEXIST) {
		target, err := readlinkat(parent, base)
		if err != nil {
			return -1, err
		}
		if !path.IsAbs(target) {
			target = path.Join(up, target)
		}
		return t.mkdirAll(strings.TrimPrefix(path.Clean("/"+target), "/"), mtime, links-1)
	}
	if err != nil {
		return -1, err
	}
	t.dirs = append(t.dirs, dirTime{dir, times(mtime, mtime)})
	return unix.Openat(parent, base, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

func readlinkat(parent int, base string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(parent, base, buf)
	return string(buf[:max(n, 0)]), err
}

// clear makes room for an entry. A directory stays if the new entry is one too.
// replaced says that something else than a directory was there.
func (t *tree) clear(parent int, base string, forDir bool) (exists, replaced bool, err error) {
	var st unix.Stat_t
	err = unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return false, false, nil
	}
	if err != nil {
		return false, false, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return false, true, unix.Unlinkat(parent, base, 0)
	}
	if forDir {
		return true, false, nil
	}
	return false, false, os.RemoveAll(fmt.Sprintf("/proc/self/fd/%d/%s", parent, base))
}

// add writes one entry. content is read for a regular file.
func (t *tree) add(name string, h *tar.Header, content io.Reader) error {
	if name == "" {
		if h.Typeflag != tar.TypeDir {
			return fmt.Errorf("%w: the root is no directory", errCorrupt)
		}
		return t.finishDir(t.root, ".", name, h, false)
	}
	parent, base, err := t.parent(name, h.ModTime)
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	exists, replaced, err := t.clear(parent, base, h.Typeflag == tar.TypeDir)
	if err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if !exists {
			if err := unix.Mkdirat(parent, base, 0o700); err != nil {
				return err
			}
		}
		return t.finishDir(parent, base, name, h, replaced)
	case tar.TypeReg, tar.TypeRegA, tar.TypeCont, tar.TypeGNUSparse: //nolint:staticcheck // RegA is what old archives have
		return t.addFile(parent, base, h, content)
	case tar.TypeLink:
		return t.addHardlink(parent, base, h)
	}
	return t.addSpecial(parent, base, h)
}

// finishDir sets a directory's attributes. A directory that replaces something
// else of this layer hides what lower layers have there.
func (t *tree) finishDir(parent int, base, name string, h *tar.Header, opaque bool) error {
	fd, err := unix.Openat(parent, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if opaque {
		if err := setOpaque(fd); err != nil {
			return err
		}
	}
	t.dirs = append(t.dirs, dirTime{name, times(h.AccessTime, h.ModTime)})
	return setAttributes(fd, h)
}

func (t *tree) addFile(parent int, base string, h *tar.Header, content io.Reader) error {
	fd, err := unix.Openat(parent, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), base)
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, content, t.buf)
	if err == nil {
		err = setAttributes(fd, h)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return setTimes(parent, base, h)
}

// addHardlink links to another file of the same tree.
func (t *tree) addHardlink(parent int, base string, h *tar.Header) error {
	target, err := cleanName(h.Linkname)
	if err != nil {
		return err
	}
	dir, last := path.Split(target)
	if last == "" {
		return fmt.Errorf("%w: hard link to the root", errCorrupt)
	}
	from, err := t.open(strings.TrimSuffix(dir, "/"), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", h.Linkname, err)
	}
	defer unix.Close(from)
	if err := unix.Linkat(from, last, parent, base, 0); err != nil {
		if errors.Is(err, unix.EPERM) {
			err = fmt.Errorf("%w: %w", errCorrupt, err) // to a directory
		}
		return fmt.Errorf("hard link to %q: %w", h.Linkname, err)
	}
	return nil
}

// addSpecial makes a symlink, device or pipe. Devices are part of images, as
// Docker has it; what a container may open is decided where it runs.
func (t *tree) addSpecial(parent int, base string, h *tar.Header) error {
	var err error
	mode := uint32(h.Mode & 0o7777)
	switch h.Typeflag {
	case tar.TypeSymlink:
		err = unix.Symlinkat(h.Linkname, parent, base)
	case tar.TypeFifo:
		err = unix.Mknodat(parent, base, mode|unix.S_IFIFO, 0)
	case tar.TypeChar:
		err = unix.Mknodat(parent, base, mode|unix.S_IFCHR, device(h))
	case tar.TypeBlock:
		err = unix.Mknodat(parent, base, mode|unix.S_IFBLK, device(h))
	default:
		return fmt.Errorf("%w: entry of unknown type %q", errCorrupt, h.Typeflag)
	}
	if err != nil {
		return err
	}
	if err := unix.Fchownat(parent, base, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if h.Typeflag != tar.TypeSymlink { // mknod obeyed the umask, chown took setuid away
		if err := unix.Fchmodat(parent, base, mode, 0); err != nil {
			return err
		}
	}
	return setTimes(parent, base, h)
}

func device(h *tar.Header) int {
	return int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor)))
}

// whiteout hides what lower layers have under a name. What this layer has there
// itself stays: the mark speaks of lower layers only.
func (t *tree) whiteout(name string, h *tar.Header) error {
	parent, base, err := t.parent(name, h.ModTime)
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	err = unix.Mknodat(parent, base, unix.S_IFCHR, int(unix.Mkdev(0, 0)))
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	fd, err := unix.Openat(parent, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return setOpaque(fd)
}

// opaque makes a directory hide what lower layers have in it.
func (t *tree) opaque(dir string, h *tar.Header) error {
	at, err := t.mkdirAll(dir, h.ModTime, maxLinks)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	fd, err := unix.Openat(at, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return setOpaque(fd)
}

// finish sets the times of directories, in the order of the entries: of a
// directory that came twice, the last counts.
func (t *tree) finish() error {
	for _, d := range t.dirs {
		fd, err := t.open(d.dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			continue // replaced by something else since
		}
		if err != nil {
			return err
		}
		err = unix.UtimesNanoAt(fd, ".", d.time[:], 0)
		unix.Close(fd)
		if err != nil {
			return err
		}
	}
	return nil
}
