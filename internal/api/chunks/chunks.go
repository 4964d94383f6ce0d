// Package chunks moves files in the chunks of the wire API: each names the SHA-1
// of the one before it, and the same name stands in all.
//
// A [Reader] takes a file out of a stream and checks the chain; a [Writer] cuts
// one into a stream. Neither holds more than a chunk. The package must not know
// what the files are.
package chunks

import (
	"crypto/sha1" //nolint:gosec // the protocol's checksum, not a security measure
	"encoding/hex"
	"fmt"
	"io"
	"math"

	wire "github.com/kurtosis-tech/kurtosis/api/golang/core/kurtosis_core_rpc_api_bindings"

	"github.com/lepto-dev/lepto/internal/fault"
)

// Size is how many bytes a Writer puts into a chunk; others send up to 3 MiB.
const Size = 1 << 20

// Stream is a stream of chunks.
type Stream interface {
	Receive() bool
	Msg() *wire.StreamedDataChunk
	Err() error
}

// A Reader is the file in a stream.
type Reader struct {
	stream   Stream
	limit    int64 // bytes
	name     string
	previous string
	begun    bool
	size     int64
	rest     []byte
	err      error
}

// NoLimit is for a file of any size.
const NoLimit = math.MaxInt64

// NewReader makes a Reader of at most limit bytes.
func NewReader(stream Stream, limit int64) *Reader { return &Reader{stream: stream, limit: limit} }

// Name gives the file's name. It waits for the first chunk, unless one was read;
// a stream without chunks has none.
func (r *Reader) Name() (string, error) {
	if !r.begun {
		r.next()
	}
	if r.err != nil && r.err != io.EOF { //nolint:errorlint // the reader's own
		return "", r.err
	}
	return r.name, nil
}

// Read reads the file. Its error wraps fault.ErrInvalid where the chunks are not
// as they must be.
func (r *Reader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.next()
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// next receives a chunk.
func (r *Reader) next() {
	if !r.stream.Receive() {
		if r.err = r.stream.Err(); r.err == nil {
			r.err = io.EOF
		}
		return
	}
	chunk := r.stream.Msg()
	data, name := chunk.GetData(), chunk.GetMetadata().GetName()
	r.size += int64(len(data))
	switch {
	case chunk.GetPreviousChunkHash() != r.previous:
		r.err = fmt.Errorf("upload %q: a chunk does not follow the one before it: %w", r.name, fault.ErrInvalid)
	case r.begun && name != r.name:
		r.err = fmt.Errorf("upload %q: another name, %q, in a later chunk: %w", r.name, name, fault.ErrInvalid)
	case r.size > r.limit:
		r.err = fmt.Errorf("upload %q: more than %d bytes, for which there is room: %w", name, r.limit, fault.ErrInvalid)
	default:
		r.rest, r.previous = data, hashOf(data)
	}
	if !r.begun {
		r.begun, r.name = true, name
	}
}

// A Writer cuts a file into chunks. Close sends the last one.
type Writer struct {
	send     func(*wire.StreamedDataChunk) error
	name     string
	previous string
	buf      []byte
}

// NewWriter makes a Writer that sends chunks of a file of that name. A chunk is
// the receiver's only until send returns.
func NewWriter(name string, send func(*wire.StreamedDataChunk) error) *Writer {
	return &Writer{send: send, name: name, buf: make([]byte, 0, Size)}
}

// Write takes bytes, and sends what is a whole chunk.
func (w *Writer) Write(p []byte) (int, error) {
	taken := 0
	for len(p) > 0 {
		n := min(len(p), Size-len(w.buf))
		w.buf = append(w.buf, p[:n]...)
		p, taken = p[n:], taken+n
		if len(w.buf) == Size {
			if err := w.Close(); err != nil {
				return taken, err
			}
		}
	}
	return taken, nil
}

// Close sends what is left.
func (w *Writer) Close() error {
	if len(w.buf) == 0 {
		return nil
	}
	err := w.send(&wire.StreamedDataChunk{Data: w.buf, PreviousChunkHash: w.previous, Metadata: &wire.DataChunkMetadata{Name: w.name}})
	w.previous, w.buf = hashOf(w.buf), w.buf[:0]
	return err
}

func hashOf(data []byte) string {
	sum := sha1.Sum(data) //nolint:gosec // see above
	return hex.EncodeToString(sum[:])
}
