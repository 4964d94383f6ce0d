package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/errgroup"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

const (
	parallelLayers = 4        // at a time; as many as the client library lets through
	maxConfig      = 16 << 20 // bytes of a config; real ones have a few thousand
	maxNesting     = 4        // of indexes
	layerTries     = 3        // of a layer whose transfer breaks off
)

// retryBackoff is between tries of requests that fail for the moment: 0.3 s, 0.9 s, 2.7 s.
var retryBackoff = remote.Backoff{Duration: 300 * time.Millisecond, Factor: 3, Jitter: 0.2, Steps: 4}

// Ensure makes an image available. With [backend.PullAlways] the registry is
// asked whether the name has moved; otherwise an image that is there is taken
// without any network call. Callers that want the same image share the work. An
// image for another architecture is stored too, with a warning; see
// [CheckPlatform]. progress counts bytes as they are on the wire.
func (s *Store) Ensure(ctx context.Context, req backend.ImageRequest, progress backend.ProgressFunc) (backend.ImageInfo, error) {
	if isID(req.Ref) {
		img, err := s.readImage(req.Ref, req.Ref)
		if errors.Is(err, ErrNotFound) {
			return backend.ImageInfo{}, noSuchImage(req.Ref)
		}
		if err != nil {
			return backend.ImageInfo{}, err
		}
		return img.Info(backend.SourceCached), nil
	}
	r, err := parseReference(req.Ref)
	if err != nil {
		return backend.ImageInfo{}, err
	}
	if req.Policy != backend.PullAlways {
		if img, _, err := s.resolve(r); err == nil {
			return img.Info(backend.SourceCached), nil
		}
	}
	// Who has other credentials must not profit from, nor suffer for, another's.
	key := fmt.Sprintf("%s\n%s\n%s\n%s\n%s", r.full(), req.Policy, req.Registry, req.Username, string(req.Password))
	return s.pulls.do(ctx, key, progress, func(progress backend.ProgressFunc) (backend.ImageInfo, error) {
		info, err := s.pull(ctx, r, req, progress)
		if err != nil {
			return info, pullFault(ctx, r, err)
		}
		return info, nil
	})
}

// puller is one pull.
type puller struct {
	store *Store
	ref   reference
	from  *remote.Puller
	tell  *meter
}

// pull gets an image from its registry.
func (s *Store) pull(ctx context.Context, r reference, req backend.ImageRequest, progress backend.ProgressFunc) (backend.ImageInfo, error) {
	release, err := s.Hold(ctx)
	if err != nil {
		return backend.ImageInfo{}, err
	}
	defer release()
	local, manifest, localErr := s.resolve(r)
	if localErr == nil && req.Policy != backend.PullAlways { // somebody was faster
		return local.Info(backend.SourceCached), nil
	}
	p, err := s.newPuller(ctx, r, req, progress)
	if err != nil {
		return backend.ImageInfo{}, err
	}
	if localErr == nil && p.unmoved(ctx, manifest) {
		return local.Info(backend.SourceCached), nil
	}
	desc, err := p.from.Get(ctx, r)
	if err != nil {
		return backend.ImageInfo{}, err
	}
	config, err := p.image(ctx, desc, maxNesting)
	if err != nil {
		return backend.ImageInfo{}, err
	}
	if err := s.commit(ctx, config, record{Ref: r.full(), Manifest: desc.Digest.String()}); err != nil {
		return backend.ImageInfo{}, err
	}
	img, _, err := s.resolve(r)
	if err != nil {
		return backend.ImageInfo{}, err
	}
	return img.Info(backend.SourceDownloaded), nil
}

func (s *Store) newPuller(ctx context.Context, r reference, req backend.ImageRequest, progress backend.ProgressFunc) (*puller, error) {
	auth, err := s.credentials(ctx, r, req)
	if err != nil {
		return nil, err
	}
	from, err := remote.NewPuller(
		remote.WithAuth(auth),
		remote.WithTransport(guard{s.transport, stallWait}),
		remote.WithJobs(parallelLayers),
		remote.WithRetryBackoff(retryBackoff),
		remote.WithRetryPredicate(retryable),
		remote.WithRetryStatusCodes(http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
			http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout),
		remote.WithUserAgent("lepto"),
	)
	if err != nil {
		return nil, err
	}
	return &puller{store: s, ref: r, from: from, tell: newMeter(r.familiar(), progress)}, nil
}

// unmoved asks the registry whether the name still has the manifest. A registry
// that can't tell is asked for the whole.
func (p *puller) unmoved(ctx context.Context, manifest string) bool {
	if manifest == "" {
		return false
	}
	desc, err := p.from.Head(ctx, p.ref)
	return err == nil && desc.Digest.String() == manifest
}

// image gets the image that a descriptor means for this host, and gives its config.
func (p *puller) image(ctx context.Context, desc *remote.Descriptor, nesting int) ([]byte, error) {
	if desc.MediaType.IsSchema1() {
		return nil, fault.New("E0419", "image %q: its manifest has the obsolete schema 1", p.ref.familiar()).
			WithHint("push the image anew with a current client")
	}
	if !desc.MediaType.IsIndex() {
		manifest, err := v1.ParseManifest(bytes.NewReader(desc.Manifest))
		if err != nil {
			return nil, fmt.Errorf("%w: manifest: %w", errCorrupt, err)
		}
		return p.content(ctx, manifest)
	}
	if nesting == 0 {
		return nil, fmt.Errorf("%w: indexes in indexes in indexes", errCorrupt)
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(desc.Manifest))
	if err != nil {
		return nil, fmt.Errorf("%w: index: %w", errCorrupt, err)
	}
	one, err := pick(index)
	if err != nil {
		return nil, err
	}
	inner, err := p.from.Get(ctx, p.ref.Context().Digest(one.Digest.String()))
	if err != nil {
		return nil, err
	}
	return p.image(ctx, inner, nesting-1)
}

