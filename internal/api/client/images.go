package client

import (
	"context"
	"errors"
	"fmt"
	"io"

	"connectrpc.com/connect"

	"github.com/lepto-dev/lepto/internal/api/errwire"
	"github.com/lepto-dev/lepto/internal/api/leptov1"
	"github.com/lepto-dev/lepto/internal/backend"
)

// This file holds the calls about images. A backend without images of its own
// answers fault.ErrUnsupported.

// Images lists the engine's images.
func (c *Client) Images(ctx context.Context) ([]backend.ImageInfo, error) {
	res, err := c.own.ListImages(ctx, connect.NewRequest(&leptov1.ListImagesRequest{}))
	if err != nil {
		return nil, errwire.Decode(err)
	}
	return decode[[]backend.ImageInfo](res.Msg.GetImagesJson())
}

// PullImage makes an image available; progress may be nil.
func (c *Client) PullImage(ctx context.Context, req backend.ImageRequest, progress backend.ProgressFunc) (backend.ImageInfo, error) {
	return imageProgress(ctx, progress, func(ctx context.Context) (*connect.ServerStreamForClient[leptov1.ImageProgress], error) {
		return c.own.PullImage(ctx, connect.NewRequest(&leptov1.PullImageRequest{
			Ref: req.Ref, Policy: string(req.Policy),
			Registry: req.Registry, Username: req.Username, Password: string(req.Password),
		}))
	})
}

// BuildImage builds from a directory of this host, which is the engine's too;
// ContextDir must be absolute. Progress may be nil.
func (c *Client) BuildImage(ctx context.Context, spec backend.BuildSpec, progress backend.ProgressFunc) (backend.ImageInfo, error) {
	return imageProgress(ctx, progress, func(ctx context.Context) (*connect.ServerStreamForClient[leptov1.ImageProgress], error) {
		return c.own.BuildImage(ctx, connect.NewRequest(&leptov1.BuildImageRequest{
			Tag: spec.Tag, ContextDir: spec.ContextDir, Dockerfile: spec.Dockerfile,
			Target: spec.Target, Args: spec.Args, NoCache: spec.NoCache,
		}))
	})
}

// LoadImage reads a docker-archive or an OCI layout, as a tar.
func (c *Client) LoadImage(ctx context.Context, tar io.Reader) ([]backend.ImageInfo, error) {
	stream := c.own.LoadImage(ctx)
	buf := make([]byte, 1<<20)
	for {
		n, rerr := io.ReadFull(tar, buf)
		if n > 0 {
			if err := stream.Send(&leptov1.LoadImageRequest{Data: buf[:n]}); err != nil {
				break // CloseAndReceive tells why
			}
		}
		if errors.Is(rerr, io.EOF) || errors.Is(rerr, io.ErrUnexpectedEOF) {
			break
		}
		if rerr != nil {
			return nil, fmt.Errorf("image archive: %w", rerr)
		}
	}
	res, err := stream.CloseAndReceive()
	if err != nil {
		return nil, errwire.Decode(err)
	}
	return decode[[]backend.ImageInfo](res.Msg.GetImagesJson())
}

// RemoveImage removes a reference. fault.ErrNotFound if unknown.
func (c *Client) RemoveImage(ctx context.Context, ref string) error {
	_, err := c.own.RemoveImage(ctx, connect.NewRequest(&leptov1.RemoveImageRequest{Ref: ref}))
	return errwire.Decode(err)
}

func imageProgress(ctx context.Context, progress backend.ProgressFunc, call func(context.Context) (*connect.ServerStreamForClient[leptov1.ImageProgress], error)) (backend.ImageInfo, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(errLeft)
	stream, err := call(ctx)
	if err != nil {
		return backend.ImageInfo{}, errwire.Decode(err)
	}
	defer stream.Close()
	for stream.Receive() {
		m := stream.Msg()
		if len(m.GetImageJson()) > 0 {
			return decode[backend.ImageInfo](m.GetImageJson())
		}
		if progress != nil {
			progress(m.GetWhat(), m.GetDone(), m.GetTotal())
		}
	}
	if err := stream.Err(); err != nil {
		return backend.ImageInfo{}, errwire.Decode(err)
	}
	return backend.ImageInfo{}, errors.New("engine's answer: ended without an image")
}
