package source

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file moves a package as an archive: a tar of its directory, gzip'ed.

const (
	// IgnoreName is the file that lists what is left out of an archive.
	IgnoreName = ".kurtosisignore"
	// maxArchive bounds an archive's contents, in bytes, and maxEntries its files.
	maxArchive = 8 << 30
	maxEntries = 200_000
)

// Pack writes the directory as a gzip'ed tar: regular files and directories, in
// order of their paths, without what its .kurtosisignore names. Symbolic links
// and special files are left out: on the other side they are refused.
func Pack(ctx context.Context, dir string, w io.Writer) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("pack %s: %w", dir, err)
	}
	defer root.Close()
	ignored, err := readIgnore(root)
	if err != nil {
		return fmt.Errorf("pack %s: %w", dir, err)
	}
	zipped := gzip.NewWriter(w)
	out := tar.NewWriter(zipped)
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case context.Cause(ctx) != nil:
			return context.Cause(ctx)
		case name == ".":
			return nil
		case ignored.match(name, entry.IsDir()):
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		return packEntry(root, out, name, entry)
	})
	if err = errors.Join(err, out.Close(), zipped.Close()); err != nil {
		return fmt.Errorf("pack %s: %w", dir, err)
	}
	return nil
}

func packEntry(root *os.Root, out *tar.Writer, name string, entry fs.DirEntry) error {
	if !entry.IsDir() && !entry.Type().IsRegular() {
		return nil
	}
	info, err := entry.Info()
	if err != nil {
		return err
	}
	header := &tar.Header{Name: name, Mode: int64(info.Mode().Perm()), ModTime: info.ModTime(), Typeflag: tar.TypeReg, Size: info.Size()}
	if entry.IsDir() {
		header.Name, header.Typeflag, header.Size = name+"/", tar.TypeDir, 0
		return out.WriteHeader(header)
	}
	if err := out.WriteHeader(header); err != nil {
		return err
	}
	file, err := root.Open(filepath.FromSlash(name))
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.CopyN(out, file, header.Size)
	return err
}

// Unpack reads an archive, gzip'ed or not, into a directory that exists, and
// writes nothing outside of it. Links and special files are left out: code does
// not need them and they could lead elsewhere. An archive that is too large, or
// none, or names a path above its root, is an error that is fault.ErrInvalid.
func Unpack(ctx context.Context, r io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	defer root.Close()
	plain, err := gunzip(r)
	if err != nil {
		return fmt.Errorf("unpack: %w: %w", err, fault.ErrInvalid)
	}
	in, left := tar.NewReader(plain), int64(maxArchive)
	for n := 0; ; n++ {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("unpack: %w: %w", err, fault.ErrInvalid)
		}
		if left -= header.Size; left < 0 || n >= maxEntries {
			return fmt.Errorf("unpack: more than %d GiB or %d files: %w", maxArchive>>30, maxEntries, fault.ErrInvalid)
		}
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		if err := unpackEntry(root, header, in); err != nil {
			return fmt.Errorf("unpack %q: %w", header.Name, err)
		}
	}
}

// gunzip gives the contents of what may be gzip'ed.
func gunzip(r io.Reader) (io.Reader, error) {
	in := bufio.NewReader(r)
	if magic, _ := in.Peek(2); !bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		return in, nil // whatever keeps it from being read will show again
	}
	return gzip.NewReader(in)
}

func unpackEntry(root *os.Root, header *tar.Header, content io.Reader) error {
	name := path.Clean(strings.TrimLeft(header.Name, "/"))
	if name == ".." || strings.HasPrefix(name, "../") {
		return fmt.Errorf("path leads out of the archive: %w", fault.ErrInvalid)
	}
	switch header.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(filepath.FromSlash(name), 0o755)
	case tar.TypeReg:
	default:
		return nil
	}
	if err := root.MkdirAll(filepath.FromSlash(path.Dir(name)), 0o755); err != nil {
		return err
	}
	mode := os.FileMode(header.Mode).Perm() | 0o600 // ours to read and to remove again
	file, err := root.OpenFile(filepath.FromSlash(name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	return errors.Join(err, file.Close())
}

// ignore is a list of patterns: one with an inner "/" matches a whole path, any
// other a name anywhere; one that ends in "/" only directories.
type ignore []string

func readIgnore(root *os.Root) (ignore, error) {
	data, err := root.ReadFile(IgnoreName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list ignore
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if _, err := path.Match(line, ""); err != nil {
			return nil, fmt.Errorf("%s: pattern %q: %w", IgnoreName, line, err)
		}
		list = append(list, line)
	}
	return list, nil
}

func (i ignore) match(name string, isDir bool) bool {
	for _, pattern := range i {
		plain, onlyDirs := strings.CutSuffix(pattern, "/")
		if onlyDirs && !isDir {
			continue
		}
		against := path.Base(name)
		if strings.Contains(plain, "/") {
			plain, against = strings.TrimPrefix(plain, "/"), name
		}
		if ok, _ := path.Match(plain, against); ok {
			return true
		}
	}
	return false
}
