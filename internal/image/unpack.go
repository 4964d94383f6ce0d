package image

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Limits bound what a layer may unpack to, so that a small download can't fill
// the disk unseen. Zero fields mean the default.
type Limits struct {
	LayerBytes   int64 // of all files of a layer; 64 GiB
	LayerEntries int64 // of a layer's tar, and directories made for them; 4 million
}

func (l Limits) orDefault() Limits {
	if l.LayerBytes == 0 {
		l.LayerBytes = 64 << 30
	}
	if l.LayerEntries == 0 {
		l.LayerEntries = 4 << 20
	}
	return l
}

// contents tells what was unpacked.
type contents struct {
	Size    int64 `json:"size"`    // bytes of all files
	Entries int64 `json:"entries"` // of the tar
	Opaque  bool  `json:"opaque,omitempty"`
}

// Marks of a removed file and of a directory emptied before, in a layer's tar
// (OCI image specification, layer.md).
const (
	whiteoutPrefix = ".wh."
	whiteoutMeta   = ".wh..wh."
	whiteoutOpaque = ".wh..wh..opq"
)

// unpack writes a layer's tar into an empty directory, in the form overlayfs
// wants, and reads the stream to its end.
func unpack(ctx context.Context, dir string, stream io.Reader, limits Limits) (contents, error) {
	var done contents
	t, err := openTree(dir)
	if err != nil {
		return done, err
	}
	defer func() { _ = t.close() }() // it was only read from
	entries := tar.NewReader(stream)
	for {
		if ctx.Err() != nil {
			return done, context.Cause(ctx)
		}
		h, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return done, tarError(err)
		}
		done.Entries++
		if err := done.unpackEntry(t, h, entries, limits); err != nil {
			return done, fmt.Errorf("layer entry %q: %w", h.Name, tarError(err))
		}
	}
	if err := t.finish(); err != nil {
		return done, err
	}
	return done, drain(stream, limits.LayerBytes)
}

// unpackEntry writes one entry, unless it exceeds the limits.
func (c *contents) unpackEntry(t *tree, h *tar.Header, content io.Reader, limits Limits) error {
	if c.Entries+int64(len(t.dirs)) > limits.LayerEntries {
		return fmt.Errorf("%w: layer has more than %d entries", errCorrupt, limits.LayerEntries)
	}
	if h.Size > limits.LayerBytes-c.Size {
		return fmt.Errorf("%w: layer unpacks to more than %d bytes", errCorrupt, limits.LayerBytes)
	}
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := cleanName(h.Name)
	if err != nil {
		return err
	}
	dir, base := path.Split(name)
	switch {
	case base == whiteoutOpaque:
		c.Opaque = c.Opaque || dir == ""
		return t.opaque(strings.TrimSuffix(dir, "/"), h)
	case strings.HasPrefix(base, whiteoutMeta):
		return nil // bookkeeping of aufs
	case strings.HasPrefix(base, whiteoutPrefix):
		hidden := strings.TrimPrefix(base, whiteoutPrefix)
		if hidden == "" || hidden == "." || hidden == ".." {
			return fmt.Errorf("%w: whiteout of nothing", errCorrupt)
		}
		return t.whiteout(dir+hidden, h)
	}
	if h.Typeflag == tar.TypeReg || h.Typeflag == tar.TypeGNUSparse {
		c.Size += h.Size
	}
	return t.add(name, h, content)
}

// cleanName makes an entry's name relative and clean; the root is "". A name that
// climbs is refused instead of bent: no honest archive has one.
func cleanName(name string) (string, error) {
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", fmt.Errorf("%w: name %q leads out of the layer", errCorrupt, name)
		}
	}
	return strings.TrimPrefix(path.Clean("/"+name), "/"), nil
}

// tarError classifies what the tar reader or the file system says about an
// archive that is not well formed.
func tarError(err error) error {
	switch {
	case errors.Is(err, errCorrupt):
		return err
	case errors.Is(err, tar.ErrHeader), errors.Is(err, tar.ErrFieldTooLong), errors.Is(err, tar.ErrInsecurePath),
		errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENAMETOOLONG),
		errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINVAL), errors.Is(err, unix.E2BIG):
		return fmt.Errorf("%w: %w", errCorrupt, err)
	}
	return err
}

// drain reads what follows the archive's end: padding, which counts for digests.
func drain(stream io.Reader, limit int64) error {
	n, err := io.Copy(io.Discard, io.LimitReader(stream, limit))
	if err != nil {
		return err
	}
	if n == limit {
		return fmt.Errorf("%w: more than %d bytes of padding", errCorrupt, limit)
	}
	return nil
}
