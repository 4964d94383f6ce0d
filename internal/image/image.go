// Package image is the local store of container images: it pulls them from
// registries, loads them from archives, takes what a build makes, and keeps
// every layer unpacked, ready to be the lower directory of an overlay mount.
//
// Its main types are [Store], a store in a directory, [Image], an image that
// is there, and [Layer], one of its unpacked layers. The package knows
// registries, archive formats and tar; it must not know containers, services
// or who uses an image: whoever removes says what is in use.
//
// # Layout of the directory
//
//	refs/<hex>.json       one name: {"ref", "config", "manifest"}; hex is the
//	                      SHA-256 of the full name
//	configs/<hex>.json    the config of an image, verbatim; hex is its SHA-256,
//	                      the image's id
//	layers/<hex>/fs       an unpacked layer in overlayfs form; hex is its diffID
//	layers/<hex>/layer.json  {"diff_id", "size", "entries", "opaque"}
//	cache/<hex>.json      what a build step made (see [Store.CachePut])
//	mounts/<hex>/data     a directory that build steps keep ([Store.CacheDir])
//	tmp/                  work in progress
//	lock                  held briefly while names change
//	gc.lock               held shared by whoever adds, exclusively to collect
//	gc.wanted             layers may be unused; collect when nobody adds
//	gc.begun              a collection has begun; left by one that did not end
//
// A layer appears by rename, with all its content on disk, or not at all; so do refs and
// configs. Each folder in tmp carries a lock of the process that fills it; what
// has none is a dead process's, and Open removes it. The same goes for several
// processes at once. docs/formats/images.md has the details.
package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// ErrNotFound is wrapped by the errors about an image that is not in the store.
var ErrNotFound = fault.ErrNotFound

// Options of a store. The zero value is what most want.
type Options struct {
	// Keychain gives the credentials for a registry. nil: those of DockerConfig.
	Keychain authn.Keychain
	// DockerConfig is the directory with the user's config.json, read at each
	// pull, with the credential helpers it names. Empty: what the environment
	// says ($DOCKER_CONFIG, $HOME/.docker, Podman's auth.json).
	DockerConfig string
	// Logger gets what nobody waits for. nil: [slog.Default].
	Logger *slog.Logger
	// Transport talks to registries. nil: one with bounded waits.
	Transport http.RoundTripper
	// Limits bound what a layer may unpack to.
	Limits Limits
}

// Store is an image store under a directory. It is safe for concurrent use, by
// several processes too.
type Store struct {
	dir    string
	opts   Options
	log    *slog.Logger
	limits Limits

	transport http.RoundTripper

	pulls  flights[backend.ImageInfo]
	layers flights[Layer]
}

// Image is an image in the store.
type Image struct {
	Ref    string        // its name as users write it: "busybox:latest"
	Digest string        // sha256:… of the config: the image's id
	Config v1.ConfigFile // what the image says about running it
	Layers []Layer       // lowest first
	Size   int64         // bytes, unpacked
}

// Layer is an unpacked layer.
type Layer struct {
	DiffID string // sha256:… of the uncompressed tar
	Dir    string // the directory, usable as an overlayfs lower directory; read-only
	Size   int64  // bytes of its files
	// Opaque says that the layer hides all layers below it. Overlayfs does not
	// heed that mark on a root, so Resolve leaves the layers below out.
	Opaque bool
}

// Open opens the store in dir, making it if need be, and removes what processes
// that died have left in it.
func Open(dir string, opts Options) (*Store, error) {
	s := &Store{dir: dir, opts: opts, log: opts.Logger, limits: opts.Limits.orDefault()}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.transport = opts.Transport; s.transport == nil {
		s.transport = newTransport()
	}
	// Layers hold setuid programs: nobody but the owner may walk in.
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, storeFault("open image store", err)
	}
	for _, sub := range []string{"refs", "configs", "layers", "cache", "mounts", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, storeFault("open image store", err)
		}
	}
	if err := s.sweep(); err != nil {
		return nil, storeFault("open image store", err)
	}
	s.collectIfWanted()
	return s, nil
}

