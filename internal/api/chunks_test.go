package api

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"

	wire "github.com/kurtosis-tech/kurtosis/api/golang/core/kurtosis_core_rpc_api_bindings"

	"github.com/lepto-dev/lepto/internal/fault"
)

// sent is a stream of chunks that are there.
type sent struct {
	list []*wire.StreamedDataChunk
	next *wire.StreamedDataChunk
	err  error
}

func (c *sent) Receive() bool {
	if len(c.list) == 0 {
		return false
	}
	c.next, c.list = c.list[0], c.list[1:]
	return true
}
func (c *sent) Msg() *wire.StreamedDataChunk { return c.next }
func (c *sent) Err() error                   { return c.err }

func chunk(data, previous, name string) *wire.StreamedDataChunk {
	return &wire.StreamedDataChunk{Data: []byte(data), PreviousChunkHash: previous, Metadata: &wire.DataChunkMetadata{Name: name}}
}

func TestReceiveChunks(t *testing.T) {
	// printf one | sha1sum
	const one = "fe05bcdcdc4928012781a5f1a2a77cbb5398e106"
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		stream sent
		want   string
		err    error
	}{
		"nothing":       {sent{}, "", nil},
		"two":           {sent{list: []*wire.StreamedDataChunk{chunk("one", "", "a"), chunk("two", one, "a")}}, "onetwo", nil},
		"hash on first": {sent{list: []*wire.StreamedDataChunk{chunk("one", one, "a")}}, "", fault.ErrInvalid},
		"wrong hash":    {sent{list: []*wire.StreamedDataChunk{chunk("one", "", "a"), chunk("two", "00", "a")}}, "", fault.ErrInvalid},
		"another name":  {sent{list: []*wire.StreamedDataChunk{chunk("one", "", "a"), chunk("two", one, "b")}}, "", fault.ErrInvalid},
		"too much":      {sent{list: []*wire.StreamedDataChunk{chunk("0123456789abcdef", "", "a")}}, "", fault.ErrInvalid},
		"stream breaks": {sent{list: []*wire.StreamedDataChunk{chunk("one", "", "a")}, err: broken}, "", broken},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			u, err := receive(t.Context(), &c.stream, dir, 10)
			if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
				t.Fatalf("error %v", err)
			}
			if err == nil {
				var got bytes.Buffer
				if _, err := io.Copy(&got, u); err != nil || got.String() != c.want {
					t.Errorf("%q, %v", got.String(), err)
				}
				if err := u.Close(); err != nil {
					t.Error(err)
				}
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}
