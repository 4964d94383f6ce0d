package image

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// This file turns what was written to an overlay mount into a layer.

// AddUpper stores the upper directory of an overlay mount, which must be
// unmounted, as a layer. Hold the store until the layer is part of an image.
func (s *Store) AddUpper(ctx context.Context, upper string) (Layer, error) {
	return s.AddStream(ctx, func(w io.Writer) error { return writeUpper(ctx, w, upper) })
}

// AddStream stores as a layer the uncompressed tar that write writes.
func (s *Store) AddStream(ctx context.Context, write func(io.Writer) error) (Layer, error) {
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.CloseWithError(write(w))
	}()
	layer, err := s.AddLayer(ctx, r)
	r.CloseWithError(err) // lets the writer go
	<-done
	return layer, err
}

// WorkDir makes a folder in the store for work in progress, on the file system
// of the layers. release removes what is left of it; if the process dies first,
// the next Open does.
func (s *Store) WorkDir(ctx context.Context) (dir string, release func(), err error) {
	dir, release, err = s.workDir(ctx)
	if err != nil {
		return "", nil, storeFault("make work folder", err)
	}
	return dir, release, nil
}

// upperWriter writes an upper directory as a layer's tar.
type upperWriter struct {
	to    *tar.Writer
	dir   string
	links map[uint64]string // inode → the first name of a file that has several
}

func writeUpper(ctx context.Context, w io.Writer, dir string) error {
	u := &upperWriter{to: tar.NewWriter(w), dir: dir, links: map[uint64]string{}}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case path == dir:
			return nil
		}
		return u.add(path)
	})
	return errors.Join(err, u.to.Close())
}

// add writes one file.
func (u *upperWriter) add(path string) error {
	name, err := filepath.Rel(u.dir, path)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT == unix.S_IFSOCK {
		return nil // of no use without its process
	}
	if IsWhiteout(&st) {
		dir, base := filepath.Split(name)
		return u.to.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: dir + whiteoutPrefix + base, ModTime: time.Unix(st.Mtim.Unix())})
	}
	h, err := HeaderOf(path, name, &st)
	if err != nil {
		return err
	}
	if h.Typeflag == tar.TypeReg && st.Nlink > 1 {
		if first, ok := u.links[st.Ino]; ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
		} else {
			u.links[st.Ino] = name
		}
	}
	if err := u.to.WriteHeader(h); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	switch {
	case h.Typeflag == tar.TypeDir && IsOpaque(path):
		return u.to.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name + "/" + whiteoutOpaque, ModTime: h.ModTime})
	case h.Typeflag == tar.TypeReg:
		return u.content(path)
	}
	return nil
}

func (u *upperWriter) content(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(u.to, f)
	return err
}

// IsWhiteout reports whether a file of a layer says that a lower one is gone.
func IsWhiteout(st *unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}

// IsOpaque reports whether a directory of a layer hides the lower ones of its name.
func IsOpaque(dir string) bool {
	var value [4]byte
	n, err := unix.Lgetxattr(dir, opaqueAttribute, value[:])
	return err == nil && string(value[:n]) == "y"
}

// HeaderOf gives the tar header for a file, with the attributes a layer keeps.
func HeaderOf(path, name string, st *unix.Stat_t) (*tar.Header, error) {
	h := &tar.Header{Name: name, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid),
		ModTime: time.Unix(st.Mtim.Unix()), Format: tar.FormatPAX}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		h.Typeflag, h.Size = tar.TypeReg, st.Size
	case unix.S_IFDIR:
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		if err != nil {
			return nil, err
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, target
		return h, nil
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case unix.S_IFCHR, unix.S_IFBLK:
		h.Typeflag = tar.TypeChar
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			h.Typeflag = tar.TypeBlock
		}
		h.Devmajor, h.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	default:
		return nil, fmt.Errorf("%s: a socket has no place in a layer", name)
	}
	return h, readAttributes(path, h)
}

// readAttributes puts the extended attributes that a layer keeps into a header.
func readAttributes(path string, h *tar.Header) error {
	var names [64 << 10]byte // the most the kernel gives
	n, err := unix.Llistxattr(path, names[:])
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "llistxattr", Path: path, Err: err}
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		if !keptAttribute(name) {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return &os.PathError{Op: "lgetxattr", Path: path, Err: err}
		}
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords["SCHILY.xattr."+name] = string(value[:n])
	}
	return nil
}
