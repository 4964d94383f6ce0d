package backendtest

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

var startRules = []rule{
	{"inspect tells what runs", nil, func(w *world) {
		before := time.Now().Add(-time.Second)
		w.start("db", "wait", func(s *backend.ServiceSpec) { s.Env = map[string]string{"COLOUR": "red"} })
		s := w.inspect("db")
		if s.Name != "db" || s.UUID == "" || s.Image != w.Image || s.State != backend.StateRunning {
			w.Errorf("status is %+v", s)
		}
		if s.StartedAt.Before(before) || s.StartedAt.After(time.Now().Add(time.Second)) {
			w.Errorf("started at %v", s.StartedAt)
		}
		if !slices.Equal(slices.Concat(s.Entrypoint, s.Cmd), command("wait")) || s.Env["COLOUR"] != "red" || s.Env["FROM_IMAGE"] != "yes" {
			w.Errorf("runs %q %q with %v", s.Entrypoint, s.Cmd, s.Env)
		}
	}},
	{"the image's own command runs if the service names none", nil, func(w *world) {
		w.must(w.enclave.Start(w.ctx, backend.ServiceSpec{Name: "db", UUID: string(newID()), Image: w.Image}))
		w.waitLine("db", "default command")
	}},
	{"an entrypoint drops the image's command", nil, func(w *world) {
		spec := w.spec("db", "")
		spec.Cmd = nil
		spec.Entrypoint = command("out own then wait")
		w.must(w.enclave.Start(w.ctx, spec))
		w.waitLine("db", "own")
		if s := w.inspect("db"); len(s.Cmd) > 0 {
			w.Errorf("command is %q", s.Cmd)
		}
	}},
	{"a wrapper comes before the command, and is no part of it", nil, func(w *world) {
		w.start("db", "", func(s *backend.ServiceSpec) {
			s.Wrapper, s.Entrypoint, s.Cmd = command("out before then"), []string{"out"}, []string{"after", "then", "wait"}
		})
		w.waitLine("db", "after")
		if got, want := w.logged("db"), []string{"before", "after"}; !slices.Equal(got, want) {
			w.Errorf("got %q, want %q", got, want)
		}
		if s := w.inspect("db"); !slices.Equal(s.Entrypoint, []string{"out"}) || !slices.Equal(s.Cmd, []string{"after", "then", "wait"}) {
			w.Errorf("runs %q %q", s.Entrypoint, s.Cmd)
		}
	}},
	{"a service that holds runs no command, takes those of Exec, and ends well", nil, func(w *world) {
		w.start("task", "exit 3", func(s *backend.ServiceSpec) { s.Hold = true; s.User = "1000:1000" })
		if code, out, _ := w.run("task", "out hello then user then exit 5"); code != 5 || out != "hello\n1000:1000" {
			w.Errorf("code %d, output %q", code, out)
		}
		if s := w.inspect("task"); s.State != backend.StateRunning || !slices.Equal(slices.Concat(s.Entrypoint, s.Cmd), command("exit 3")) {
			w.Errorf("%s: %q %q", s.State, s.Entrypoint, s.Cmd)
		}
		exit, err := w.enclave.Stop(w.ctx, "task", bound)
		w.must(err)
		if exit.Code != 0 || exit.Signal != 0 {
			w.Errorf("it ended with %+v", exit)
		}
		w.must(w.enclave.Restart(w.ctx, "task"))
		if code, _, _ := w.run("task", "exit 0"); code != 0 {
			w.Errorf("after a restart: code %d", code)
		}
	}},
	{"env, work dir, user and host name reach the process", nil, func(w *world) {
		w.start("db", "env COLOUR then env FROM_IMAGE then pwd then user then hostname then wait", func(s *backend.ServiceSpec) {
			s.Env = map[string]string{"COLOUR": "red"}
			s.WorkDir = "/tmp"
			s.User = "1000:1000"
			s.Hostname = "other"
		})
		w.waitLine("db", "other")
		if got, want := w.logged("db"), []string{"red", "yes", "/tmp", "1000:1000", "other"}; !slices.Equal(got, want) {
			w.Errorf("got %q, want %q", got, want)
		}
	}},
	{"the host name is the service's name by default, and the image's work dir holds", nil, func(w *world) {
		w.start("db", "hostname then pwd then wait")
		w.waitLine("db", "db")
		w.waitLine("db", "/work")
	}},
	{"a service that exists is ErrExists, running or not", nil, func(w *world) {
		w.start("db", "wait")
		w.wantErr(w.enclave.Start(w.ctx, w.spec("db", "wait")), fault.ErrExists)
		_, err := w.enclave.Stop(w.ctx, "db", soon)
		w.must(err)
		w.wantErr(w.enclave.Start(w.ctx, w.spec("db", "wait")), fault.ErrExists)
	}},
	{"a missing command is a fault, runs nothing and keeps the reservation", nil, func(w *world) {
		address, err := w.enclave.Reserve(w.ctx, "db")
		w.must(err)
		spec := w.spec("db", "")
		spec.Cmd = []string{"no-such-command", "x"}
		w.wantFault(w.enclave.Start(w.ctx, spec))
		w.nothing("db", address)
	}},
	{"a command that can't be executed is a fault", nil, func(w *world) {
		spec := w.spec("db", "")
		spec.Cmd = []string{"/etc/plain"}
		w.wantFault(w.enclave.Start(w.ctx, spec))
	}},
	{"an image that is not there is a fault", nil, func(w *world) {
		address, err := w.enclave.Reserve(w.ctx, "db")
		w.must(err)
		spec := w.spec("db", "wait")
		spec.Image = "missing.test/nothing:1"
		w.wantFault(w.enclave.Start(w.ctx, spec))
		w.nothing("db", address)
	}},
	{"an image for another architecture is a fault, E0411", nil, func(w *world) {
		spec := w.spec("db", "wait")
		spec.Image = w.Foreign
		if f := w.wantFault(w.enclave.Start(w.ctx, spec)); f.Code != "E0411" {
			w.Errorf("code is %s: %v", f.Code, f)
		}
	}},
	{"a failed start can be tried again", nil, func(w *world) {
		spec := w.spec("db", "")
		spec.Cmd = []string{"no-such-command"}
		w.wantFault(w.enclave.Start(w.ctx, spec))
		w.start("db", "out fine then wait")
		w.waitLine("db", "fine")
	}},
	{"a process that dies at once is no error, and leaves exit code and logs", nil, func(w *world) {
		w.start("db", "out one then err two then exit 7")
		if exit := w.exited("db"); exit.Code != 7 || exit.Signal != 0 || exit.At.IsZero() || exit.OOM {
			w.Errorf("exit is %+v", exit)
		}
		if s := w.inspect("db"); s.State != backend.StateExited || s.Exit.Code != 7 {
			w.Errorf("status is %+v", s)
		}
		lines := w.logged("db")
		slices.Sort(lines)
		if !slices.Equal(lines, []string{"one", "two"}) {
			w.Errorf("logged %q", lines)
		}
	}},
	{"a cancelled start returns the cause and leaves nothing half made", nil, func(w *world) {
		cause := errors.New("changed my mind")
		ctx, cancel := context.WithCancelCause(w.ctx)
		cancel(cause)
		w.wantErr(w.enclave.Start(ctx, w.spec("db", "wait")), cause)
		_, err := w.enclave.Inspect(w.ctx, "db")
		w.wantErr(err, fault.ErrNotFound)
		w.start("db", "wait")
	}},
	{"a start cancelled midway ends soon and leaves nothing half made", nil, func(w *world) {
		for after := time.Millisecond; after < 100*time.Millisecond; after *= 3 {
			cause := errors.New("changed my mind")
			ctx, cancel := context.WithTimeoutCause(w.ctx, after, cause)
			began := time.Now()
			err := w.enclave.Start(ctx, w.spec("db", "wait"))
			cancel()
			if time.Since(began) > soon+after {
				w.Errorf("took %v", time.Since(began))
			}
			if err != nil {
				w.wantErr(err, cause)
				_, err = w.enclave.Inspect(w.ctx, "db")
				w.wantErr(err, fault.ErrNotFound)
			}
			w.must(w.enclave.Remove(w.ctx, "db"))
		}
	}},
	{"restart always brings a process back", nil, func(w *world) {
		w.start("db", "out here then exit 3", func(s *backend.ServiceSpec) { s.RestartAlways = true })
		w.eventually("restarts", func() string {
			if len(w.logged("db")) < 2 {
				return "it did not come back"
			}
			return ""
		})
		_, err := w.enclave.Stop(w.ctx, "db", soon)
		w.must(err)
		if s := w.inspect("db"); s.State != backend.StateExited || s.Restarts < 1 {
			w.Errorf("after stop: %+v", s)
		}
	}},
}

// wantFault checks that an error is one a user can act on.
func (w *world) wantFault(err error) *fault.Fault {
	w.Helper()
	var f *fault.Fault
	if !errors.As(err, &f) {
		w.Fatalf("error %v is no fault", err)
	}
	if f.Code == "" || f.Summary == "" {
		w.Errorf("fault has no code or summary: %+v", f)
	}
	return f
}

// nothing checks that a name is reserved and no more.
func (w *world) nothing(name backend.ServiceName, reserved backend.Address) {
	w.Helper()
	_, err := w.enclave.Inspect(w.ctx, name)
	w.wantErr(err, fault.ErrNotFound)
	again, err := w.enclave.Reserve(w.ctx, name)
	w.must(err)
	if again != reserved {
		w.Errorf("reserved %v, after the failure %v", reserved, again)
	}
}
