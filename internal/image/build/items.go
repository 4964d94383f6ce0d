package build

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/image"
)

// item is one entry of a layer that is to be made.
type item struct {
	header *tar.Header
	// open gives the content of a regular file.
	open func() (io.ReadCloser, error)
	// sum is the SHA-256 of the content, once known.
	sum [sha256.Size]byte
}

// items are a layer that is to be made, in order. What a name means in the
// file system below is settled: names are canonical.
type items struct {
	list []*item
	at   map[string]int // name → place in list
	time time.Time      // of all entries: the same input gives the same layer
}

func newItems(at time.Time) *items { return &items{at: map[string]int{}, time: at} }

// add appends an entry, or replaces the one of that name.
func (t *items) add(h *tar.Header, open func() (io.ReadCloser, error)) {
	h.ModTime, h.AccessTime, h.ChangeTime = t.time, time.Time{}, time.Time{}
	h.Uname, h.Gname = "", ""
	h.Format = tar.FormatPAX
	key := strings.TrimSuffix(h.Name, "/")
	if i, ok := t.at[key]; ok && (t.list[i].header.Typeflag == tar.TypeDir) == (h.Typeflag == tar.TypeDir) {
		t.list[i] = &item{header: h, open: open}
		return
	}
	t.at[key] = len(t.list)
	t.list = append(t.list, &item{header: h, open: open})
}

// has reports whether an entry of that name is there.
func (t *items) has(name string) bool {
	_, ok := t.at[name]
	return ok
}

// drop takes the last entry away.
func (t *items) drop() {
	last := len(t.list) - 1
	delete(t.at, strings.TrimSuffix(t.list[last].header.Name, "/"))
	t.list = t.list[:last]
}

// digest reads all content and gives a digest of everything that makes the layer.
func (t *items) digest(ctx context.Context) (string, error) {
	sum := sha256.New()
	fmt.Fprintf(sum, "items 1 %d\n", t.time.Unix())
	for _, it := range t.list {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		hashHeader(sum, it.header)
		if it.open == nil {
			continue
		}
		if err := it.hash(); err != nil {
			return "", err
		}
		sum.Write(it.sum[:])
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// hashHeader adds what of a header makes a difference, unambiguously.
func hashHeader(to hash.Hash, h *tar.Header) {
	fmt.Fprintf(to, "%q %q %q %o %d %d %d %d %d\n", h.Typeflag, h.Name, h.Linkname, h.Mode, h.Uid, h.Gid, h.Size, h.Devmajor, h.Devminor)
	for _, key := range slices.Sorted(maps.Keys(h.PAXRecords)) {
		fmt.Fprintf(to, "%q %q\n", key, h.PAXRecords[key])
	}
}

func (it *item) hash() error {
	f, err := it.open()
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return err
	}
	sum.Sum(it.sum[:0])
	return nil
}

// store makes the layer.
func (t *items) store(ctx context.Context, store *image.Store) (image.Layer, error) {
	return store.AddStream(ctx, func(w io.Writer) error {
		out := tar.NewWriter(w)
		for _, it := range t.list {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := it.write(out); err != nil {
				return err
			}
		}
		return out.Close()
	})
}

// write writes the entry, and checks that it still has the content that its
// digest, and so the cache's key, was made of.
func (it *item) write(out *tar.Writer) error {
	if err := out.WriteHeader(it.header); err != nil {
		return fmt.Errorf("%s: %w", it.header.Name, err)
	}
	if it.open == nil {
		return nil
	}
	f, err := it.open()
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, sum), io.LimitReader(f, it.header.Size))
	if err != nil {
		return err
	}
	if n != it.header.Size || [sha256.Size]byte(sum.Sum(nil)) != it.sum {
		return fault.New("E0417", "%s changed while it was read", it.header.Name).WithHint("build again when nothing writes to the build context")
	}
	return nil
}
