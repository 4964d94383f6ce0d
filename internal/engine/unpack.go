package engine

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file unpacks packages that clients send.

const (
	maxUnpacked = 8 << 30 // bytes
	maxEntries  = 200_000
)

// unpack writes the files of a tar, gzip'ed or not, into a directory, and
// nothing outside of it. Links and devices are left out: code does not need them
// and they could lead elsewhere.
func unpack(ctx context.Context, archive io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	in := bufio.NewReader(archive)
	if magic, _ := in.Peek(2); len(magic) == 2 && magic[0] == 0x1f && magic[1] == 0x8b {
		zipped, err := gzip.NewReader(in)
		if err != nil {
			return fmt.Errorf("archive: %w: %w", err, fault.ErrInvalid)
		}
		defer zipped.Close()
		in = bufio.NewReader(zipped)
	}
	files, left := tar.NewReader(in), int64(maxUnpacked)
	for n := 0; ; n++ {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("archive: %w: %w", err, fault.ErrInvalid)
		}
		left -= header.Size
		if left < 0 || n >= maxEntries {
			return fmt.Errorf("archive: more than %d bytes or %d files: %w", int64(maxUnpacked), maxEntries, fault.ErrInvalid)
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := place(root, header, files); err != nil {
			return fmt.Errorf("archive, %q: %w", header.Name, err)
		}
	}
}

// place writes one entry. Paths that leave the root are refused by it.
func place(root *os.Root, header *tar.Header, content io.Reader) error {
	name := path.Clean(strings.TrimPrefix(header.Name, "/"))
	switch header.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(name, 0o755)
	case tar.TypeReg:
	default:
		return nil
	}
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	file, err := root.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, header.FileInfo().Mode().Perm()|0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	return errors.Join(err, file.Close())
}
