package supervise_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/fault"
)

// killSupervisor ends a container's supervisor as a crash would.
func killSupervisor(t testing.TB, dir string) {
	t.Helper()
	state, err := supervise.ReadState(dir)
	must(t, err)
	if err := syscall.Kill(state.SupervisorPID, syscall.SIGKILL); !errors.Is(err, syscall.ESRCH) { // it ends with its container
		must(t, err)
	}
	// Not by its lock: an heir may have it at once.
	eventually(t, "the supervisor is gone", func() bool {
		return errors.Is(syscall.Kill(state.SupervisorPID, 0), syscall.ESRCH)
	})
}

// exitCodesAreKept reports whether the kernel tells how a process ended after its
// parent has collected it: from Linux 6.15 on.
func exitCodesAreKept(t *testing.T) bool {
	t.Helper()
	var name unix.Utsname
	must(t, unix.Uname(&name))
	var major, minor int
	_, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor)
	must(t, err)
	return major > 6 || major == 6 && minor >= 15
}

// TestExecWhileItsSupervisorDies: a supervisor that was killed but is not gone
// yet takes connections and reads nothing.
func TestExecWhileItsSupervisorDies(t *testing.T) {
	s := spec(t, "sleep 1000")
	h := start(t, s)
	state, err := supervise.ReadState(s.Dir)
	must(t, err)
	must(t, syscall.Kill(state.SupervisorPID, syscall.SIGSTOP))
	t.Cleanup(func() { _ = syscall.Kill(state.SupervisorPID, syscall.SIGKILL) }) // stopped, it would hold up the end
	eventually(t, "the supervisor stands still", func() bool { return stopped(t, state.SupervisorPID) })
	// Input is read once there is a connection.
	connected := make(chan struct{})
	var out strings.Builder
	exec := backend.ExecSpec{Args: []string{"sh", "-c", "cat; echo $$ >> /tmp/runs; wc -l < /tmp/runs"}, Stdout: &out,
		Stdin: io.MultiReader(readerFunc(func([]byte) (int, error) { close(connected); return 0, io.EOF }), strings.NewReader("typed\n"))}
	failed := make(chan error, 1)
	go func() {
		code, err := h.Exec(t.Context(), exec)
		if code != 0 {
			err = fmt.Errorf("exit code %d, %w", code, err)
		}
		failed <- err
	}()
	<-connected
	must(t, syscall.Kill(state.SupervisorPID, syscall.SIGKILL))
	if err := <-failed; err != nil || out.String() != "typed\n1\n" {
		t.Errorf("output %q, %v", out.String(), err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// stopped reports whether all threads of a process are.
func stopped(t *testing.T, pid int) bool {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	must(t, err)
	for _, thread := range threads {
		data, _ := os.ReadFile(thread) // ended meanwhile
		if _, state, found := strings.Cut(string(data), ") "); found && !strings.HasPrefix(state, "T") {
			return false
		}
	}
	return len(threads) > 0
}

// TestASupervisorAskedToEndGoesWithItsContainer: a host that goes down asks all
// processes to end, and waits for them. What a service prints then is more than
// a pipe holds.
func TestASupervisorAskedToEndGoesWithItsContainer(t *testing.T) {
	s := spec(t, "trap 'seq 1 20000; exit 7' TERM; echo up; while :; do sleep 0.01; done")
	s.RestartAlways = true
	h := start(t, s)
	eventually(t, "output", func() bool { return text(t, h) == "up\n" })
	before, err := supervise.ReadState(s.Dir)
	must(t, err)
	must(t, syscall.Kill(before.SupervisorPID, syscall.SIGTERM))
	must(t, syscall.Kill(before.PID, syscall.SIGTERM))
	for what, pid := range map[string]int{"supervisor": before.SupervisorPID, "init": before.PID} {
		eventually(t, what+" has ended", func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) })
	}
	after, err := supervise.ReadState(s.Dir)
	must(t, err)
	if after.Phase != supervise.PhaseRunning || after.PID != before.PID {
		t.Errorf("state = %+v, before %+v", after, before)
	}
	if exit, known := supervise.ReadExit(s.Dir); !known || exit.Code != 7 {
		t.Errorf("exit = %+v, known %v", exit, known)
	}
	h, err = launcher.Adopt(t.Context(), s.Dir)
	must(t, err)
	eventually(t, "it runs again", func() bool { return strings.HasSuffix(text(t, h), "20000\nup\n") })
}

func TestAdoptRunning(t *testing.T) {
	for _, noInit := range []bool{false, true} {
		t.Run(fmt.Sprintf("noInit=%v", noInit), func(t *testing.T) {
			s := spec(t, "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo line $i; sleep 0.005; done; echo end; exit 23")
			s.NoInit = noInit
			h := start(t, s)
			eventually(t, "output", func() bool { return strings.Contains(text(t, h), "line 3\n") })
			before, err := h.State(t.Context())
			must(t, err)
			killSupervisor(t, s.Dir)
			h, err = launcher.Adopt(t.Context(), s.Dir)
			must(t, err)
			state, err := h.State(t.Context())
			must(t, err)
			if state.Phase != supervise.PhaseRunning || state.PID != before.PID || state.SupervisorPID == before.SupervisorPID {
				t.Errorf("state = %+v, before %+v", state, before)
			}
			if out, code := output(t, h, "echo", "still here"); out != "still here\n" || code != 0 {
				t.Errorf("exec: %q, %d", out, code)
			}
			exit, err := h.Wait(t.Context())
			must(t, err)
			lost := noInit && exit.Code == 137 && !exitCodesAreKept(t)
			if exit.Code != 23 && !lost {
				t.Errorf("exit = %+v", exit)
			}
			var want strings.Builder
			for i := range 300 {
				fmt.Fprintf(&want, "line %d\n", i+1)
			}
			if got := text(t, h); got != want.String()+"end\n" {
				t.Errorf("output is not complete: %d bytes of %d", len(got), want.Len()+4)
			}
		})
	}
}

// logSize is how much is stored of a container's output.
func logSize(t *testing.T, dir string) (sum int64) {
	t.Helper()
	segments, err := supervise.Segments(dir)
	must(t, err)
	for _, name := range segments {
		info, err := os.Stat(name)
		must(t, err)
		sum += info.Size()
	}
	return sum
}

// A supervisor may be killed at any moment: with what it has read in its hands,
// with half a line, with a record half written, while it begins a segment.
func TestKillsLoseNoOutput(t *testing.T) {
	const blocks, lines = 150, 1000
	script := fmt.Sprintf(`i=0
while [ $i -lt %d ]; do
	seq $((i*%[2]d+1)) $((i*%[2]d+%[2]d)); printf $i... >&2; sleep 0.005; echo done >&2
	i=$((i+1))
done`, blocks, lines)
	for _, tty := range []bool{false, true} {
		t.Run(fmt.Sprintf("tty=%v", tty), func(t *testing.T) {
			s := spec(t, script)
			s.TTY, s.LogBudget = tty, 64<<20
			if tty {
				s.Args[2] = strings.ReplaceAll(script, ">&2", ">/dev/null")
			}
			h := start(t, s)
			kills := 0
			for ; ; kills++ {
				state, err := h.State(t.Context())
				must(t, err)
				if !state.Running() {
					break
				}
				killSupervisor(t, s.Dir)
				h, err = launcher.Adopt(t.Context(), s.Dir)
				must(t, err)
				// Let it get somewhere: some of what comes now.
				since := logSize(t, s.Dir)
				eventually(t, "more output", func() bool {
					now, err := h.State(t.Context())
					must(t, err)
					return logSize(t, s.Dir) > since || !now.Running()
				})
			}
			if kills < 5 {
				t.Fatalf("%d kills only", kills)
			}
			out, stderr := 0, 0
			for line, err := range h.Logs(t.Context(), backend.LogQuery{Tail: -1}) {
				must(t, err)
				want := fmt.Sprint(out + 1)
				if line.Stream == backend.Stderr {
					want = fmt.Sprintf("%d...done", stderr)
					stderr++
				} else {
					out++
				}
				if line.Text != want {
					t.Fatalf("after %d lines: %q, want %q", out, line.Text, want)
				}
			}
			if out != blocks*lines || !tty && stderr != blocks {
				t.Errorf("%d and %d lines after %d kills", out, stderr, kills)
			}
			t.Logf("%d kills", kills)
		})
	}
}

func TestAdoptEndedMeanwhile(t *testing.T) {
	s := spec(t, "sleep 1000 & echo first; while [ ! -e /go ]; do sleep 0.01; done; echo last; exit 9")
	h := start(t, s)
	eventually(t, "output", func() bool { return text(t, h) == "first\n" })
	state, err := h.State(t.Context())
	must(t, err)
	killSupervisor(t, s.Dir)
	must(t, os.WriteFile(fmt.Sprintf("/proc/%d/root/go", state.PID), nil, 0o644))
	eventually(t, "the exit file", func() bool { _, ok := supervise.ReadExit(s.Dir); return ok })
	h, err = launcher.Adopt(t.Context(), s.Dir)
	must(t, err)
	exit, err := h.Wait(t.Context())
	must(t, err)
	if exit.Code != 9 || text(t, h) != "first\nlast\n" {
		t.Errorf("exit %+v, output %q", exit, text(t, h))
	}
}

func TestAdoptKilledMeanwhile(t *testing.T) {
	s := spec(t, "sleep 1000")
	h := start(t, s)
	state, err := h.State(t.Context())
	must(t, err)
	killSupervisor(t, s.Dir)
	must(t, syscall.Kill(state.PID, syscall.SIGKILL))
	exit, err := h.Wait(t.Context())
	must(t, err)
	if exit.Code != 137 {
		t.Errorf("exit = %+v", exit)
	}
}

func TestAdoptAtOnceStartsOneSupervisor(t *testing.T) {
	s := spec(t, "sleep 1000")
	start(t, s)
	killSupervisor(t, s.Dir)
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			h, err := launcher.Adopt(t.Context(), s.Dir)
			if err != nil {
				t.Error(err)
				return
			}
			if state, err := h.State(t.Context()); err != nil || state.Phase != supervise.PhaseRunning {
				t.Errorf("state %+v, %v", state, err)
			}
		})
	}
	wg.Wait()
	n := 0
	eventually(t, "one supervisor", func() bool {
		n = 0
		procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, p := range procs {
			if data, err := os.ReadFile(p); err == nil && strings.Contains(string(data), "supervisor\x00") && strings.Contains(string(data), s.Dir) {
				n++
			}
		}
		return n == 1
	})
}

