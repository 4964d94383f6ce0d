package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

const (
	maxDocuments      = 64 << 20 // bytes of an archive's small files, all together
	maxArchiveEntries = 1 << 20
)

// Load stores all images of a docker-archive (what "docker save" writes) or an
// OCI layout, as a tar, plain or compressed. Layers are unpacked as they come,
// before it is known whose they are. An image without a name is stored under its
// id.
func (s *Store) Load(ctx context.Context, archive io.Reader) ([]backend.ImageInfo, error) {
	release, err := s.Hold(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	a := &archiveReader{store: s, documents: map[string][]byte{}, layers: map[string]Layer{}, links: map[string]string{}}
	if err := a.read(ctx, archive); err != nil {
		return nil, loadFault(ctx, err)
	}
	found, err := a.images()
	if err != nil {
		return nil, loadFault(ctx, err)
	}
	var out []backend.ImageInfo
	for _, one := range found {
		infos, err := s.keepLoaded(ctx, one)
		if err != nil {
			return out, loadFault(ctx, err)
		}
		out = append(out, infos...)
	}
	return out, nil
}

// keepLoaded stores one image of an archive under all its names.
func (s *Store) keepLoaded(ctx context.Context, one archived) ([]backend.ImageInfo, error) {
	id := digestOf(one.config)
	names := one.names
	if len(names) == 0 {
		if err := s.commit(ctx, one.config, record{}); err != nil {
			return nil, err
		}
		img, err := s.readImage(id, id)
		if err != nil {
			return nil, err
		}
		return []backend.ImageInfo{img.Info("")}, nil
	}
	var out []backend.ImageInfo
	for _, n := range names {
		r, err := parseReference(n)
		if err != nil {
			return out, err
		}
		if err := s.commit(ctx, one.config, record{Ref: r.full()}); err != nil {
			return out, err
		}
		img, _, err := s.resolve(r)
		if err != nil {
			return out, err
		}
		out = append(out, img.Info(""))
	}
	return out, nil
}

// loadFault says what went wrong with an archive.
func loadFault(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("load image archive: %w", context.Cause(ctx))
	}
	var f *fault.Fault
	if errors.As(err, &f) {
		return f
	}
	if full := diskFault("load image archive", err); full != nil {
		return full
	}
	if errors.Is(err, errCorrupt) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &fault.Fault{Code: "E0419", Summary: fmt.Sprintf("image archive: %s", err), Cause: err,
			Hint: "make the archive anew, with docker save or as an OCI layout"}
	}
	return fmt.Errorf("load image archive: %w", err)
}

// archiveReader is the one walk over an archive: small files are kept in memory,
// everything else is a layer and goes to the store at once.
type archiveReader struct {
	store     *Store
	documents map[string][]byte // path → content
	layers    map[string]Layer  // path → unpacked
	links     map[string]string // path → path
	kept      int64             // bytes of documents
}

func (a *archiveReader) read(ctx context.Context, archive io.Reader) error {
	from := &countedReader{inner: archive, size: 1<<63 - 1, tell: newMeter("", nil)}
	plain, err := decompressFile(from)
	if err != nil {
		return err
	}
	defer plain.Close()
	entries := tar.NewReader(classified{plain, from})
	for n := 0; ; n++ {
		h, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return tarError(err)
		}
		if n > maxArchiveEntries {
			return fmt.Errorf("%w: more than %d entries", errCorrupt, maxArchiveEntries)
		}
		name, err := cleanName(h.Name)
		if err != nil {
			return err
		}
		if err := a.entry(ctx, name, h, entries); err != nil {
			return fmt.Errorf("%s: %w", h.Name, tarError(err))
		}
	}
}

// entry takes one entry of the archive.
func (a *archiveReader) entry(ctx context.Context, name string, h *tar.Header, content io.Reader) error {
	switch h.Typeflag {
	case tar.TypeSymlink: // old archives share layers this way
		a.links[name] = path.Join(path.Dir(name), h.Linkname)
		return nil
	case tar.TypeLink:
		a.links[name] = path.Clean(h.Linkname)
		return nil
	case tar.TypeReg:
	default:
		return nil
	}
	digest, isBlob := strings.CutPrefix(name, blobFolder)
	sum := sha256.New()
	if isBlob {
		content = io.TeeReader(content, sum)
	}
	buffered := bufio.NewReaderSize(content, 64<<10)
	head, err := buffered.Peek(512)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if looksLikeLayer(name, head) {
		err = a.layer(ctx, name, buffered)
	} else {
		err = a.document(name, h.Size, buffered)
	}
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, buffered); err != nil {
		return err
	}
	if isBlob && digest != hex.EncodeToString(sum.Sum(nil)) {
		return fmt.Errorf("%w: content is not what its digest says", errCorrupt)
	}
	return nil
}

// blobFolder is where an OCI layout has its content, named by digest.
const blobFolder = "blobs/sha256/"

// looksLikeLayer tells a layer from a small file by its first bytes.
func looksLikeLayer(name string, head []byte) bool {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}), bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return true
	case len(head) < 512:
		return false
	case string(head[257:262]) == "ustar":
		return true
	case bytes.Count(head, []byte{0}) == 512: // an empty tar is but its end
		return true
	}
	return strings.HasSuffix(name, ".tar") // from before ustar
}

func (a *archiveReader) document(name string, size int64, content io.Reader) error {
	if size > maxDocuments-a.kept {
		return fmt.Errorf("%w: neither a layer nor a small file", errCorrupt)
	}
	raw, err := io.ReadAll(content)
	a.kept += int64(len(raw))
	a.documents[name] = raw
	return err
}

// layer unpacks a layer.
func (a *archiveReader) layer(ctx context.Context, name string, content io.Reader) error {
	// Newer archives name plain layers by their diffID: those that are there
	// need no unpacking. The caller verifies that the name is true.
	if digest, ok := strings.CutPrefix(name, blobFolder); ok {
		if layer, err := a.store.readLayer("sha256:" + digest); err == nil {
			a.layers[name] = layer
			return nil
		}
	}
	from := &countedReader{inner: content, size: 1<<63 - 1, tell: newMeter("", nil)}
	plain, err := decompress(from)
	if err != nil {
		return err
	}
	defer plain.Close()
	layer, err := a.store.addLayer(ctx, classified{plain, from}, "")
	if err != nil {
		return err
	}
	a.layers[name] = layer
	return nil
}
