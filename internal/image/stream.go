package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
)

// This file tells the failures of a stream apart: of the connection, which may
// be tried again, and of the content, which may not.

// countedReader counts what is read, and remembers how reading failed.
type countedReader struct {
	inner io.Reader
	size  int64 // more is refused
	tell  *meter
	n     int64
	err   error
}

func (c *countedReader) Read(p []byte) (int, error) {
	n, err := c.inner.Read(p)
	c.n += int64(n)
	c.tell.add(int64(n))
	if c.n > c.size {
		n, err = 0, fmt.Errorf("%w: blob has more than the %d bytes its manifest says", errCorrupt, c.size)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		if strings.HasPrefix(err.Error(), "error verifying") { // the library has no type for it
			err = fmt.Errorf("%w: %w", errCorrupt, err)
		}
		c.err = err
	}
	return n, err
}

// classified reads decompressed content. A failure is the connection's if that
// failed, and else means that the content is damaged.
type classified struct {
	plain io.Reader
	from  *countedReader
}

func (c classified) Read(p []byte) (int, error) {
	n, err := c.plain.Read(p)
	switch {
	case err == nil || err == io.EOF: //nolint:errorlint // readers give io.EOF itself
		return n, err
	case c.from.err != nil:
		return n, c.from.err
	}
	return n, fmt.Errorf("%w: %w", errCorrupt, err)
}

// retryable tells whether an error may be gone at the next try: connections that
// break off or stall, not names that don't exist and doors that are closed.
func retryable(err error) bool {
	switch {
	case err == nil, errors.Is(err, errCorrupt), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return false
	case errors.Is(err, errStalled), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return true
	}
	var temporary interface{ Temporary() bool }
	return errors.As(err, &temporary) && temporary.Temporary()
}
