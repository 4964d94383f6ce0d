package api

import (
	"context"
	"errors"
	"io"

	"connectrpc.com/connect"

	"github.com/lepto-dev/lepto/internal/api/chunks"
	"github.com/lepto-dev/lepto/internal/api/leptov1"
	"github.com/lepto-dev/lepto/internal/artifact"
	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file is what the engine's own service has of files artifacts.

// RemoveArtifact forgets a files artifact; services that mount it keep its files.
func (s *ownService) RemoveArtifact(ctx context.Context, req *connect.Request[leptov1.RemoveArtifactRequest]) (*connect.Response[leptov1.RemoveArtifactResponse], error) {
	in, err := s.engine.Enclaves().Get(req.Msg.GetEnclave())
	if err != nil {
		return nil, err
	}
	return answer(&leptov1.RemoveArtifactResponse{}, in.RemoveArtifact(ctx, req.Msg.GetArtifact()))
}

// ReadArtifactFile sends one file, and touches no other.
func (s *ownService) ReadArtifactFile(ctx context.Context, req *connect.Request[leptov1.ReadArtifactFileRequest], stream *connect.ServerStream[leptov1.ReadArtifactFileResponse]) error {
	in, err := s.engine.Enclaves().Get(req.Msg.GetEnclave())
	if err != nil {
		return err
	}
	ctx, done := s.engine.Stream(ctx)
	defer done()
	return in.ReadArtifact(req.Msg.GetArtifact(), func(store *artifact.Store, a enclave.Artifact) error {
		file, err := store.OpenFile(a.Hash, req.Msg.GetPath())
		if errors.Is(err, fault.ErrNotFound) {
			f := fault.New(artifact.CodeNoFile, "files artifact %q has no file %q", a.Name, req.Msg.GetPath())
			f.Cause = err
			return f.WithHint("see what it has: lepto files inspect %s %s", in.Name(), a.Name)
		}
		if err != nil {
			return err
		}
		defer file.Close()
		return sendPieces(ctx, file, func(piece []byte) error {
			return stream.Send(&leptov1.ReadArtifactFileResponse{Content: piece})
		})
	})
}

// sendPieces sends what there is to read in pieces, until the context ends.
func sendPieces(ctx context.Context, r io.Reader, send func([]byte) error) error {
	buf := make([]byte, chunks.Size)
	for {
		n, err := io.ReadFull(r, buf)
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		if n > 0 {
			if err := send(buf[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
