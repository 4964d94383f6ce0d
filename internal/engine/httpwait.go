package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file waits for HTTP endpoints of services.

const (
	probeBound = 10 * time.Second // of one try
	maxBody    = 10 << 20         // of an answer that is compared, in bytes
)

// HTTPWait says what to wait for.
type HTTPWait struct {
	Service string // uuid, short uuid or name
	Port    uint16
	Path    string // without the first slash
	Post    bool   // POST Body as JSON; else GET
	Body    string
	Delay   time.Duration // before the first try
	Retries int           // how many tries; at least one is made
	Pause   time.Duration // between tries
	Want    string        // the answer's whole body; empty: any
}

// WaitHTTP tries until the endpoint answers 200 with the body that is wanted.
// The error tells what the last try saw.
func (e *Engine) WaitHTTP(ctx context.Context, in *enclave.Enclave, w HTTPWait) error {
	if err := sleep(ctx, w.Delay); err != nil {
		return err
	}
	client := &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return in.Dial(ctx, w.Service, backend.TCP, w.Port)
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	var last error
	for try := range max(w.Retries, 1) {
		if try > 0 {
			if err := sleep(ctx, w.Pause); err != nil {
				return errors.Join(last, err)
			}
		}
		last = w.try(ctx, client)
		if last == nil {
			return nil
		}
		if errors.Is(last, fault.ErrNotRunning) || errors.Is(last, fault.ErrNotFound) || ctx.Err() != nil {
			return last
		}
	}
	return fmt.Errorf("service %q, port %d, path /%s: %w after %d tries: %w", w.Service, w.Port, w.Path, fault.ErrTimeout, max(w.Retries, 1), last)
}

func (w HTTPWait) try(ctx context.Context, client *http.Client) error {
	ctx, cancel := context.WithTimeoutCause(ctx, probeBound, fault.ErrTimeout)
	defer cancel()
	method := http.MethodGet
	if w.Post {
		method = http.MethodPost
	}
	url := fmt.Sprintf("http://%s/%s", net.JoinHostPort("service", fmt.Sprint(w.Port)), strings.TrimPrefix(w.Path, "/"))
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(w.Body))
	if err != nil {
		return fmt.Errorf("%w: %w", err, fault.ErrInvalid)
	}
	if w.Post {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %s", res.Status)
	}
	if w.Want == "" {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody))
	if err != nil {
		return err
	}
	if string(body) != w.Want {
		return fmt.Errorf("it answers %q, not %q", cutText(string(body)), cutText(w.Want))
	}
	return nil
}

func cutText(s string) string {
	const limit = 200
	if len(s) <= limit {
		return s
	}
	return s[:limit] + "..."
}

// sleep waits, and ends early with the context.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