func TestEveryMethodSurvivesTheSupervisor(t *testing.T) {
	s := spec(t, "trap 'exit 3' TERM; echo x; while :; do sleep 0.02; done")
	h := start(t, s)
	eventually(t, "output", func() bool { return text(t, h) == "x\n" })
	killSupervisor(t, s.Dir)
	must(t, h.Pause(t.Context()))
	killSupervisor(t, s.Dir)
	state, err := h.State(t.Context())
	must(t, err)
	if state.Phase != supervise.PhasePaused {
		t.Errorf("phase = %s", state.Phase)
	}
	must(t, h.Unpause(t.Context()))
	killSupervisor(t, s.Dir)
	if out, _ := output(t, h, "echo", "hi"); out != "hi\n" {
		t.Errorf("exec: %q", out)
	}
	killSupervisor(t, s.Dir)
	exit, err := h.Stop(t.Context(), 10*time.Second)
	must(t, err)
	if exit.Code != 3 {
		t.Errorf("exit = %+v", exit)
	}
}

func TestWaitSurvivesTheSupervisor(t *testing.T) {
	s := spec(t, "while [ ! -e /go ]; do sleep 0.01; done; exit 4")
	h := start(t, s)
	state, err := h.State(t.Context())
	must(t, err)
	var code int
	var wg sync.WaitGroup
	wg.Go(func() {
		exit, err := h.Wait(t.Context())
		if err != nil {
			t.Error(err)
		}
		code = exit.Code
	})
	killSupervisor(t, s.Dir)
	eventually(t, "an heir", func() bool {
		now, err := supervise.ReadState(s.Dir)
		return err == nil && now.SupervisorPID != state.SupervisorPID
	})
	must(t, os.WriteFile(fmt.Sprintf("/proc/%d/root/go", state.PID), nil, 0o644))
	wg.Wait()
	if code != 4 {
		t.Errorf("code = %d", code)
	}
}

