package api

import (
	"context"
	"crypto/sha1" //nolint:gosec // the protocol's checksum, not a security measure
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"connectrpc.com/connect"

	wire "github.com/kurtosis-tech/kurtosis/api/golang/core/kurtosis_core_rpc_api_bindings"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file receives files in chunks. Each chunk names the SHA-1 of the one
// before it, and the same name stands in all.

// maxUpload bounds a file, in bytes, as clients of the wire API do.
const maxUpload = 2000 << 20

// chunkReader is a stream of chunks.
type chunkReader interface {
	Receive() bool
	Msg() *wire.StreamedDataChunk
	Err() error
}

var _ chunkReader = (*connect.ClientStream[wire.StreamedDataChunk])(nil)

// upload is a file that arrived. Close removes it.
type upload struct {
	*os.File
	name string
	size int64
}

// Close closes and removes the file.
func (u *upload) Close() error {
	return errors.Join(u.File.Close(), os.Remove(u.Name()))
}

// receive spools a stream of chunks into a file under dir, at its start again.
func receive(ctx context.Context, stream chunkReader, dir string, limit int64) (_ *upload, err error) {
	file, err := os.CreateTemp(dir, "upload-")
	if err != nil {
		return nil, fmt.Errorf("spool upload: %w", err)
	}
	u := &upload{File: file}
	defer func() {
		if err != nil {
			err = errors.Join(err, u.Close())
		}
	}()
	previous, first := "", true
	for stream.Receive() {
		chunk := stream.Msg()
		if err := u.check(chunk, previous, first, limit); err != nil {
			return nil, err
		}
		first, u.name = false, chunk.GetMetadata().GetName()
		if _, err := file.Write(chunk.GetData()); err != nil {
			return nil, fmt.Errorf("spool upload: %w", err)
		}
		u.size += int64(len(chunk.GetData()))
		previous = hashOf(chunk.GetData())
	}
	if err := errors.Join(stream.Err(), context.Cause(ctx)); err != nil {
		return nil, err
	}
	if _, err := file.Seek(0, 0); err != nil {
		return nil, fmt.Errorf("spool upload: %w", err)
	}
	return u, nil
}

func (u *upload) check(chunk *wire.StreamedDataChunk, previous string, first bool, limit int64) error {
	switch {
	case chunk.GetPreviousChunkHash() != previous:
		return fmt.Errorf("upload %q: a chunk does not follow the one before it: %w", u.name, fault.ErrInvalid)
	case !first && chunk.GetMetadata().GetName() != u.name:
		return fmt.Errorf("upload %q: another name, %q, in a later chunk: %w", u.name, chunk.GetMetadata().GetName(), fault.ErrInvalid)
	case u.size+int64(len(chunk.GetData())) > limit:
		return fmt.Errorf("upload %q: more than %d bytes: %w", u.name, limit, fault.ErrInvalid)
	}
	return nil
}

func hashOf(data []byte) string {
	sum := sha1.Sum(data) //nolint:gosec // see above
	return hex.EncodeToString(sum[:])
}
