package supervise_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/backendtest/bounds"
	"github.com/lepto-dev/lepto/internal/fault"
)

func TestExec(t *testing.T) {
	s := spec(t, "sleep 1000")
	s.Env, s.User, s.Cwd = []string{"A=own", "B=own"}, "guest", "/srv"
	h := start(t, s)
	cases := []struct {
		name string
		spec backend.ExecSpec
		out  string
		errs string
		code int
	}{
		{"output", backend.ExecSpec{Args: []string{"sh", "-c", "echo o; echo e >&2"}}, "o\n", "e\n", 0},
		{"code", backend.ExecSpec{Args: []string{"sh", "-c", "exit 42"}}, "", "", 42},
		{"signal", backend.ExecSpec{Args: []string{"sh", "-c", "kill -15 $$"}}, "", "", 143},
		{"inherits", backend.ExecSpec{Args: []string{"sh", "-c", "echo $A $B $HOME $HOSTNAME; id -u; pwd"}}, "own own /home/guest box\n1000\n/srv\n", "", 0},
		{"overrides", backend.ExecSpec{Args: []string{"sh", "-c", "echo $A $B $HOME; id -u; pwd"}, Env: map[string]string{"B": "new"}, User: "root", WorkDir: "/tmp"}, "own new /root\n0\n/tmp\n", "", 0},
		{"stdin", backend.ExecSpec{Args: []string{"cat"}, Stdin: strings.NewReader("typed")}, "typed", "", 0},
		{"no stdin", backend.ExecSpec{Args: []string{"cat"}}, "", "", 0},
		{"stdin unread", backend.ExecSpec{Args: []string{"true"}, Stdin: strings.NewReader(strings.Repeat("x", 1<<20))}, "", "", 0},
		{"not found", backend.ExecSpec{Args: []string{"nothing"}}, "", "command \"nothing\" not found in the image's PATH\n", 127},
		{"not executable", backend.ExecSpec{Args: []string{"/etc/passwd"}}, "", "command \"/etc/passwd\" can't be executed: permission denied\n", 126},
		{"background", backend.ExecSpec{Args: []string{"sh", "-c", "sleep 1000 & echo back"}}, "back\n", "", 0},
		{"confined", backend.ExecSpec{Args: []string{"grep", "-E", "CapEff|Seccomp:", "/proc/self/status"}, User: "root"}, "CapEff:\t00000000a80425fb\nSeccomp:\t2\n", "", 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			c.spec.Stdout, c.spec.Stderr = &out, &errs
			code, err := h.Exec(t.Context(), c.spec)
			must(t, err)
			if code != c.code || out.String() != c.out || errs.String() != c.errs {
				t.Errorf("code %d, stdout %q, stderr %q", code, out.String(), errs.String())
			}
		})
	}
	var f *fault.Fault
	if _, err := h.Exec(t.Context(), backend.ExecSpec{Args: []string{"id"}, User: "who"}); !errors.As(err, &f) || f.Code != "E0404" {
		t.Errorf("unknown user: %v", err)
	}
	if _, err := h.Exec(t.Context(), backend.ExecSpec{Args: []string{"id"}, WorkDir: "/none"}); !errors.As(err, &f) || f.Code != "E0405" {
		t.Errorf("missing directory: %v", err)
	}
	must(t, h.Kill(t.Context()))
	if _, err := h.Exec(t.Context(), backend.ExecSpec{Args: []string{"id"}}); !errors.Is(err, fault.ErrNotRunning) {
		t.Errorf("exec after the end: %v", err)
	}
}

func TestExecOneOrderedStream(t *testing.T) {
	h := start(t, spec(t, "sleep 1000"))
	var both bytes.Buffer
	_, err := h.Exec(t.Context(), backend.ExecSpec{
		Args:   []string{"sh", "-c", "for i in 1 2 3 4 5 6 7 8; do echo o$i; echo e$i >&2; done"},
		Stdout: &both, Stderr: &both,
	})
	must(t, err)
	if want := "o1\ne1\no2\ne2\no3\ne3\no4\ne4\no5\ne5\no6\ne6\no7\ne7\no8\ne8\n"; both.String() != want {
		t.Errorf("output = %q", both.String())
	}
}

func TestExecLargeOutputIsComplete(t *testing.T) {
	h := start(t, spec(t, "sleep 1000"))
	var out bytes.Buffer
	_, err := h.Exec(t.Context(), backend.ExecSpec{Args: []string{"seq", "500000"}, Stdout: &out})
	must(t, err)
	if n := bytes.Count(out.Bytes(), []byte("\n")); n != 500000 || !strings.HasSuffix(out.String(), "\n500000\n") {
		t.Errorf("%d lines", n)
	}
}

