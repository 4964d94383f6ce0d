package enclave

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/memory"
	"github.com/lepto-dev/lepto/internal/fault"
)

// altered is a backend whose enclaves answer some calls differently: what the
// memory backend has no way to do, such as running out of memory.
type altered struct {
	backend.Backend
	start   error
	exit    *backend.Exit
	inspect func(*backend.Status)
}

func (a altered) CreateEnclave(ctx context.Context, spec backend.EnclaveSpec) (backend.Enclave, error) {
	e, err := a.Backend.CreateEnclave(ctx, spec)
	return alteredEnclave{e, a}, err
}

func (a altered) OpenEnclave(ctx context.Context, id backend.EnclaveID) (backend.Enclave, error) {
	e, err := a.Backend.OpenEnclave(ctx, id)
	return alteredEnclave{e, a}, err
}

type alteredEnclave struct {
	backend.Enclave
	with altered
}

func (e alteredEnclave) Start(ctx context.Context, spec backend.ServiceSpec) error {
	if e.with.start != nil {
		return e.with.start
	}
	return e.Enclave.Start(ctx, spec)
}

func (e alteredEnclave) Wait(ctx context.Context, name backend.ServiceName) (backend.Exit, error) {
	if e.with.exit != nil {
		return *e.with.exit, nil
	}
	return e.Enclave.Wait(ctx, name)
}

func (e alteredEnclave) Inspect(ctx context.Context, name backend.ServiceName) (backend.Status, error) {
	status, err := e.Enclave.Inspect(ctx, name)
	if e.with.inspect != nil {
		e.with.inspect(&status)
	}
	return status, err
}

// crashing prints some lines and ends with a code.
func crashing(lines, code int) memory.Program {
	return func(_ context.Context, p *memory.Proc) int {
		for i := range lines {
			fmt.Fprintf(p.Stdout, "line %d\n", i+1)
		}
		fmt.Fprintln(p.Stderr, "panic: no database")
		return code
	}
}

// notReady is a readiness check that never succeeds.
func notReady(ctx context.Context, s *Service) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(30 * time.Second):
		return fault.New("E0601", "service %q never became ready in 30s (14 tries)", s.Name)
	}
}

func sockets(addrs ...string) func(*backend.Status) {
	return func(s *backend.Status) {
		s.Listening = []backend.Listening{}
		for _, a := range addrs {
			s.Listening = append(s.Listening, backend.Listening{Proto: backend.TCP, Addr: netip.MustParseAddrPort(a)})
		}
	}
}

