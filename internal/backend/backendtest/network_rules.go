package backendtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/backendtest/bounds"
	"github.com/lepto-dev/lepto/internal/backend/backendtest/probe"
)

var networkRules = []rule{
	{"dial reaches a port that is neither declared nor published", nil, func(w *world) {
		w.start("db", "serve tcp/8080 udp/9000 then wait")
		if got := w.ask(w.enclave, "db", backend.TCP, 8080, "hello"); got != "db got hello" {
			w.Errorf("tcp: %q", got)
		}
		if got := w.ask(w.enclave, "db", backend.UDP, 9000, "hello"); got != "db got hello" {
			w.Errorf("udp: %q", got)
		}
	}},
	{"dial to a closed port is an error, soon", nil, func(w *world) {
		w.start("db", "wait")
		began := time.Now()
		c, err := w.enclave.Dial(w.ctx, "db", backend.TCP, 4444)
		if err == nil {
			c.Close()
			w.Error("something answers")
		}
		if time.Since(began) > soon {
			w.Errorf("took %v", time.Since(began))
		}
	}},
	{"dial honours its context", nil, func(w *world) {
		w.start("db", "wait")
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(w.ctx)
		cancel(cause)
		_, err := w.enclave.Dial(ctx, "db", backend.TCP, 4444)
		w.wantErr(err, cause)
	}},
	{"services reach one another by name and address", nil, func(w *world) {
		w.start("db", "serve tcp/8080 udp/9000 then out open then wait")
		w.waitLine("db", "open")
		w.start("api", "wait")
		address := w.inspect("db").Address.IP.String()
		for _, question := range []string{"tcp db 8080", "tcp " + address + " 8080", "udp db 9000", "tcp db.enclave 8080"} {
			if _, out, errs := w.run("api", "ask "+question+" hello"); out != "db got hello" {
				w.Errorf("ask %s: %q, %q", question, out, errs)
			}
		}
	}},
	{"a name resolves while its service exists, and no more after remove", nil, func(w *world) {
		w.start("api", "wait")
		w.start("db", "serve tcp/8080 then out open then wait")
		w.waitLine("db", "open")
		if _, out, errs := w.run("api", "ask tcp db 8080 hello"); out != "db got hello" {
			w.Fatalf("ask: %q, %q", out, errs)
		}
		w.must(w.enclave.Remove(w.ctx, "db"))
		if code, _, _ := w.run("api", "ask tcp db 8080 hello"); code == 0 {
			w.Error("a removed service still answers")
		}
	}},
	{"inspect tells the ports that are really open", nil, func(w *world) {
		w.start("db", "serve tcp/8080 udp/9000 then out open then wait")
		w.waitLine("db", "open")
		s := w.inspect("db")
		if s.Listening == nil {
			w.Skip("this backend can't tell")
		}
		var got []string
		for _, l := range s.Listening {
			got = append(got, fmt.Sprintf("%s/%d", l.Proto, l.Addr.Port()))
		}
		slices.Sort(got)
		if got = slices.Compact(got); !slices.Equal(got, []string{"tcp/8080", "udp/9000"}) {
			w.Errorf("got %v", got)
		}
	}},
	{"a published TCP port answers on the host's loopback", []backend.Ability{backend.AbilityPublishTCP}, func(w *world) {
		w.start("db", "serve tcp/8080 then wait", publish("http", 8080, backend.TCP))
		w.wantPublished("tcp")
	}},
	{"a published UDP port answers on the host's loopback", []backend.Ability{backend.AbilityPublishUDP}, func(w *world) {
		w.start("db", "serve udp/9000 then wait", publish("dns", 9000, backend.UDP))
		w.wantPublished("udp")
	}},
	{"a published port stays the same over stop and restart", []backend.Ability{backend.AbilityPublishTCP}, func(w *world) {
		w.start("db", "serve tcp/8080 then wait", publish("http", 8080, backend.TCP))
		before := w.inspect("db").Published
		_, err := w.enclave.Stop(w.ctx, "db", bound)
		w.must(err)
		w.must(w.enclave.Restart(w.ctx, "db"))
		if after := w.inspect("db").Published; !slices.Equal(before, after) {
			w.Errorf("was %v, is %v", before, after)
		}
		w.wantPublished("tcp")
	}},
	{"a fixed host port is that one, and a taken one is a fault", []backend.Ability{backend.AbilityHostPublicPort}, func(w *world) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		w.must(err)
		port := uint16(l.Addr().(*net.TCPAddr).Port)
		fixed := func(s *backend.ServiceSpec) {
			s.Publish = []backend.Publish{{ID: "http", Port: 8080, Proto: backend.TCP, HostPort: port}}
		}
		spec := w.spec("db", "wait")
		fixed(&spec)
		w.wantFault(w.enclave.Start(w.ctx, spec))
		w.must(l.Close())
		w.start("db", "serve tcp/8080 then wait", fixed)
		if got := w.inspect("db").Published; len(got) != 1 || got[0].Host.Port() != port {
			w.Errorf("published %v, want port %d", got, port)
		}
		w.wantPublished("tcp")
	}},
	{"a removed service's published port is closed", []backend.Ability{backend.AbilityPublishTCP}, func(w *world) {
		w.start("db", "serve tcp/8080 then wait", publish("http", 8080, backend.TCP))
		host := w.inspect("db").Published[0].Host
		w.must(w.enclave.Remove(w.ctx, "db"))
		w.eventually("closing", func() string {
			c, err := net.DialTimeout("tcp", host.String(), bounds.Wide(time.Second))
			if err != nil {
				return ""
			}
			c.Close()
			return "still open"
		})
	}},
	{"two enclaves with the same names and ports don't meet", nil, func(w *world) {
		_, other := w.another()
		spec := w.spec("db", "serve tcp/8080 then out open then wait")
		spec.Hostname = "mine"
		w.must(w.enclave.Start(w.ctx, spec))
		spec.Hostname = "theirs"
		spec.UUID = string(newID())
		w.must(other.Start(w.ctx, spec))
		if got := w.ask(w.enclave, "db", backend.TCP, 8080, "x"); got != "mine got x" {
			w.Errorf("mine: %q", got)
		}
		if got := w.ask(other, "db", backend.TCP, 8080, "x"); got != "theirs got x" {
			w.Errorf("theirs: %q", got)
		}
		w.start("api", "wait")
		if _, out, _ := w.run("api", "ask tcp db 8080 x"); out != "mine got x" {
			w.Errorf("by name: %q", out)
		}
		status, err := other.Inspect(w.ctx, "db")
		w.must(err)
		if code, out, _ := w.run("api", "ask tcp "+status.Address.IP.String()+" 8080 x"); code == 0 && strings.HasPrefix(out, "theirs") {
			w.Error("a service reaches the other enclave's address")
		}
	}},
}

func publish(id string, port uint16, proto backend.Transport) func(*backend.ServiceSpec) {
	return func(s *backend.ServiceSpec) {
		s.Publish = append(s.Publish, backend.Publish{ID: id, Port: port, Proto: proto})
	}
}

// wantPublished talks to "db" through its first published port.
func (w *world) wantPublished(network string) {
	w.Helper()
	published := w.inspect("db").Published
	if len(published) == 0 || !published[0].Host.Addr().IsLoopback() || published[0].Host.Port() == 0 {
		w.Fatalf("published %v", published)
	}
	w.eventually("published port", func() string {
		c, err := net.DialTimeout(network, published[0].Host.String(), bounds.Wide(time.Second))
		if err != nil {
			return err.Error()
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(bounds.Wide(time.Second)))
		answer, err := probe.Exchange(c, network, "hello")
		if err != nil || answer != "db got hello" {
			return fmt.Sprintf("answer %q, %v", answer, err)
		}
		return ""
	})
}
