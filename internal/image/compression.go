package image

import (
	"bufio"
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
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
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(buffered, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, fmt.Errorf("%w: zstd: %w", errCorrupt, err)
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(buffered), nil
}

// decompressFile does the same for an archive that somebody has at hand, which
// may also be xz. Layers are not: an xz stream takes as much memory as it asks
// for, up to 4 GiB.
func decompressFile(stream io.Reader) (io.ReadCloser, error) {
	buffered := bufio.NewReaderSize(stream, 64<<10)
	magic, _ := buffered.Peek(6) // what can't be read is seen below
	if !bytes.Equal(magic, []byte{0xfd, '7', 'z', 'X', 'Z', 0}) {
		return decompress(buffered)
	}
	z, err := xz.NewReader(buffered)
	if err != nil {
		return nil, fmt.Errorf("%w: xz: %w", errCorrupt, err)
	}
	return io.NopCloser(z), nil
}