func TestCancelledExecIsKilled(t *testing.T) {
	h := start(t, spec(t, "sleep 1000"))
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough of it")
	r, w := io.Pipe()
	go func() {
		r.Read(make([]byte, 1))
		cancel(why)
		io.Copy(io.Discard, r)
	}()
	_, err := h.Exec(ctx, backend.ExecSpec{Args: []string{"sh", "-c", "sleep 4321 & echo; sleep 4321"}, Stdout: w})
	if !errors.Is(err, why) {
		t.Errorf("error = %v", err)
	}
	eventually(t, "its processes end", func() bool {
		out, _ := output(t, h, "ps", "-o", "args")
		return !strings.Contains(out, "sleep 4321")
	})
}

func TestExecTerminal(t *testing.T) {
	h := start(t, spec(t, "sleep 1000"))
	out := &lockedBuffer{}
	typed, typing := io.Pipe()
	p, err := h.Attach(t.Context(), backend.ExecSpec{
		Args: []string{"sh"}, TTY: true, Cols: 100, Rows: 30, Stdin: typed, Stdout: out,
	})
	must(t, err)
	say := func(text, want string) {
		t.Helper()
		io.WriteString(typing, text+"\n")
		eventually(t, want, func() bool { return strings.Contains(out.String(), want) })
	}
	say("tty; stty size", "/dev/pts/0\r\n30 100\r\n")
	must(t, p.Resize(60, 20))
	say("stty size", "20 60\r\n")
	say("echo $TERM; id -u", "xterm\r\n0\r\n")
	io.WriteString(typing, "sleep 4321\n")
	eventually(t, "sleep", func() bool {
		out, _ := output(t, h, "ps", "-o", "args")
		return strings.Contains(out, "sleep 4321")
	})
	io.WriteString(typing, "\x03") // Ctrl-C
	say("echo again$((1+1))", "again2")
	io.WriteString(typing, "exit 17\n")
	code, err := p.Wait()
	must(t, err)
	if code != 17 {
		t.Errorf("code = %d", code)
	}
}

func TestAttachSignals(t *testing.T) {
	h := start(t, spec(t, "sleep 1000"))
	out := &lockedBuffer{}
	p, err := h.Attach(t.Context(), backend.ExecSpec{
		Args: []string{"sh", "-c", "trap 'exit 12' USR1; echo ready; while :; do sleep 0.02; done"}, Stdout: out,
	})
	must(t, err)
	eventually(t, "ready", func() bool { return out.String() != "" })
	must(t, p.Signal(10))
	code, err := p.Wait()
	must(t, err)
	if code != 12 {
		t.Errorf("code = %d", code)
	}
}

func TestContainerTerminal(t *testing.T) {
	for _, noInit := range []bool{false, true} {
		s := spec(t, "tty; echo to stderr >&2; stty size; exit 8")
		s.TTY, s.NoInit = true, noInit
		exit, out := run(t, s)
		if exit.Code != 8 || !strings.HasPrefix(out, "/dev/") || !strings.HasSuffix(out, "\nto stderr\n24 80\n") {
			t.Errorf("noInit %v: exit %+v, output %q", noInit, exit, out)
		}
	}
}

func TestManyExecsAtOnce(t *testing.T) {
	h := start(t, spec(t, "sleep 1000"))
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			code, err := h.Exec(t.Context(), backend.ExecSpec{Args: []string{"sh", "-c", "exit " + string(rune('0'+i%10))}})
			if err != nil || code != i%10 {
				t.Errorf("exec %d: %d, %v", i, code, err)
			}
		})
	}
	wg.Wait()
}

// TestExecLatency prints what one exec costs; it fails only where that is out
// of all proportion, since the machine may be busy.
func TestExecLatency(t *testing.T) {
	h := start(t, spec(t, "sleep 1000"))
	var took []time.Duration
	for range 31 {
		began := time.Now()
		_, err := h.Exec(t.Context(), backend.ExecSpec{Args: []string{"/bin/true"}})
		must(t, err)
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	t.Logf("exec of true: median %s, least %s, most %s", took[15], took[0], took[30])
	if took[15] > bounds.Wide(500*time.Millisecond) {
		t.Errorf("median of an exec is %s", took[15])
	}
}

func TestSupervisorStaysSmall(t *testing.T) {
	h := start(t, spec(t, "while :; do echo tick; sleep 0.2; done"))
	rss := func() int {
		state, err := h.State(t.Context())
		must(t, err)
		return residentKB(t, state.SupervisorPID)
	}
	t.Logf("after the start: %d kB", rss())
	eventually(t, "at most 4.5 MB after the start", func() bool { return rss() <= 4500 })
	t.Logf("soon after: %d kB", rss())
	for range 5 {
		output(t, h, "true")
	}
	t.Logf("after five execs: %d kB", rss())
	eventually(t, "at most 4.5 MB after execs", func() bool { return rss() <= 4500 })
	t.Logf("soon after: %d kB", rss())
}

// lockedBuffer is a buffer that one goroutine fills and another reads.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
