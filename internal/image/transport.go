package image

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file is the way to registries: waits that end, and no plain http but to
// this machine itself.

const (
	// answerWait bounds the wait for the head of a registry's answer.
	answerWait = time.Minute
	// stallWait bounds the wait for the next bytes of a transfer.
	stallWait = time.Minute
)

// newTransport gives a transport whose waits are bounded.
func newTransport() http.RoundTripper {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          32,
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       30 * time.Second,
		TLSHandshakeTimeout:   15 * time.Second,
		ResponseHeaderTimeout: answerWait,
	}
}

// guard wraps a transport: it refuses plain http to other machines, where the
// library or a redirect would send credentials or take content in the open, and
// ends transfers of which nothing more comes.
type guard struct {
	inner http.RoundTripper
	stall time.Duration
}

// RoundTrip implements [http.RoundTripper].
func (g guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme == "http" && !isLoopback(req.URL.Host) {
		return nil, fault.New("E0412", "registry %s does not answer to https", displayHost(req.URL.Host)).
			WithHint("plain http is used for registries on this machine only (localhost, 127.0.0.0/8, ::1)")
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	resp, err := g.inner.RoundTrip(req.WithContext(ctx))
	if err != nil {
		cancel(nil)
		return nil, err
	}
	stalled := fmt.Errorf("%w: %s of silence", errStalled, g.stall)
	resp.Body = &guardedBody{
		ReadCloser: resp.Body, ctx: ctx, cancel: cancel, wait: g.stall,
		timer: time.AfterFunc(g.stall, func() { cancel(stalled) }),
	}
	return resp, nil
}

// guardedBody restarts the timer of a transfer with every read.
type guardedBody struct {
	io.ReadCloser
	ctx    context.Context //nolint:containedctx // the request's, for its cause
	cancel context.CancelCauseFunc
	wait   time.Duration
	timer  *time.Timer
}

func (b *guardedBody) Read(p []byte) (int, error) {
	b.timer.Reset(b.wait)
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()                                         // the reader may take its time with what it got
	if err != nil && err != io.EOF && b.ctx.Err() != nil { //nolint:errorlint // readers give io.EOF itself
		err = context.Cause(b.ctx)
	}
	return n, err
}

func (b *guardedBody) Close() error {
	b.timer.Stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}
