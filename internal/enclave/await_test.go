package enclave

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/memory"
)

// answering is a program that handles its n-th connection, from 1, as told.
func answering(handle func(n int, c net.Conn)) memory.Program {
	return func(ctx context.Context, p *memory.Proc) int {
		l, err := p.Listen(80)
		if err != nil {
			return 1
		}
		defer context.AfterFunc(ctx, func() { l.Close() })()
		for n := 1; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return 0
			}
			go handle(n, c)
		}
	}
}

// TestHTTPPortIsOpenOnceItAnswers waits for ports that take connections before
// they serve.
func TestHTTPPortIsOpenOnceItAnswers(t *testing.T) {
	answer := func(c net.Conn) {
		if request, err := http.ReadRequest(bufio.NewReader(c)); err == nil && request.Host == "s:80" {
			fmt.Fprint(c, "HTTP/1.1 503 Service Unavailable\r\n\r\n")
		}
		c.Close()
	}
	for name, c := range map[string]struct {
		handle      func(n int, c net.Conn)
		app         string
		least, most time.Duration
	}{
		"answers at once, with whatever": {func(_ int, c net.Conn) { answer(c) }, "http", 0, 0},
		"hangs up at first": {func(n int, c net.Conn) {
			if n > 5 {
				answer(c)
			}
			c.Close()
		}, "http", time.Millisecond, time.Second},
		"is silent at first": {func(n int, c net.Conn) {
			if n > 1 {
				answer(c)
			}
			_, _ = io.Copy(io.Discard, c)
		}, "http", answerTime, answerTime + time.Second},
		"hangs up always: it is no HTTP":     {func(_ int, c net.Conn) { c.Close() }, "http", patience, patience + time.Second},
		"is silent, and not said to be HTTP": {func(int, net.Conn) {}, "postgresql", 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newTestEnclave(t, program("server", answering(c.handle)))
				began := time.Now()
				port := tcp(80, time.Minute)
				port.Application = c.app
				mustAdd(t, e, "s", ServiceConfig{Image: Image{Ref: "server"}, Ports: map[string]Port{"p": port}})
				if took := time.Since(began); took < c.least || took > max(c.most, firstRetry) {
					t.Errorf("took %v", took)
				}
				if err := e.RemoveService(t.Context(), "s"); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestHTTPPortThatNeverAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newTestEnclave(t, program("server", answering(func(int, net.Conn) {})))
		port := Port{Number: 80, Transport: backend.TCP, Wait: 3 * time.Second, Application: "http"}
		_, err := e.AddService(t.Context(), "s", ServiceConfig{Image: Image{Ref: "server"}, Ports: map[string]Port{"p": port}}, AddOptions{})
		want := `port 80 (p) of service "s" never opened in 3s; it listens on 172.16.0.2:80 but does not answer an HTTP request`
		if f := wantCode(t, err, "E0332"); f.Summary != want {
			t.Errorf("got %q", f.Summary)
		}
	})
}
