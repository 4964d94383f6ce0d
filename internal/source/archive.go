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
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/lepto-dev/lepto/internal/artifact"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file takes in packages that clients send: each a tar of its directory,
// gzip'ed; and says what they leave out of it.

const (
	maxEntries = 1_000_000 // files and directories of an archive
	maxName    = 4096      // bytes of a path in it: Linux' own bound
)

// Ignored gives what the .kurtosisignore of a file's package names, by paths in
// File.Dir: where a package is read in place it was never packed, and what it
// leaves out lies among its files. Nothing for packages that came from elsewhere.
func (p *Package) Ignored(file File) (artifact.Ignore, error) {
	if !p.inPlace[file.Dir] {
		return nil, nil
	}
	root, err := os.OpenRoot(file.Dir)
	if err != nil {
		return nil, fault.New("E0114", "open %s: %w", file.Dir, err)
	}
	defer root.Close()
	ignored, err := artifact.ReadIgnore(root)
	if err != nil {
		return nil, fault.New("E0114", "package %s: %w", p.id, err)
	}
	return ignored, nil
}

// Unpack reads an archive, gzip'ed or not, into a directory that exists, and
// writes nothing outside of it. Links and special files are left out: code does
// not need them and they could lead elsewhere. An archive with more than so many
// bytes in it, or none, or that names a path above its root, is an error that is
// fault.ErrInvalid.
func Unpack(ctx context.Context, r io.Reader, dir string, limit int64) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	defer root.Close()
	plain, err := gunzip(r)
	if err != nil {
		return fmt.Errorf("unpack: %w: %w", err, fault.ErrInvalid)
	}
	in, left := tar.NewReader(plain), limit
	for n := 0; ; n++ {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("unpack: %w: %w", err, fault.ErrInvalid)
		}
		if left -= header.Size; left < 0 || n >= maxEntries {
			return fmt.Errorf("unpack: more than %d MiB, for which there is room, or than %d files: %w", limit>>20, maxEntries, fault.ErrInvalid)
		}
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		if err := unpackEntry(root, header, in); err != nil {
			return fmt.Errorf("unpack %.200q: %w", header.Name, err)
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
	if len(name) > maxName {
		return fmt.Errorf("path of %d bytes: %w", len(name), fault.ErrInvalid)
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
