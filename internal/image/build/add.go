package build

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/ulikunitz/xz"

	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/image"
)

// add does ADD: COPY that unpacks archives and fetches URLs.
func (s *stageBuild) add(ctx context.Context, cmd *instructions.AddCommand) error {
	c, err := s.copier(ctx, "", cmd.Chown, cmd.Chmod, cmd.ExcludePatterns)
	if err != nil {
		return err
	}
	to, err := s.destination(c, cmd.SourcesAndDest)
	if err != nil {
		return err
	}
	a := &adder{copier: c, stage: s, to: to, cmd: cmd}
	defer a.release()
	for _, source := range cmd.SourcePaths {
		if err := a.source(ctx, source); err != nil {
			return err
		}
	}
	if err := c.inline(cmd.SourceContents, to); err != nil {
		return err
	}
	return s.layerWith(ctx, c.to, a.archives)
}

// adder is one ADD.
type adder struct {
	*copier
	stage    *stageBuild
	to       destination
	cmd      *instructions.AddCommand
	archives []archive
	fetched  []func() // release what was fetched
}

func (a *adder) release() {
	for _, f := range a.fetched {
		f()
	}
}

// source adds one source.
func (a *adder) source(ctx context.Context, source string) error {
	switch {
	case strings.HasPrefix(source, "http://"), strings.HasPrefix(source, "https://"):
		return a.fetch(ctx, source)
	case strings.HasPrefix(source, "git@"), strings.HasPrefix(source, "git://"), strings.HasPrefix(source, "ssh://"):
		return fault.New("E0415", "ADD of a git repository is not supported").WithHint("clone it beside the Dockerfile, and COPY it")
	}
	matches, err := a.match(source)
	if err != nil {
		return err
	}
	for _, m := range matches {
		if err := a.local(m); err != nil {
			return err
		}
	}
	return nil
}

// local adds a file of the context, unpacked if it is an archive.
func (a *adder) local(m found) error {
	if !m.isRegular() || a.cmd.Unpack != nil && !*a.cmd.Unpack {
		return a.copyTo(m, a.to)
	}
	is, err := a.isArchive(m.node)
	if err != nil {
		return err
	}
	if !is {
		return a.copyTo(m, a.to)
	}
	return a.unpack(m.name, m.stat.Size, func() (io.ReadCloser, error) { return a.open(m.node) })
}

// unpack remembers an archive to be unpacked when the layer is made.
func (a *adder) unpack(name string, size int64, open func() (io.ReadCloser, error)) error {
	into, err := a.dir(a.to.name)
	if err != nil {
		return err
	}
	a.archives = append(a.archives, archive{name: name, into: into, copier: a.copier,
		item: &item{header: &tar.Header{Name: into, Size: size}, open: open}})
	return nil
}

// isArchive tells whether a file is a tar, whatever its name.
func (a *adder) isArchive(n *node) (bool, error) {
	f, err := a.open(n)
	if err != nil {
		return false, err
	}
	defer f.Close()
	plain, err := plainTar(f)
	if err != nil {
		return false, err
	}
	if plain == nil {
		return false, nil
	}
	_, err = tar.NewReader(plain).Next()
	return err == nil, nil
}

// plainTar undoes a file's compression; nil if it is none that may hold a tar.
func plainTar(f io.Reader) (io.Reader, error) {
	buffered := bufio.NewReaderSize(f, 64<<10)
	head, err := buffered.Peek(512)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var plain io.Reader
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		plain, err = gzip.NewReader(buffered)
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		plain, err = zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
	case bytes.HasPrefix(head, []byte("BZh")):
		plain, err = bzip2.NewReader(buffered), nil
	case bytes.HasPrefix(head, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		plain, err = xz.NewReader(buffered)
	case len(head) == 512 && string(head[257:262]) == "ustar":
		return buffered, nil
	default:
		return nil, nil
	}
	if err != nil {
		return nil, nil //nolint:nilerr // it only began like one
	}
	return plain, nil
}

// archive is a tar to be unpacked into a layer.
type archive struct {
	name string // for messages
	into string // canonical
	item *item
	*copier
}

// layerWith makes a layer of entries and archives.
func (s *stageBuild) layerWith(ctx context.Context, entries *items, archives []archive) error {
	if len(archives) == 0 {
		return s.layerOf(ctx, entries)
	}
	digest, err := entries.digest(ctx)
	if err != nil {
		return err
	}
	key := "archives\n" + digest
	for _, a := range archives {
		if err := a.item.hash(); err != nil {
			return err
		}
		key += fmt.Sprintf("\n%q %x %v %v", a.into, a.item.sum, a.owner, a.mode)
	}
	for _, l := range s.layers { // where names lead depends on what is below
		key += "\n" + l.DiffID
	}
	return s.cached(ctx, key, func() (image.Layer, error) {
		return s.store.AddStream(ctx, func(w io.Writer) error {
			out := tar.NewWriter(w)
			for _, it := range entries.list {
				if err := it.write(out); err != nil {
					return err
				}
			}
			for _, a := range archives {
				if err := a.write(ctx, out); err != nil {
					return fmt.Errorf("unpack %s: %w", a.name, err)
				}
			}
			return out.Close()
		})
	})
}

// write unpacks the archive into a layer's tar. Its entries keep their owners,
// unless there is --chown.
func (a archive) write(ctx context.Context, out *tar.Writer) error {
	f, err := a.item.open()
	if err != nil {
		return err
	}
	defer f.Close()
	plain, err := plainTar(f)
	if err != nil || plain == nil {
		return errors.Join(err, errors.New("it is no archive any more"))
	}
	in := tar.NewReader(plain)
	p := &placer{below: a.below, to: newItems(a.to.time)}
	for ctx.Err() == nil {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := a.entry(p, h, in, out); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
	return context.Cause(ctx)
}

// entry writes one entry, with the directories above it.
func (a archive) entry(p *placer, h *tar.Header, in io.Reader, out *tar.Writer) error {
	name, err := a.placeOf(h.Name)
	if err != nil || name == "" || h.Typeflag == tar.TypeXGlobalHeader {
		return err
	}
	h.Name = name
	if h.Typeflag == tar.TypeLink {
		if h.Linkname, err = a.placeOf(h.Linkname); err != nil {
			return err
		}
	}
	before := len(p.to.list)
	if err := p.ancestors(a.into, a.who()); err != nil {
		return err
	}
	if err := p.ancestors(path.Dir(name), owner{}); err != nil {
		return err
	}
	for _, it := range p.to.list[before:] {
		if err := out.WriteHeader(it.header); err != nil {
			return err
		}
	}
	if h.Typeflag == tar.TypeDir {
		h.Name += "/"
	}
	if a.owner != nil && *a.owner != (owner{}) {
		h.Uid, h.Gid = a.owner.uid, a.owner.gid
	}
	a.mode.apply(h)
	if err := p.add(h, nil); err != nil {
		return err
	}
	if err := out.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return err
}

// placeOf gives the place of a name of the archive in the layer.
func (a archive) placeOf(name string) (string, error) {
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", fault.New("E0417", "archive %s has a name that leads out of it: %q", a.name, name).WithHint("make the archive anew")
		}
	}
	full := path.Join(a.into, path.Clean("/"+name))
	if full == a.into {
		return "", nil
	}
	dir, err := a.below.canonical(path.Dir(full))
	return strings.TrimPrefix(path.Join(dir, path.Base(full)), "/"), err
}