func TestRestartAlwaysAfterAdoption(t *testing.T) {
	s := spec(t, "echo run; sleep 1000")
	s.RestartAlways = true
	start(t, s)
	killSupervisor(t, s.Dir)
	h, err := launcher.Adopt(t.Context(), s.Dir)
	must(t, err)
	state, err := h.State(t.Context())
	must(t, err)
	must(t, syscall.Kill(state.PID, syscall.SIGKILL))
	eventually(t, "a second run", func() bool {
		now, err := h.State(t.Context())
		return err == nil && now.Phase == supervise.PhaseRunning && now.Restarts == 1 && now.PID != state.PID
	})
}

// TestKilledAtAnyPointOfAStart kills the supervisor while it starts a
// container: Adopt then finds it running, or failed with nothing left.
func TestKilledAtAnyPointOfAStart(t *testing.T) {
	for range 12 {
		s := spec(t, "sleep 1000")
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { launcher.Start(ctx, s) })
		eventually(t, "a state", func() bool { _, err := supervise.ReadState(s.Dir); return err == nil })
		time.Sleep(rand.N(60 * time.Millisecond)) // any point of the start
		killSupervisor(t, s.Dir)
		wg.Wait()
		cancel()
		h, err := launcher.Adopt(t.Context(), s.Dir)
		must(t, err)
		state, err := h.State(t.Context())
		must(t, err)
		switch state.Phase {
		case supervise.PhaseRunning:
			if out, _ := output(t, h, "echo", "hi"); out != "hi\n" {
				t.Errorf("exec: %q", out)
			}
			must(t, h.Destroy(t.Context()))
		case supervise.PhaseFailed:
		default:
			t.Errorf("phase = %s", state.Phase)
		}
		checkGone(t, s)
	}
}

func TestAdoptUnknown(t *testing.T) {
	if _, err := launcher.Adopt(t.Context(), t.TempDir()); !errors.Is(err, fault.ErrNotFound) {
		t.Errorf("error = %v", err)
	}
}
