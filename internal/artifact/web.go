package artifact

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file gets files from the web.

// CodeWeb is the code of a URL that gives nothing.
const CodeWeb = "E0540"

// patience is how long a server may keep us waiting for its answer, or for the
// next piece of it.
const patience = 5 * time.Minute

// WebAddress gives the URL that a text is: of http or https, with a host; nil
// where it is none.
func WebAddress(text string) *url.URL {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" { // Parse lowers the scheme
		return nil
	}
	return u
}

// ShownAddress gives a URL as it is shown: what may be secret is left out.
func ShownAddress(u *url.URL) string {
	shown := *u
	shown.RawQuery, shown.ForceQuery, shown.Fragment, shown.RawFragment = "", false, "", ""
	return shown.Redacted()
}

// WebName gives the name under which what a URL gives is stored.
func WebName(u *url.URL) string {
	name := path.Base(strings.TrimRight(u.Path, "/"))
	if name == "." || name == "/" || name == ".." {
		return "download"
	}
	return name
}

// Fetch gets what a URL gives. The caller closes it. An answer that is no
// success is a fault, and so is a server that falls silent.
func Fetch(ctx context.Context, u *url.URL) (io.ReadCloser, error) {
	shown := ShownAddress(u)
	ctx, cancel := context.WithCancelCause(ctx)
	silence := time.AfterFunc(patience, func() {
		cancel(fault.New(CodeWeb, "download %s: the server has been silent for %s: %w", shown, patience, fault.ErrTimeout))
	})
	body := &webBody{ctx: ctx, shown: shown, silence: silence, cancel: cancel}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		body.stop()
		return nil, fault.New(CodeWeb, "download %s: %w", shown, err)
	}
	res, err := http.DefaultClient.Do(req) //nolint:bodyclose // it is the caller's, as webBody
	if err != nil {
		err = body.explain(err)
		body.stop()
		return nil, err
	}
	body.ReadCloser = res.Body
	if res.StatusCode < 200 || res.StatusCode > 299 {
		body.Close()
		return nil, fault.New(CodeWeb, "download %s: the server answered %s", shown, res.Status).
			WithHint("check the address, with curl for instance")
	}
	return body, nil
}

// webBody is what a server sends.
type webBody struct {
	io.ReadCloser
	ctx     context.Context
	shown   string
	silence *time.Timer
	cancel  context.CancelCauseFunc
}

// Read reads, and counts the silence anew.
func (b *webBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.silence.Reset(patience)
	if err != nil && err != io.EOF { //nolint:errorlint // a reader gives io.EOF itself
		err = b.explain(err)
	}
	return n, err
}

func (b *webBody) explain(err error) error {
	if cause := context.Cause(b.ctx); cause != nil {
		return cause
	}
	if wrapped, ok := err.(*url.Error); ok { //nolint:errorlint // the outermost one names the URL with its query
		err = wrapped.Err
	}
	return fault.New(CodeWeb, "download %s: %w", b.shown, err)
}

func (b *webBody) stop() {
	b.silence.Stop()
	b.cancel(fmt.Errorf("download %s is over", b.shown))
}

// Close ends the download.
func (b *webBody) Close() error {
	b.stop()
	return b.ReadCloser.Close()
}
