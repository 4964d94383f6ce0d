package backendtest

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

var execRules = []rule{
	{"exit codes and both streams come back", nil, func(w *world) {
		w.start("db", "wait")
		for code, steps := range map[int]string{0: "out hello then err oops", 3: "out hello then err oops then exit 3"} {
			got, out, errs := w.run("db", steps)
			if got != code || out != "hello" || errs != "oops" {
				w.Errorf("%s: code %d, out %q, err %q", steps, got, out, errs)
			}
		}
	}},
	{"a command that is not there is 127, one that can't run 126, with the reason on stderr", nil, func(w *world) {
		w.start("db", "wait")
		for code, command := range map[int]string{127: "no-such-command", 126: "/etc/plain"} {
			got, _, errs := w.run("db", "", func(s *backend.ExecSpec) { s.Args = []string{command} })
			if got != code || errs == "" {
				w.Errorf("%s: code %d, stderr %q", command, got, errs)
			}
		}
	}},
	{"stdin reaches the command, and its end", nil, func(w *world) {
		w.start("db", "wait")
		text := strings.Repeat("some input\n", 10_000)
		_, out, _ := w.run("db", "cat", func(s *backend.ExecSpec) { s.Stdin = strings.NewReader(text) })
		if out != strings.TrimSuffix(text, "\n") {
			w.Errorf("got %d bytes back of %d", len(out), len(text))
		}
		if _, out, _ = w.run("db", "cat"); out != "" {
			w.Errorf("without stdin: %q", out)
		}
	}},
	{"env, work dir and user are the command's own", nil, func(w *world) {
		w.start("db", "wait", func(s *backend.ServiceSpec) { s.Env = map[string]string{"BASE": "b", "OVER": "old"} })
		_, out, _ := w.run("db", "env BASE then env OVER then env FROM_IMAGE then pwd then user", func(s *backend.ExecSpec) {
			s.Env = map[string]string{"OVER": "new"}
			s.WorkDir = "/tmp"
			s.User = "1000:1000"
		})
		if want := "b\nnew\nyes\n/tmp\n1000:1000"; out != want {
			w.Errorf("got %q, want %q", out, want)
		}
		if _, out, _ = w.run("db", "pwd then user"); out != "/work\n0:0" {
			w.Errorf("by default %q", out)
		}
	}},
	{"one writer for both streams keeps the order", nil, func(w *world) {
		w.start("db", "wait")
		var both bytes.Buffer
		w.run("db", "out 1 then err 2 then out 3 then err 4", func(s *backend.ExecSpec) { s.Stdout, s.Stderr = &both, &both })
		if both.String() != "1\n2\n3\n4\n" {
			w.Errorf("got %q", both.String())
		}
	}},
	{"cancelling the context kills the command", nil, func(w *world) {
		w.start("db", "wait")
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(w.ctx)
		out := &watched{want: "ready", seen: func() { cancel(cause) }}
		began := time.Now()
		_, err := w.enclave.Exec(ctx, "db", backend.ExecSpec{Args: command("out ready then tick 20"), Stdout: out})
		w.wantErr(err, cause)
		if time.Since(began) > bound {
			w.Errorf("took %v", time.Since(began))
		}
		if !w.inspect("db").Running() {
			w.Error("the service went with the command")
		}
	}},
	{"a service that does not run is ErrNotRunning", nil, func(w *world) {
		w.start("db", "exit 0")
		w.exited("db")
		_, err := w.enclave.Exec(w.ctx, "db", backend.ExecSpec{Args: command("exit 0")})
		w.wantErr(err, fault.ErrNotRunning)
	}},
	{"a command ends when its service is stopped", nil, func(w *world) {
		w.start("db", "wait")
		stopped := make(chan error, 1)
		out := &watched{want: "ready", seen: func() {
			go func() {
				_, err := w.enclave.Stop(w.ctx, "db", soon)
				stopped <- err
			}()
		}}
		code, err := w.enclave.Exec(w.ctx, "db", backend.ExecSpec{Args: command("out ready then stubborn"), Stdout: out})
		w.must(<-stopped)
		if err == nil && code != 137 {
			w.Errorf("code is %d", code)
		}
	}},
	{"attach gives a process that takes signals and input", nil, func(w *world) {
		attacher, ok := w.enclave.(backend.Attacher)
		if !ok {
			w.Skip("no Attacher")
		}
		w.start("db", "wait")
		var out bytes.Buffer
		p, err := attacher.Attach(w.ctx, "db", backend.ExecSpec{
			Args: command("cat then exit 4"), Stdin: strings.NewReader("typed\n"), Stdout: &out,
		})
		w.must(err)
		code, err := p.Wait()
		w.must(err)
		if code != 4 || out.String() != "typed\n" {
			w.Errorf("code %d, out %q", code, out.String())
		}
		p, err = attacher.Attach(w.ctx, "db", backend.ExecSpec{Args: command("stubborn")})
		w.must(err)
		w.must(p.Signal(9))
		if code, err = p.Wait(); err != nil || code != 137 {
			w.Errorf("code %d, %v", code, err)
		}
	}},
	{"attach with a terminal has a size", []backend.Ability{backend.AbilityTTY}, func(w *world) {
		attacher, ok := w.enclave.(backend.Attacher)
		if !ok {
			w.Skip("no Attacher")
		}
		w.start("db", "wait")
		var out bytes.Buffer
		p, err := attacher.Attach(w.ctx, "db", backend.ExecSpec{
			Args: command("sleep 300 then err typed then exit 6"), Stdout: &out, TTY: true, Cols: 80, Rows: 24,
		})
		w.must(err)
		w.must(p.Resize(120, 40))
		code, err := p.Wait()
		w.must(err)
		if code != 6 || out.String() != "typed\r\n" {
			w.Errorf("code %d, out %q", code, out.String())
		}
	}},
}

// watched calls seen once, when what is written holds want.
type watched struct {
	text strings.Builder
	want string
	seen func()
}

func (w *watched) Write(p []byte) (int, error) {
	w.text.Write(p)
	if w.seen != nil && strings.Contains(w.text.String(), w.want) {
		w.seen()
		w.seen = nil
	}
	return len(p), nil
}
