package client

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/lepto-dev/lepto/internal/engine/process"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file dials the engine's socket.

// dialTimeout bounds one connection attempt. A Unix socket connects at once, or
// its queue is full.
const dialTimeout = 5 * time.Second

// socketTransport speaks HTTP/2 without TLS over the socket, so that streams
// flow both ways at once.
func socketTransport(socket string) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	dialer := net.Dialer{Timeout: dialTimeout}
	return &http.Transport{
		Protocols:          protocols,
		DisableCompression: true, // it would cost time and save nothing here
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		},
	}
}

// isDown reports whether err, of a first call, means that no engine serves the
// socket: nobody listens, or whoever did has just died.
func isDown(err error) bool {
	for _, sign := range []error{syscall.ECONNREFUSED, os.ErrNotExist, syscall.ECONNRESET, syscall.EPIPE, io.EOF, io.ErrUnexpectedEOF} {
		if errors.Is(err, sign) {
			return true
		}
	}
	return false
}

// explain makes an error of the first call understandable.
func explain(err error, home string) error {
	switch {
	case isDown(err):
		return (&fault.Fault{Code: process.CodeNoEngine, Summary: "no engine is running", Cause: fault.ErrUnavailable}).
			WithHint("start it with: lepto engine start")
	case errors.Is(err, os.ErrPermission):
		return (&fault.Fault{Code: process.CodeNoAccess, Summary: "no access to the engine's socket " + process.SocketPath(home), Cause: err}).
			WithHint("the engine belongs to another user: use sudo, or set LEPTO_HOME to a directory of your own")
	case errors.Is(err, fault.ErrTimeout):
		return fault.New(process.CodeNoEngine, "the engine does not answer: %w", err).
			WithHint("replace it with: lepto engine restart (services go on running)")
	}
	return err
}
