package backendtest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

var stopRules = []rule{
	{"stop sends the stop signal and keeps exit code, files and logs", nil, func(w *world) {
		w.start("db", "write /tmp/note kept then out up then wait")
		w.waitLine("db", "up")
		exit, err := w.enclave.Stop(w.ctx, "db", bound)
		w.must(err)
		if exit.Code != 0 || exit.At.IsZero() {
			w.Errorf("exit is %+v", exit)
		}
		if got := w.logged("db"); !slices.Contains(got, "bye") {
			w.Errorf("logged %q", got)
		}
		if got := w.read("/tmp/note")["note"]; got != "kept" {
			w.Errorf("file is %q", got)
		}
	}},
	{"stop escalates to SIGKILL after the grace", nil, func(w *world) {
		w.start("db", "stubborn")
		w.waitLine("db", "ready")
		began := time.Now()
		exit, err := w.enclave.Stop(w.ctx, "db", 200*time.Millisecond)
		w.must(err)
		if exit.Code != 137 || exit.Signal != 9 {
			w.Errorf("exit is %+v", exit)
		}
		if took := time.Since(began); took < 200*time.Millisecond || took > bound {
			w.Errorf("took %v", took)
		}
	}},
	{"stopping what does not run gives its last exit", nil, func(w *world) {
		w.start("db", "exit 5")
		w.exited("db")
		for range 2 {
			exit, err := w.enclave.Stop(w.ctx, "db", soon)
			w.must(err)
			if exit.Code != 5 {
				w.Errorf("exit is %+v", exit)
			}
		}
	}},
	{"an unknown service is ErrNotFound", nil, func(w *world) {
		_, err := w.enclave.Stop(w.ctx, "db", soon)
		w.wantErr(err, fault.ErrNotFound)
		w.wantErr(w.enclave.Restart(w.ctx, "db"), fault.ErrNotFound)
		_, err = w.enclave.Wait(w.ctx, "db")
		w.wantErr(err, fault.ErrNotFound)
		_, err = w.enclave.Files(w.ctx, "db", "/tmp")
		w.wantErr(err, fault.ErrNotFound)
		_, err = w.enclave.Exec(w.ctx, "db", backend.ExecSpec{Args: command("exit 0")})
		w.wantErr(err, fault.ErrNotFound)
		_, err = collect(w.enclave.Logs(w.ctx, "db", backend.LogQuery{Tail: -1}))
		w.wantErr(err, fault.ErrNotFound)
		_, err = w.enclave.Dial(w.ctx, "db", backend.TCP, 80)
		w.wantErr(err, fault.ErrNotFound)
	}},
	{"restart runs the same spec on the same files", nil, func(w *world) {
		w.start("db", "out again then wait")
		w.waitLine("db", "again")
		w.run("db", "write /tmp/note kept")
		_, err := w.enclave.Stop(w.ctx, "db", bound)
		w.must(err)
		w.must(w.enclave.Restart(w.ctx, "db"))
		if code, out, _ := w.run("db", "read /tmp/note"); code != 0 || out != "kept" {
			w.Errorf("code %d, file %q", code, out)
		}
		w.eventually("log", func() string {
			if got := w.logged("db"); !slices.Equal(got, []string{"again", "bye", "again"}) {
				return "logged " + got[len(got)-1]
			}
			return ""
		})
	}},
	{"restarting a running service leaves it as it is", nil, func(w *world) {
		w.start("db", "wait")
		before := w.inspect("db")
		w.must(w.enclave.Restart(w.ctx, "db"))
		if after := w.inspect("db"); !after.StartedAt.Equal(before.StartedAt) || after.PID != before.PID {
			w.Errorf("was %+v, is %+v", before, after)
		}
	}},
	{"remove forgets all of it and is idempotent", nil, func(w *world) {
		w.start("db", "write /tmp/note x then wait")
		w.must(w.enclave.Remove(w.ctx, "db"))
		w.must(w.enclave.Remove(w.ctx, "db"))
		w.must(w.enclave.Remove(w.ctx, "never"))
		_, err := w.enclave.Inspect(w.ctx, "db")
		w.wantErr(err, fault.ErrNotFound)
		w.start("db", "wait")
		if code, _, _ := w.run("db", "read /tmp/note"); code == 0 {
			w.Error("a new service sees the old one's file")
		}
	}},
	{"clear removes all but the address", nil, func(w *world) {
		clearer, ok := w.enclave.(backend.Clearer)
		if !ok {
			w.Skip("no Clearer")
		}
		w.start("db", "write /tmp/note x then wait")
		before := w.inspect("db").Address
		w.must(clearer.Clear(w.ctx, "db"))
		w.must(clearer.Clear(w.ctx, "db"))
		w.start("other", "wait") // does not get the address
		w.start("db", "wait")
		if after := w.inspect("db").Address; after != before {
			w.Errorf("was at %v, is at %v", before, after)
		}
		if code, _, _ := w.run("db", "read /tmp/note"); code == 0 {
			w.Error("a new service sees the old one's file")
		}
	}},
	{"kept warm, services that hold meet nothing of one another, and nothing is kept longer", nil, func(w *world) {
		warmer, ok := w.enclave.(backend.Warmer)
		if !ok {
			w.Skip("no Warmer")
		}
		release := warmer.KeepWarm()
		hold := func(s *backend.ServiceSpec) { s.Hold = true }
		first := func(s *backend.ServiceSpec) { s.Hold, s.Env = true, map[string]string{"SECRET": "x"} }
		w.start("first", "wait", first)
		w.run("first", "write /tmp/note x")
		w.must(w.enclave.Remove(w.ctx, "first"))
		w.start("second", "wait", hold)
		if code, _, _ := w.run("second", "read /tmp/note"); code == 0 {
			w.Error("it sees an earlier one's file")
		}
		if _, out, _ := w.run("second", "env SECRET"); strings.Contains(out, "x") {
			w.Errorf("it sees an earlier one's environment: %q", out)
		}
		w.must(w.enclave.Remove(w.ctx, "second"))
		names, err := w.enclave.Services(w.ctx)
		w.must(err)
		if len(names) > 0 {
			w.Errorf("listed: %v", names)
		}
		w.must(release(w.ctx))
		w.start("third", "wait", hold)
		if code, out, _ := w.run("third", "hostname"); code != 0 || out != "third" {
			w.Errorf("code %d, %q", code, out)
		}
	}},
	{"wait ends early with the context", nil, func(w *world) {
		w.start("db", "wait")
		cause := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(w.ctx, 20*time.Millisecond, cause)
		defer cancel()
		_, err := w.enclave.Wait(ctx, "db")
		w.wantErr(err, cause)
	}},
	{"a stop cut short by its context returns soon", nil, func(w *world) {
		w.start("db", "stubborn")
		w.waitLine("db", "ready")
		cause := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(w.ctx, 50*time.Millisecond, cause)
		defer cancel()
		began := time.Now()
		_, err := w.enclave.Stop(ctx, "db", time.Hour)
		w.wantErr(err, cause)
		if time.Since(began) > soon {
			w.Errorf("took %v", time.Since(began))
		}
	}},
}
