package image

import (
	"bufio"
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// This file undoes compression, told by a stream's first bytes: media types and
// file names lie too often.

// maxWindow bounds the memory a zstd stream may ask for, as the zstd tool does.
const maxWindow = 128 << 20

// decompress gives the plain content of a stream that is gzip, zstd or plain.
func decompress(stream io.Reader) (io.ReadCloser, error) {
	buffered := bufio.NewReaderSize(stream, 64<<10)
	magic, err := buffered.Peek(4)
	if err != nil && len(magic) == 0 && err != io.EOF { //nolint:errorlint // Peek gives the reader's own error
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, fmt.Errorf("%w: gzip: %w", errCorrupt, err)
		}
		return z, nil
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(buffered, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, fmt.Errorf("%w: zstd: %w", errCorrupt, err)
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(buffered), nil
}