// Resolve gives an image of the store by name ("busybox", "busybox@sha256:…") or
// by id ("sha256:…"). It asks no registry. The error wraps [ErrNotFound] where
// the image, or a part of it, is not there.
func (s *Store) Resolve(ref string) (*Image, error) {
	if isID(ref) {
		return s.readImage(ref, ref)
	}
	r, err := parseReference(ref)
	if err != nil {
		return nil, err
	}
	img, _, err := s.resolve(r)
	return img, err
}

// resolve gives the image of a name, and the digest of the manifest that the
// name had at the registry, if any.
func (s *Store) resolve(r reference) (*Image, string, error) {
	rec, err := s.readRef(r)
	if err != nil {
		return nil, "", err
	}
	img, err := s.readImage(r.familiar(), rec.Config)
	return img, rec.Manifest, err
}

// readImage reads the image with the given id.
func (s *Store) readImage(ref, id string) (*Image, error) {
	raw, err := os.ReadFile(s.configPath(id))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("image %q: %w", ref, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", ref, err)
	}
	img := &Image{Ref: ref, Digest: id}
	if err := json.Unmarshal(raw, &img.Config); err != nil {
		return nil, fmt.Errorf("image %q: config: %w", ref, err)
	}
	for _, diffID := range img.Config.RootFS.DiffIDs {
		layer, err := s.readLayer(diffID.String())
		if err != nil {
			return nil, fmt.Errorf("image %q: %w", ref, err)
		}
		img.Size += layer.Size
		if layer.Opaque {
			img.Layers = img.Layers[:0]
		}
		img.Layers = append(img.Layers, layer)
	}
	return img, nil
}

// List gives the images of the store, sorted by name. An image that has lost
// its last name is listed under its id.
func (s *Store) List() ([]backend.ImageInfo, error) {
	refs, err := s.readRefs()
	if err != nil {
		return nil, err
	}
	var out []backend.ImageInfo
	named := map[string]bool{}
	add := func(ref, id string) {
		img, err := s.readImage(ref, id)
		if err != nil { // half removed by someone, or damaged: Ensure mends it
			s.log.Debug("image is incomplete", "image", ref, "error", err)
			return
		}
		out = append(out, img.Info(""))
	}
	for _, rec := range refs {
		named[rec.Config] = true
		add(familiar(rec.Ref), rec.Config)
	}
	ids, err := s.configIDs()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if !named[id] {
			add(id, id)
		}
	}
	slices.SortFunc(out, func(a, b backend.ImageInfo) int { return strings.Compare(a.Ref, b.Ref) })
	return out, nil
}

// Info describes the image, with a warning where it is not for this host.
func (img *Image) Info(source backend.Source) backend.ImageInfo {
	info := backend.ImageInfo{
		Ref:          img.Ref,
		Digest:       img.Digest,
		Architecture: img.Config.Architecture,
		SizeBytes:    img.Size,
		Created:      img.Config.Created.Time,
		Source:       source,
	}
	if err := CheckPlatform(info); err != nil {
		info.Warning = err.Error()
	}
	return info
}

// Commit makes an image of layers that AddLayer gave and names it. cfg is
// complete but for its layers. An image that had the name loses it, and stays
// under its id.
func (s *Store) Commit(ctx context.Context, ref string, layers []Layer, cfg v1.ConfigFile) (*Image, error) {
	r, err := parseReference(ref)
	if err != nil {
		return nil, err
	}
	cfg.RootFS = v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{}}
	for _, l := range layers {
		h, err := v1.NewHash(l.DiffID)
		if err != nil {
			return nil, fmt.Errorf("image %q: layer: %w", ref, err)
		}
		cfg.RootFS.DiffIDs = append(cfg.RootFS.DiffIDs, h)
	}
	raw, err := json.Marshal(cfg)
	if err != nil {
		return nil, fmt.Errorf("image %q: config: %w", ref, err)
	}
	if err := s.commit(ctx, raw, record{Ref: r.full()}); err != nil {
		return nil, storeFault(fmt.Sprintf("store image %q", ref), err)
	}
	img, _, err := s.resolve(r)
	return img, err
}