func TestFailuresTellTheCauseFirst(t *testing.T) {
	limited := idle()
	limited.MaxMemory, limited.Ports = 64, map[string]Port{"pg": tcp(5432, time.Minute)}
	unlimited := limited
	unlimited.MaxMemory = 0
	silent := limited
	silent.Ports = map[string]Port{"http": tcp(8080, 2*time.Minute)}
	waiting := func(name string) ServiceConfig {
		return ServiceConfig{Image: Image{Ref: name}, Ports: map[string]Port{"pg": tcp(5432, time.Minute)}}
	}
	two := waiting("job")
	two.Ports = map[string]Port{"pg": tcp(5432, time.Minute), "adm": tcp(9000, time.Minute), "udp": {Number: 1, Transport: backend.UDP, Wait: time.Minute}}
	artifact := idle()
	artifact.Files = []FileMount{{Path: "/etc/app", Artifacts: []string{"conf"}}}
	notFound := fault.New("E0498", "there is no command \"serve\" in image \"pause\"").WithHint("its PATH is /bin")

	tests := []struct {
		name    string
		code    string
		backend backend.Backend
		config  ServiceConfig
		ready   func(context.Context, *Service) error
	}{
		{"exit before port", "E0330", program("job", crashing(30, 3)), waiting("job"), nil},
		{"exit before ports", "E0330", program("job", crashing(1, 127)), two, nil},
		{"exit without error", "E0330", program("job", crashing(1, 0)), waiting("job"), nil},
		{"exit before ready", "E0330", program("job", crashing(1, 1)), ServiceConfig{Image: Image{Ref: "job"}}, notReady},
		{"killed by signal", "E0330", altered{Backend: newPrivate(memory.Options{}), exit: &backend.Exit{Code: 139, Signal: 11, At: time.Unix(1, 0)}}, limited, nil},
		{"out of memory", "E0331", altered{Backend: newPrivate(memory.Options{}), exit: &backend.Exit{Code: 137, Signal: 9, OOM: true, At: time.Unix(1, 0)}}, limited, nil},
		{"out of memory without limit", "E0331", altered{Backend: newPrivate(memory.Options{}), exit: &backend.Exit{Code: 137, Signal: 9, OOM: true, At: time.Unix(1, 0)}}, unlimited, nil},
		{"other port", "E0332", newPrivate(memory.Options{}), server("9090", map[string]Port{"http": tcp(8080, 2*time.Minute)}), nil},
		{"other ports", "E0332", newPrivate(memory.Options{}), server("9090 9091 53/udp", map[string]Port{"http": tcp(8080, 10*time.Second)}), nil},
		{"no port", "E0332", newPrivate(memory.Options{}), silent, nil},
		{"loopback only", "E0332", altered{Backend: newPrivate(memory.Options{}), inspect: sockets("127.0.0.1:8080", "0.0.0.0:9000")}, silent, nil},
		{"ports unknown", "E0332", altered{Backend: newPrivate(memory.Options{}), inspect: func(s *backend.Status) { s.Listening = nil }}, silent, nil},
		{"never ready", "E0601", newPrivate(memory.Options{}), server("80", map[string]Port{"http": tcp(80, time.Second)}), notReady},
		{"command not found", "E0498", altered{Backend: newPrivate(memory.Options{}), start: notFound}, idle(), nil},
		{"disk full", "E0338", altered{Backend: newPrivate(memory.Options{}), start: fmt.Errorf("write upper/etc/hosts: %w", syscall.ENOSPC)}, idle(), nil},
		{"plain start error", "E0333", altered{Backend: newPrivate(memory.Options{}), start: errors.New("clone: operation not permitted")}, idle(), nil},
		{"unknown artifact", "E0355", newPrivate(memory.Options{}), artifact, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newTestEnclave(t, test.backend)
				_, err := e.AddService(t.Context(), "db", test.config, AddOptions{Ready: test.ready})
				wantCode(t, err, test.code)
				golden(t, "failures/"+strings.ReplaceAll(test.name, " ", "-")+".txt", text(err))
				if test.code == "E0355" {
					return // refused before anything was touched
				}
				s, err2 := e.Inspect(t.Context(), "db")
				if err2 != nil {
					t.Fatalf("a failed service stays for inspection: %v", err2)
				}
				if s.Failure == nil || s.Failure.Summary != fault.From(err, "").Summary || s.Starting {
					t.Errorf("its failure is %+v", s.Failure)
				}
			})
		})
	}
}

func TestFailureOfABatchNamesAllAndRollsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := func(ctx context.Context, p *memory.Proc) int {
			time.Sleep(time.Second) // of the bubble: by then the others have begun
			return crashing(2, 4)(ctx, p)
		}
		e := newTestEnclave(t, program("job", late))
		old := mustAdd(t, e, "old", idle())
		bad := ServiceConfig{Image: Image{Ref: "job"}, Ports: map[string]Port{"pg": tcp(5432, time.Minute)}}
		closed := server("7000", map[string]Port{"http": tcp(8080, 5*time.Second)})
		_, err := e.AddServices(t.Context(), []NamedConfig{
			{"old", idle()}, {"good", idle()}, {"closed", closed}, {"bad", bad},
		}, AddOptions{Parallelism: 2})
		wantCode(t, err, "E0335")
		// Which of those that start together gets which address is not said.
		anyAddress := strings.NewReplacer("172.16.0.3", "172.16.0.4", "172.16.0.5", "172.16.0.4")
		golden(t, "failures/batch.txt", anyAddress.Replace(text(err)))
		left := e.Services()
		if len(left) != 1 || left[0].Name != "old" || left[0].UUID != old.UUID || left[0].Failure != nil {
			t.Errorf("left are %+v", left)
		}
		if history, _ := e.ServiceHistory(); len(history) != 1 {
			t.Errorf("history has %v; what was rolled back never was", history)
		}
		held, _ := mustOpen(t, e).Services(t.Context())
		if !slices.Equal(held, []backend.ServiceName{"old"}) {
			t.Errorf("the backend holds %v", held)
		}
		_, err = e.AddServices(t.Context(), []NamedConfig{{"good", idle()}, {"bad", bad}}, AddOptions{Parallelism: 1})
		f := wantCode(t, err, "E0330")
		if !strings.HasPrefix(f.Summary, `service "bad" exited with code 4`) {
			t.Errorf("one failure is told as itself, not as %q", f.Summary)
		}
	})
}

