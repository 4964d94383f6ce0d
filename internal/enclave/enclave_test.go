package enclave

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/backendtest"
	"github.com/lepto-dev/lepto/internal/backend/memory"
	"github.com/lepto-dev/lepto/internal/fault"
)

func TestNames(t *testing.T) {
	for _, name := range []string{"a", "A-1", strings.Repeat("x", 60), "-"} {
		if err := CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", "a.b", "a_b", "ä", "a b", strings.Repeat("x", 61)} {
		wantCode(t, CheckName(name), "E0340")
	}
	zero := func(int) int { return 0 }
	taken := map[string]bool{}
	for _, want := range []string{"agile-acorn", "agile-acorn-1", "agile-acorn-2"} {
		got := RandomName(zero, func(name string) bool { return taken[name] })
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		taken[got] = true
	}
	for _, list := range [][]string{adjectives, nouns} {
		for _, word := range list {
			if strings.Trim(word, "abcdefghijklmnopqrstuvwxyz") != "" {
				t.Errorf("%q is no lower-case word", word)
			}
		}
	}
}

func TestIdentifiers(t *testing.T) {
	store := openTestStore(t, filepath.Join(t.TempDir(), "db"))
	m, err := NewManager(store, memory.New(memory.Options{}), Deps{NewID: counter()})
	if err != nil {
		t.Fatal(err)
	}
	one, err := m.Create(t.Context(), CreateSpec{Name: "quartz"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Create(t.Context(), CreateSpec{}); err != nil {
		t.Fatal(err)
	}
	for _, identifier := range []string{one.UUID(), "quartz"} {
		if e, err := m.Get(identifier); err != nil || e != one {
			t.Errorf("%q: %v, %v", identifier, e, err)
		}
	}
	// Both UUIDs begin with twelve zeros.
	f := wantCode(t, second(m.Get("000000000000")), "E0343")
	if len(f.Evidence) != 1 || len(f.Evidence[0].Lines) != 2 {
		t.Errorf("evidence %+v", f.Evidence)
	}
	if f = wantCode(t, second(m.Get("quarz")), "E0342"); f.Hint != `did you mean "quartz"?` || !errors.Is(f, fault.ErrNotFound) {
		t.Errorf("hint %q", f.Hint)
	}
	wantCode(t, second(m.Create(t.Context(), CreateSpec{Name: "quartz"})), "E0341")
	wantCode(t, second(m.Create(t.Context(), CreateSpec{Name: "qu_rtz"})), "E0340")
	if err := m.Destroy(t.Context(), "quartz"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, m.Destroy(t.Context(), "quartz"), "E0342")
	if _, err := m.Create(t.Context(), CreateSpec{Name: "quartz"}); err != nil {
		t.Errorf("the name of a destroyed enclave is free again: %v", err)
	}
	next, err := NewManager(store, m.backend, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	history, err := next.History()
	if err != nil || len(history) != 3 || history[0].Name != "quartz" || history[2].Name != "quartz" {
		t.Errorf("history %v, %v", history, err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestReplacedServiceKeepsIdentityAndAddress(t *testing.T) {
	e := newTestEnclave(t, memory.New(memory.Options{}))
	first := mustAdd(t, e, "db", idle())
	mustAdd(t, e, "api", idle())
	cfg := server("80", map[string]Port{"http": tcp(80, time.Second)})
	cfg.IPPlaceholder, cfg.Cmd = "MY_IP", []string{"echo-server", "--host=MY_IP"}
	cfg.Env["URL"] = "http://MY_IP:80"
	again := mustAdd(t, e, "db", cfg)
	if again.UUID != first.UUID || again.IP != first.IP {
		t.Errorf("was %s at %s, is %s at %s", first.UUID, first.IP, again.UUID, again.IP)
	}
	if got := again.Process.Cmd[1]; got != "--host="+first.IP || again.Process.Env["URL"] != "http://"+first.IP+":80" {
		t.Errorf("placeholder: %q, %q", got, again.Process.Env["URL"])
	}
	if len(again.Published) != 1 || again.Published[0].ID != "http" {
		t.Errorf("published %v", again.Published)
	}
	if history, _ := e.ServiceHistory(); len(history) != 2 {
		t.Errorf("history %v", history)
	}
}

func TestFailedServiceIsReplacedInPlace(t *testing.T) {
	e := newTestEnclave(t, program("job", crashing(1, 3)))
	_, err := e.AddService(t.Context(), "db", ServiceConfig{Image: Image{Ref: "job"}, Ports: map[string]Port{"pg": tcp(1, time.Minute)}}, AddOptions{})
	wantCode(t, err, "E0330")
	failed, err := e.Service("db")
	if err != nil {
		t.Fatal(err)
	}
	s := mustAdd(t, e, "db", idle())
	if s.UUID != failed.UUID || s.Failure != nil || s.Status != ServiceRunning {
		t.Errorf("%+v", s)
	}
}

func TestUseOfServices(t *testing.T) {
	e := newTestEnclave(t, memory.New(memory.Options{}))
	s := mustAdd(t, e, "db", server("80", map[string]Port{"http": tcp(80, time.Second)}))
	var out bytes.Buffer
	code, err := e.Exec(t.Context(), s.ShortUUID(), backend.ExecSpec{Args: []string{"echo", "hello"}, Stdout: &out})
	if err != nil || code != 0 || out.String() != "hello\n" {
		t.Errorf("exec: %d, %v, %q", code, err, out.String())
	}
	conn, err := e.Dial(t.Context(), "db", backend.TCP, 80)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "x")
	if n, err := conn.Read(make([]byte, 1)); n != 1 {
		t.Error(err)
	}
	conn.Close()
	if err := e.StopService(t.Context(), "db"); err != nil {
		t.Fatal(err)
	}
	if stopped, err := e.Inspect(t.Context(), "db"); err != nil || stopped.Status != ServiceStopped || len(stopped.Published) != 0 {
		t.Errorf("nothing answers at the ports of a stopped service: %+v, %v", stopped, err)
	}
	_, err = e.Exec(t.Context(), "db", backend.ExecSpec{Args: []string{"true"}})
	if f := wantCode(t, err, "E0347"); !strings.Contains(f.Summary, "is not running: it exited with code 0") || !errors.Is(err, fault.ErrNotRunning) {
		t.Error(f.Summary)
	}
	if got := collect(t, e.Logs(t.Context(), "db", backend.LogQuery{Tail: -1})); !slices.Equal(got, []string{"listening on 80"}) {
		t.Errorf("log %q", got)
	}
	files, err := e.Files(t.Context(), "db", "/tmp")
	if err != nil {
		t.Fatal(err)
	}
	files.Close()
	if err := e.RemoveService(t.Context(), "db"); err != nil {
		t.Fatal(err)
	}
	_, err = e.Exec(t.Context(), "db", backend.ExecSpec{Args: []string{"true"}})
	wantCode(t, err, "E0344")
	for _, err := range e.Logs(t.Context(), "db", backend.LogQuery{}) {
		wantCode(t, err, "E0344")
	}
}

func collect(t *testing.T, lines func(func(backend.LogLine, error) bool)) (out []string) {
	t.Helper()
	for line, err := range lines {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, line.Text)
	}
	return out
}

func TestStopAndStartOfAnEnclave(t *testing.T) {
	for _, test := range []struct {
		name    string
		backend backend.Backend
	}{
		{"with a suspender", memory.New(memory.Options{})},
		{"without", mortal{memory.New(memory.Options{}), &mortality{left: -1}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := newTestEnclave(t, test.backend)
			mustAdd(t, e, "runs", idle())
			mustAdd(t, e, "stopped", idle())
			mustAdd(t, e, "ended", ServiceConfig{Image: Image{Ref: "exit:0"}})
			if _, err := mustOpen(t, e).Wait(t.Context(), "ended"); err != nil {
				t.Fatal(err)
			}
			if err := e.StopService(t.Context(), "stopped"); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := e.Stop(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if got := statuses(t, e); e.Info().Status != Stopped || got != "ended=STOPPED runs=STOPPED stopped=STOPPED" {
				t.Errorf("stopped: %s", got)
			}
			_, err := e.AddService(t.Context(), "new", idle(), AddOptions{})
			wantCode(t, err, "E0345")
			if err := e.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := statuses(t, e); e.Info().Status != Running || got != "ended=STOPPED runs=RUNNING stopped=STOPPED" {
				t.Errorf("started: %s", got)
			}
		})
	}
}

// TestStartAfterTheHostWentDown: nobody has stopped the enclave, but its services.
func TestStartAfterTheHostWentDown(t *testing.T) {
	e := newTestEnclave(t, memory.New(memory.Options{}))
	mustAdd(t, e, "runs", idle())
	mustAdd(t, e, "stopped", idle())
	if err := e.StopService(t.Context(), "stopped"); err != nil {
		t.Fatal(err)
	}
	if err := mustOpen(t, e).(backend.Suspender).Suspend(t.Context(), time.Second); err != nil {
		t.Fatal(err)
	}
	if got := statuses(t, e); got != "runs=STOPPED stopped=STOPPED" {
		t.Errorf("down: %s", got)
	}
	for range 2 {
		if err := e.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := statuses(t, e); got != "runs=RUNNING stopped=STOPPED" {
			t.Errorf("started: %s", got)
		}
	}
}

func statuses(t *testing.T, e *Enclave) string {
	t.Helper()
	all, err := e.InspectAll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, s := range all {
		out = append(out, s.Name+"="+string(s.Status))
	}
	return strings.Join(out, " ")
}

func TestDestroyCancelsWhatGoesOn(t *testing.T) {
	m := newTestManager(t, memory.New(memory.Options{}))
	e, err := m.Create(t.Context(), CreateSpec{Name: "home"})
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan struct{})
	failed := make(chan error, 1)
	go func() {
		_, err := e.AddService(t.Context(), "db", idle(), AddOptions{Ready: func(ctx context.Context, s *Service) error {
			close(waiting)
			<-ctx.Done()
			return context.Cause(ctx)
		}})
		failed <- err
	}()
	<-waiting
	if err := m.Destroy(t.Context(), "home"); err != nil {
		t.Fatal(err)
	}
	err = <-failed
	if err == nil || !strings.Contains(err.Error(), `enclave "home" was destroyed`) {
		t.Errorf("the add ended with %v", err)
	}
	if left, _ := m.backend.Enclaves(t.Context()); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestOperationsTogether(t *testing.T) {
	m := newTestManager(t, memory.New(memory.Options{}))
	e, err := m.Create(t.Context(), CreateSpec{})
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	for i := range 8 {
		work.Go(func() {
			name := fmt.Sprintf("s%d", i%4)
			for range 5 {
				// Two workers share a name: each error must be one of order.
				_, err := e.AddService(t.Context(), name, idle(), AddOptions{})
				if err != nil {
					t.Error(err)
				}
				_, _ = e.AddServices(t.Context(), []NamedConfig{{"b", idle()}, {name, idle()}, {"a", idle()}}, AddOptions{})
				if _, err := e.InspectAll(t.Context()); err != nil {
					t.Error(err)
				}
				if err := e.StopService(t.Context(), name); err != nil && fault.From(err, "").Code != "E0344" {
					t.Error(err)
				}
				if err := e.RemoveService(t.Context(), name); err != nil && fault.From(err, "").Code != "E0344" {
					t.Error(err)
				}
			}
		})
	}
	work.Go(func() {
		for range 3 {
			other, err := m.Create(t.Context(), CreateSpec{})
			if err != nil {
				t.Error(err)
				return
			}
			if err := m.Destroy(t.Context(), other.UUID()); err != nil {
				t.Error(err)
			}
		}
	})
	work.Wait()
	held, err := mustOpen(t, e).Services(t.Context())
	if err != nil || len(held) != len(e.Services()) {
		t.Errorf("the backend holds %v, the store %d (%v)", held, len(e.Services()), err)
	}
	if _, err := m.Clean(t.Context(), true); err != nil {
		t.Error(err)
	}
}

func TestImages(t *testing.T) {
	e := newTestEnclave(t, memory.New(memory.Options{Missing: []string{"nowhere:1"}}))
	info, err := e.EnsureImage(t.Context(), Image{Ref: "pause"}, backend.PullMissing, nil)
	if err != nil || info.Source != backend.SourceDownloaded {
		t.Errorf("%+v, %v", info, err)
	}
	if _, err = e.EnsureImage(t.Context(), Image{Ref: "nowhere:1"}, backend.PullMissing, nil); !errors.Is(err, fault.ErrNotFound) {
		t.Error(err)
	}
	plain := newTestEnclave(t, struct{ backend.Backend }{memory.New(memory.Options{})})
	_, err = plain.EnsureImage(t.Context(), Image{Ref: "pause"}, backend.PullMissing, nil)
	wantCode(t, err, "E0350")
	_, err = plain.EnsureImage(t.Context(), Image{Ref: "own", Build: &Build{ContextDir: "/x"}}, backend.PullMissing, nil)
	wantCode(t, err, "E0351")
}

func TestValuesAndRunsAreDurable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	store := openTestStore(t, path)
	host := memory.New(memory.Options{})
	m, err := NewManager(store, host, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	e, err := m.Create(t.Context(), CreateSpec{Name: "home"})
	if err != nil {
		t.Fatal(err)
	}
	id, err := e.ServiceValueID("db")
	if err != nil || len(id) != 32 {
		t.Fatal(id, err)
	}
	if fields, err := e.LoadValue(id); err != nil || fields == nil || len(fields) != 0 {
		t.Errorf("a slot that is not filled: %v, %v", fields, err)
	}
	if _, err := e.LoadValue("other"); !errors.Is(err, fault.ErrNotFound) {
		t.Errorf("an unknown slot: %v", err)
	}
	if err := e.StoreValue(id, map[string]string{"ip_address": `"10.0.0.2"`}); err != nil {
		t.Fatal(err)
	}
	for i := range keptRuns + 3 {
		run := fmt.Sprintf("run%d", i)
		if err := e.BeginRun(run); err != nil {
			t.Fatal(err)
		}
		if err := e.AppendEvents(run, 1, [][]byte{[]byte("a"), []byte("b")}); err != nil {
			t.Fatal(err)
		}
		if i%2 == 1 {
			err = e.AppendEvent(run, 3, []byte("c"))
		} else {
			err = e.FinishRun(run, 3, [][]byte{[]byte("c")}, &RunArgs{PackageID: "p", Params: "{}"})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	store.Close()

	m, err = NewManager(openTestStore(t, path), host.Reopen(), Deps{})
	if err != nil {
		t.Fatal(err)
	}
	if e, err = m.Get("home"); err != nil {
		t.Fatal(err)
	}
	if again, err := e.ServiceValueID("db"); again != id || err != nil {
		t.Errorf("the id was %s, is %s (%v)", id, again, err)
	}
	if fields, err := e.LoadValue(id); err != nil || fields["ip_address"] != `"10.0.0.2"` {
		t.Errorf("%v, %v", fields, err)
	}
	runs, err := e.Runs()
	if err != nil || len(runs) != keptRuns || runs[0].ID != "run3" || runs[1].Finished != true || runs[0].Finished {
		t.Errorf("runs %+v, %v", runs, err)
	}
	if _, err := e.Events("run2", 1); !errors.Is(err, fault.ErrNotFound) {
		t.Errorf("events of a run that is not kept: %v", err)
	}
	if events, err := e.Events("run5", 2); err != nil || string(bytes.Join(events, nil)) != "bc" {
		t.Errorf("%q, %v", events, err)
	}
	if args, ok, err := e.LastRun(); !ok || err != nil || args.PackageID != "p" {
		t.Errorf("%+v, %v, %v", args, ok, err)
	}
}

func TestStateFileOfOthersIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	store := openTestStore(t, path)
	wantCode(t, second(OpenStore(path)), "E0360")
	err := store.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Put(keyFormat, []byte("99")) })
	if err != nil {
		t.Fatal(err)
	}
	store.Close()
	wantCode(t, second(OpenStore(path)), "E0361")
}

func TestTurnsOfRuns(t *testing.T) {
	e := newTestEnclave(t, memory.New(memory.Options{}))
	release, err := e.Turn(t.Context(), func() { t.Error("nobody is before it") })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err = e.Turn(ctx, func() { cancel(io.EOF) })
	if !errors.Is(err, io.EOF) {
		t.Errorf("waiting ended with %v", err)
	}
	release()
	if release, err = e.Turn(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	release()
}

// TestDestroyOutlivesItsCaller: a client that leaves in the middle of a removal
// does not end it; where it fails, the log tells.
func TestDestroyOutlivesItsCaller(t *testing.T) {
	var log bytes.Buffer
	failing := backendtest.NewFailing(memory.New(memory.Options{}))
	m := newTestManager(t, failing)
	m.deps.Logger = slog.New(slog.NewTextHandler(&log, nil))
	_, err := m.Create(t.Context(), CreateSpec{Name: "away"})
	if err != nil {
		t.Fatal(err)
	}
	failing.FailWith("Destroy", errors.New("stuck"))
	if err := m.Destroy(t.Context(), "away"); err == nil || !strings.Contains(log.String(), "not removed completely") || !strings.Contains(log.String(), "stuck") {
		t.Errorf("error %v, log %q", err, log.String())
	}
	ctx, leave := context.WithCancel(t.Context())
	failing.Fail("Destroy", func(backendtest.Call) error { leave(); return nil })
	if err := m.Destroy(ctx, "away"); err != nil {
		t.Errorf("the removal ended with its caller: %v", err)
	}
	if ids, err := failing.Backend.Enclaves(t.Context()); err != nil || len(ids) > 0 {
		t.Errorf("left: %v, %v", ids, err)
	}
}