// content gets config and layers of one image.
func (p *puller) content(ctx context.Context, manifest *v1.Manifest) ([]byte, error) {
	config, err := p.config(ctx, manifest.Config)
	if err != nil {
		return nil, err
	}
	diffIDs, err := layersOf(config)
	if err != nil {
		return nil, err
	}
	if len(diffIDs) != len(manifest.Layers) {
		return nil, fmt.Errorf("%w: the manifest has %d layers, the config %d: not a container image",
			errCorrupt, len(manifest.Layers), len(diffIDs))
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelLayers)
	for i, desc := range manifest.Layers {
		if _, err := p.store.readLayer(diffIDs[i]); err == nil {
			continue
		}
		p.tell.expect(desc.Size)
		group.Go(func() error { return p.layer(ctx, desc, diffIDs[i]) })
	}
	return config, group.Wait()
}

// layersOf gives the diffIDs of a config, and refuses what no image for linux has.
func layersOf(config []byte) ([]string, error) {
	var file v1.ConfigFile
	if err := json.Unmarshal(config, &file); err != nil {
		return nil, fmt.Errorf("%w: config: %w", errCorrupt, err)
	}
	if file.OS != "" && file.OS != "linux" {
		return nil, fault.New("E0411", "the image is for %s", file.OS).WithHint("only images for linux can run here")
	}
	out := make([]string, 0, len(file.RootFS.DiffIDs))
	for _, h := range file.RootFS.DiffIDs {
		if !isID(h.String()) {
			return nil, fmt.Errorf("%w: layer id %q is no sha256 digest", errCorrupt, h)
		}
		out = append(out, h.String())
	}
	return out, nil
}

func (p *puller) config(ctx context.Context, desc v1.Descriptor) ([]byte, error) {
	if desc.Size > maxConfig {
		return nil, fmt.Errorf("%w: config of %d bytes", errCorrupt, desc.Size)
	}
	blob, err := p.blob(ctx, desc.Digest)
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	raw, err := io.ReadAll(io.LimitReader(blob, maxConfig))
	if err != nil {
		return nil, err
	}
	if got := digestOf(raw); got != desc.Digest.String() {
		return nil, fmt.Errorf("%w: config is %s where the manifest says %s", errCorrupt, got, desc.Digest)
	}
	return raw, nil
}

func (p *puller) blob(ctx context.Context, digest v1.Hash) (io.ReadCloser, error) {
	ref, err := name.NewDigest(p.ref.Context().Name()+"@"+digest.String(), name.WeakValidation)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	ref.Repository = p.ref.Context() // keeps plain http for loopback
	layer, err := p.from.Layer(ctx, ref)
	if err != nil {
		return nil, err
	}
	return layer.Compressed()
}

// layer gets and unpacks one layer, unless another pull is at it: then it waits.
func (p *puller) layer(ctx context.Context, desc v1.Descriptor, diffID string) error {
	mine := false
	_, err := p.store.layers.do(ctx, diffID, nil, func(backend.ProgressFunc) (Layer, error) {
		mine = true
		if layer, err := p.store.readLayer(diffID); err == nil {
			return layer, nil
		}
		for try := 1; ; try++ {
			layer, read, err := p.layerOnce(ctx, desc, diffID)
			if err == nil || try == layerTries || !retryable(err) || ctx.Err() != nil {
				return layer, err
			}
			p.tell.add(-read)
			p.store.log.Info("transfer of layer broke off, trying again", "image", p.ref.familiar(), "layer", diffID, "error", err)
		}
	})
	if err == nil && !mine {
		p.tell.add(desc.Size) // it came through the other pull
	}
	return err
}

// layerOnce streams a layer from the registry onto the disk. read is the number
// of bytes that came.
func (p *puller) layerOnce(ctx context.Context, desc v1.Descriptor, diffID string) (layer Layer, read int64, err error) {
	blob, err := p.blob(ctx, desc.Digest)
	if err != nil {
		return Layer{}, 0, err
	}
	defer blob.Close()
	counted := &countedReader{inner: blob, size: desc.Size, tell: p.tell}
	// The library checks the digest when it has read the last byte: read on until there.
	plain, err := decompress(counted)
	if err != nil {
		return Layer{}, counted.n, err
	}
	defer plain.Close()
	layer, err = p.store.addLayer(ctx, classified{plain, counted}, diffID)
	if err == nil {
		_, err = io.Copy(io.Discard, counted)
	}
	return layer, counted.n, err
}

// meter adds up the bytes of a pull and tells how far it has come.
type meter struct {
	what  string
	tell  backend.ProgressFunc
	mu    sync.Mutex
	done  int64
	total int64
	told  int64
}

func newMeter(what string, tell backend.ProgressFunc) *meter {
	if tell == nil {
		tell = func(string, int64, int64) {}
	}
	return &meter{what: what, tell: tell}
}

// expect adds bytes to come.
func (m *meter) expect(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.total += n
	m.tell(m.what, m.done, m.total)
}

// add counts bytes that came. It speaks at every percent, so that a terminal is
// not flooded.
func (m *meter) add(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done += n
	if m.done-m.told >= m.total/100 || m.done < m.told || m.done == m.total {
		m.told = m.done
		m.tell(m.what, m.done, m.total)
	}
}
