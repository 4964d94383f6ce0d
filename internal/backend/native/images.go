package native

import (
	"context"
	"io"

	"github.com/lepto-dev/lepto/internal/backend"
)

// This file makes the image store the backend's.

// EnsureImage makes an image available.
func (b *Backend) EnsureImage(ctx context.Context, req backend.ImageRequest, progress backend.ProgressFunc) (backend.ImageInfo, error) {
	return b.images.Ensure(ctx, req, progress)
}

// Images lists the images of the store.
func (b *Backend) Images(ctx context.Context) ([]backend.ImageInfo, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return b.images.List()
}

// LoadImages reads a docker-archive or an OCI layout.
func (b *Backend) LoadImages(ctx context.Context, tar io.Reader) ([]backend.ImageInfo, error) {
	return b.images.Load(ctx, tar)
}

// RemoveImage removes a reference. An image that a service was made of stays as
// long as the service does, running or not.
func (b *Backend) RemoveImage(ctx context.Context, ref string) error {
	used := b.usedImages()
	return b.images.Remove(ctx, ref, func(digest string) bool { return used[digest] })
}

// usedImages gives the ids of the images of all services of all enclaves.
func (b *Backend) usedImages() map[string]bool {
	used := map[string]bool{}
	for _, file := range b.found("*/" + containersDir + "/*/" + serviceFile) {
		var doc serviceDoc
		if err := readJSON(file, &doc); err == nil {
			used[doc.Image] = true
		}
	}
	return used
}