func TestPanicInAStartFailsTheServiceOnly(t *testing.T) {
	e := newTestEnclave(t, memory.New(memory.Options{}))
	broken := func(context.Context, *Service) error { panic("broken recipe") }
	_, err := e.AddServices(t.Context(), []NamedConfig{{"a", idle()}, {"b", idle()}}, AddOptions{Ready: broken, Parallelism: 1})
	wantCode(t, err, "E0335")
	_, err = e.AddService(t.Context(), "a", idle(), AddOptions{Ready: broken})
	if f := wantCode(t, err, "E0001"); f.Summary != `internal error in the start of service "a": broken recipe` {
		t.Error(f.Summary)
	}
	mustAdd(t, e, "b", idle())
}

func mustOpen(t testing.TB, e *Enclave) backend.Enclave {
	t.Helper()
	h, err := e.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestCancelledAddLeavesNothingHalfMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newTestEnclave(t, newPrivate(memory.Options{}))
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(3*time.Second, func() { cancel(errors.New("interrupted by the user")) })
		_, err := e.AddService(ctx, "db", server("1", map[string]Port{"pg": tcp(5432, time.Minute)}), AddOptions{})
		wantCode(t, err, "E0337")
		if got := err.Error(); got != `the start of service "db" was cancelled: interrupted by the user` {
			t.Error(got)
		}
		if n := len(e.Services()); n != 0 {
			t.Errorf("%d services are left", n)
		}
		if held, _ := mustOpen(t, e).Services(t.Context()); len(held) != 0 {
			t.Errorf("the backend holds %v", held)
		}
	})
}

func TestCancelledReplacementKeepsTheOldService(t *testing.T) {
	e := newTestEnclave(t, newPrivate(memory.Options{}))
	old := mustAdd(t, e, "db", idle())
	ctx, cancel := context.WithCancelCause(t.Context())
	additions, err := e.intend(ctx, mustOpen(t, e), []NamedConfig{{"db", server("80", nil)}})
	if err != nil {
		t.Fatal(err)
	}
	cancel(errors.New("interrupted"))
	e.work(ctx, mustOpen(t, e), additions, AddOptions{}, false)
	wantCode(t, e.conclude(ctx, mustOpen(t, e), additions, AddOptions{}, false), "E0337")
	s, err := e.Inspect(t.Context(), "db")
	if err != nil || s.UUID != old.UUID || s.Status != ServiceRunning || s.Config.Image.Ref != "pause" || s.Starting {
		t.Errorf("the service is %+v, %v", s, err)
	}
}

func TestPortIsNoticedWithinMilliseconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := func(ctx context.Context, p *memory.Proc) int {
			time.Sleep(40 * time.Millisecond)
			l, err := p.Listen(80)
			if err != nil {
				return 1
			}
			defer context.AfterFunc(ctx, func() { l.Close() })()
			for {
				c, err := l.Accept()
				if err != nil {
					return 0
				}
				c.Close()
			}
		}
		e := newTestEnclave(t, program("late", late))
		began := time.Now()
		var told []string
		config := ServiceConfig{Image: Image{Ref: "late"}, Ports: map[string]Port{"http": tcp(80, time.Minute)}}
		_, err := e.AddService(t.Context(), "web", config, AddOptions{Progress: func(text string) { told = append(told, text) }})
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 80*time.Millisecond {
			t.Errorf("a port that opens after 40 ms is noticed after %v", took)
		}
		if len(told) > 0 {
			t.Errorf("progress of a short wait: %v", told)
		}
	})
}
