package artifact

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file reads archives: tars, plain or compressed with gzip or zstd.

// Policy says what becomes of entries that a tree can't have: links that lead
// out of it, devices, pipes.
type Policy int

// The policies.
const (
	Refuse Policy = iota // the archive is refused
	Skip                 // the entry is left out, and named in Skipped
)

// Unpack adds what an archive has. An archive that can't be read, or has what
// the policy refuses, is a fault that is fault.ErrInvalid.
func (b *Builder) Unpack(r io.Reader, policy Policy) error {
	skipped, err := unpack(b.w, bufio.NewReaderSize(r, sniffed), policy)
	b.Skipped = append(b.Skipped, skipped...)
	return err
}

// UnpackOr is Unpack for what may be no archive at all: then it is added as a
// file of that name.
func (b *Builder) UnpackOr(name string, r io.Reader) error {
	in := bufio.NewReaderSize(r, sniffed)
	if IsArchive(in) {
		return b.Unpack(in, Refuse)
	}
	return b.File(name, func(w io.Writer) error {
		_, err := io.Copy(w, in)
		return err
	})
}

// Extract unpacks an archive, such as Pack makes, into a directory that exists,
// over what is there. It writes nothing outside of it.
func Extract(ctx context.Context, r io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	_, err = unpack(newWriter(ctx, root, Limits{}.orDefault()), bufio.NewReaderSize(r, sniffed), Refuse)
	return err
}

func unpack(w *writer, r *bufio.Reader, policy Policy) (skipped []string, err error) {
	if !IsArchive(r) {
		return nil, badArchive(fmt.Errorf("it is none: %w", fault.ErrInvalid))
	}
	plain, err := decompress(r)
	if err != nil {
		return nil, badArchive(err)
	}
	defer plain.Close()
	in := tar.NewReader(plain)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return skipped, nil
		}
		if err != nil {
			return skipped, badArchive(err)
		}
		err = w.entry(h, in)
		if policy == Skip && errors.Is(err, errSkip) {
			skipped = append(skipped, h.Name)
			continue
		}
		switch {
		case err == nil:
		case errors.Is(err, fault.ErrInvalid), isTarError(err):
			return skipped, badArchive(err)
		default:
			return skipped, diskFault(fmt.Errorf("unpack %q: %w", h.Name, err))
		}
	}
}

// errSkip marks an entry that the policy Skip leaves out.
var errSkip = fmt.Errorf("%w in a files artifact", fault.ErrInvalid)

// entry writes one entry of a tar.
func (w *writer) entry(h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if strings.Trim(h.Name, "/.") == "" && h.Typeflag == tar.TypeDir {
		return nil // the root itself
	}
	name, err := CleanPath(h.Name)
	if err != nil {
		return fmt.Errorf("the entry %q %w: %w", h.Name, err, fault.ErrInvalid)
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return w.dir(name)
	case tar.TypeReg, tar.TypeRegA, tar.TypeCont, tar.TypeGNUSparse: //nolint:staticcheck // RegA is what old archives have
		return w.copy(name, fs.FileMode(h.Mode), h.ModTime, content)
	case tar.TypeSymlink:
		if leadsOut(name, h.Linkname) {
			return fmt.Errorf("the link %q, which leads out of the tree to %q, is %w", h.Name, h.Linkname, errSkip)
		}
		return w.symlink(name, h.Linkname)
	case tar.TypeLink:
		return w.hardlink(name, h.Linkname)
	}
	return fmt.Errorf("the entry %q of type %q is %w", h.Name, h.Typeflag, errSkip)
}

func badArchive(err error) error {
	if !errors.Is(err, fault.ErrInvalid) {
		err = fmt.Errorf("%w: %w", err, fault.ErrInvalid)
	}
	return fault.New(codeBadArchive, "the archive can't be taken: %w", err).
		WithHint("an archive is a tar, plain or compressed with gzip or zstd, of files, directories and links between them")
}

// isTarError tells what is wrong with an archive from what is wrong with the disk.
func isTarError(err error) bool {
	return errors.Is(err, tar.ErrHeader) || errors.Is(err, tar.ErrInsecurePath) || errors.Is(err, tar.ErrFieldTooLong) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, gzip.ErrChecksum) || errors.Is(err, gzip.ErrHeader)
}

// sniffed is how many bytes of a stream are looked at to tell what it is.
const sniffed = 256 << 10

// maxWindow bounds the memory that a zstd stream may ask for, in bytes.
const maxWindow = 64 << 20

// decompress gives the content of a stream, told by its first bytes.
func decompress(r *bufio.Reader) (io.ReadCloser, error) {
	magic, _ := r.Peek(4) // what keeps it from being read shows again
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return gzip.NewReader(r)
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(r), nil
}

const tarBlock = 512

// IsArchive reports whether a stream is a tar, compressed or not. It consumes
// nothing.
func IsArchive(r *bufio.Reader) bool {
	start, _ := r.Peek(sniffed)
	plain, err := decompress(bufio.NewReader(bytes.NewReader(start)))
	if err != nil {
		return false
	}
	defer plain.Close()
	block := make([]byte, tarBlock)
	if _, err := io.ReadFull(plain, block); err != nil {
		return false
	}
	return isTarHeader(block)
}

// isTarHeader checks the sum of a header, which every kind of tar has, or that
// it is the end of an empty tar.
func isTarHeader(block []byte) bool {
	if bytes.Equal(block, make([]byte, tarBlock)) {
		return true
	}
	const at, length = 148, 8
	want, err := strconv.ParseInt(strings.Trim(string(block[at:at+length]), " \x00"), 8, 64)
	if err != nil {
		return false
	}
	sum := int64(length * ' ')
	for i, b := range block {
		if i < at || i >= at+length {
			sum += int64(b)
		}
	}
	return sum == want
}
