package api

import (
	"context"
	"encoding/json"
	"io"
	"path/filepath"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/lepto-dev/lepto/internal/api/leptov1"
	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file holds the calls about images.

const (
	codeNoImages   = "E0712" // the backend can't do that with images
	codeBadContext = "E0713" // a build's directory is not given as it must be
	// progressPause lies between two messages about the same thing.
	progressPause = 100 * time.Millisecond
)

func (s *ownService) unable(what string, ability backend.Ability) error {
	be := s.engine.Backend()
	f := fault.New(codeNoImages, "the %s backend can't %s", be.Name(), what)
	f.Cause = fault.ErrUnsupported
	return f.WithHint("%s", be.Capabilities().Missing[ability])
}

// ListImages lists the backend's images.
func (s *ownService) ListImages(ctx context.Context, _ *connect.Request[leptov1.ListImagesRequest]) (*connect.Response[leptov1.ListImagesResponse], error) {
	store, ok := s.engine.Backend().(backend.ImageStore)
	if !ok {
		return nil, s.unable("list images", backend.AbilityImageStore)
	}
	doc, err := imagesJSON(store.Images(ctx))
	return answer(&leptov1.ListImagesResponse{ImagesJson: doc}, err)
}

func imagesJSON(images []backend.ImageInfo, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	if images == nil {
		images = []backend.ImageInfo{}
	}
	return json.Marshal(images)
}

// LoadImage reads an image archive.
func (s *ownService) LoadImage(ctx context.Context, stream *connect.ClientStream[leptov1.LoadImageRequest]) (*connect.Response[leptov1.LoadImageResponse], error) {
	store, ok := s.engine.Backend().(backend.ImageStore)
	if !ok {
		return nil, s.unable("load images", backend.AbilityImageStore)
	}
	doc, err := imagesJSON(store.LoadImages(ctx, &archiveReader{stream: stream}))
	return answer(&leptov1.LoadImageResponse{ImagesJson: doc}, err)
}

// archiveReader reads the pieces of an archive as one.
type archiveReader struct {
	stream *connect.ClientStream[leptov1.LoadImageRequest]
	rest   []byte
}

// Read gives the next bytes.
func (r *archiveReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if !r.stream.Receive() {
			if err := r.stream.Err(); err != nil {
				return 0, err
			}
			return 0, io.EOF
		}
		r.rest = r.stream.Msg().GetData()
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// RemoveImage removes a reference.
func (s *ownService) RemoveImage(ctx context.Context, req *connect.Request[leptov1.RemoveImageRequest]) (*connect.Response[leptov1.RemoveImageResponse], error) {
	store, ok := s.engine.Backend().(backend.ImageStore)
	if !ok {
		return nil, s.unable("remove images", backend.AbilityImageStore)
	}
	return answer(&leptov1.RemoveImageResponse{}, store.RemoveImage(ctx, req.Msg.GetRef()))
}

// PullImage makes an image available and tells how far it is.
func (s *ownService) PullImage(ctx context.Context, req *connect.Request[leptov1.PullImageRequest], stream *connect.ServerStream[leptov1.ImageProgress]) error {
	puller, ok := s.engine.Backend().(backend.ImagePuller)
	if !ok {
		return s.unable("pull images", backend.AbilityPullImages)
	}
	m := req.Msg
	policy := backend.PullMissing
	if m.GetPolicy() != "" {
		policy = backend.PullPolicy(m.GetPolicy())
	}
	return withProgress(stream, func(progress backend.ProgressFunc) (backend.ImageInfo, error) {
		return puller.EnsureImage(ctx, backend.ImageRequest{
			Ref: m.GetRef(), Policy: policy,
			Registry: m.GetRegistry(), Username: m.GetUsername(), Password: backend.Secret(m.GetPassword()),
		}, progress)
	})
}

// BuildImage builds an image from a directory of this host and tells how far it is.
func (s *ownService) BuildImage(ctx context.Context, req *connect.Request[leptov1.BuildImageRequest], stream *connect.ServerStream[leptov1.ImageProgress]) error {
	builder, ok := s.engine.Backend().(backend.ImageBuilder)
	if !ok {
		return s.unable("build images", backend.AbilityBuildImages)
	}
	m := req.Msg
	if !filepath.IsAbs(m.GetContextDir()) {
		return fault.New(codeBadContext, "build directory %q is not absolute: %w", m.GetContextDir(), fault.ErrInvalid)
	}
	return withProgress(stream, func(progress backend.ProgressFunc) (backend.ImageInfo, error) {
		return builder.BuildImage(ctx, backend.BuildSpec{
			Tag: m.GetTag(), ContextDir: m.GetContextDir(), Dockerfile: m.GetDockerfile(),
			Target: m.GetTarget(), Args: m.GetArgs(), NoCache: m.GetNoCache(),
		}, progress)
	})
}

// withProgress sends what work tells, not too often, and at last its image.
func withProgress(stream *connect.ServerStream[leptov1.ImageProgress], work func(backend.ProgressFunc) (backend.ImageInfo, error)) error {
	p := &progressBoard{news: map[string]*leptov1.ImageProgress{}}
	quit := make(chan struct{})
	var sender sync.WaitGroup
	sender.Go(func() {
		tick := time.NewTicker(progressPause)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				p.send(stream)
				return
			case <-tick.C:
				p.send(stream)
			}
		}
	})
	image, err := work(p.tell)
	close(quit)
	sender.Wait()
	if err != nil {
		return err
	}
	doc, err := json.Marshal(image)
	if err != nil {
		return err
	}
	return stream.Send(&leptov1.ImageProgress{What: image.Ref, ImageJson: doc})
}

// progressBoard keeps the latest news of each thing, since those who tell them
// must not wait.
type progressBoard struct {
	mu    sync.Mutex
	order []string
	news  map[string]*leptov1.ImageProgress
}

func (p *progressBoard) tell(what string, done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.news[what] == nil {
		p.order = append(p.order, what)
	}
	p.news[what] = &leptov1.ImageProgress{What: what, Done: done, Total: total}
}

func (p *progressBoard) send(stream *connect.ServerStream[leptov1.ImageProgress]) {
	p.mu.Lock()
	var list []*leptov1.ImageProgress
	for _, what := range p.order {
		list = append(list, p.news[what])
	}
	p.order = nil
	clear(p.news)
	p.mu.Unlock()
	for _, m := range list {
		if stream.Send(m) != nil {
			return // the client has left; the work's context tells it
		}
	}
}
