package supervise_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/fault"
)

// sh runs a script in a container and gives its output.
func sh(t *testing.T, h *supervise.Handle, script string) string {
	t.Helper()
	var out bytes.Buffer
	_, err := h.Exec(t.Context(), backend.ExecSpec{Args: []string{"sh", "-c", script}, Stdout: &out, Stderr: &out})
	must(t, err)
	return out.String()
}

// held describes a container that holds.
func held(t *testing.T) supervise.Spec {
	s := spec(t, "true")
	s.Hold, s.Env = true, []string{"SECRET=first"}
	s.Mounts = []supervise.Mount{{Path: "/data", Lower: []string{t.TempDir()}}}
	return s
}

// One supervisor has a container after another: nothing of the first is left for
// the second, and nothing of either for the host.
func TestEmptyAndFill(t *testing.T) {
	s := held(t)
	h := start(t, s)
	sh(t, h, "echo x > /tmp/mine; echo x > /data/mine; mkdir /dev/shm/mine; hostname; sleep 1000 & echo begun")
	log, err := h.LogTo(backend.Stdout)
	must(t, err)
	_, err = log.Write([]byte("logged\n"))
	must(t, err)
	must(t, log.Close())
	before, err := h.State(t.Context())
	must(t, err)
	must(t, h.Empty(t.Context()))
	entries, err := os.ReadDir(s.Dir)
	must(t, err)
	for _, e := range entries {
		if name := e.Name(); !supervise.Stays(name) && name != "init" {
			t.Errorf("%s is left of the container", name)
		}
	}
	if found, _ := filepath.Glob("/sys/fs/cgroup/*/" + s.CgroupName); len(found) > 0 {
		t.Errorf("cgroups left: %v", found)
	}
	next := s
	next.ID, next.Env, next.Hostname, next.User, next.Mounts = s.ID+"b", []string{"OTHER=second"}, "second", "guest", nil
	must(t, h.Fill(t.Context(), next))
	got := sh(t, h, "cat /tmp/mine /data/mine 2>/dev/null; ls /dev/shm; echo [$SECRET] $OTHER; hostname; id -u; ps | grep -c '[s]leep'")
	if want := "[] second\nsecond\n1000\n0\n"; got != want {
		t.Errorf("the second container sees %q, want %q", got, want)
	}
	if left := text(t, h); left != "" {
		t.Errorf("the second has the log of the first: %q", left)
	}
	after, err := h.State(t.Context())
	must(t, err)
	if after.SupervisorPID != before.SupervisorPID || after.PID == before.PID || !after.Running() {
		t.Errorf("was %+v, is %+v", before, after)
	}
	// Again, and once more: it is no matter of the first time.
	for range 3 {
		must(t, h.Empty(t.Context()))
		must(t, h.Fill(t.Context(), next))
	}
	if got := sh(t, h, "echo well"); got != "well\n" {
		t.Errorf("got %q", got)
	}
}

func TestEmptyRefused(t *testing.T) {
	s := spec(t, "sleep 1000")
	h := start(t, s)
	if err := h.Empty(t.Context()); !errors.Is(err, fault.ErrNotRunning) {
		t.Errorf("a container with a command of its own: %v", err)
	}
	if state, err := h.State(t.Context()); err != nil || !state.Running() {
		t.Errorf("it is %+v, %v", state, err)
	}
}

// A start that fails in a vacant place leaves what any failed start does; and so
// does the death of a supervisor that waits.
func TestFillFails(t *testing.T) {
	t.Run("no such user", func(t *testing.T) {
		s := held(t)
		h := start(t, s)
		must(t, h.Empty(t.Context()))
		s.User = "nobody-knows"
		var f *fault.Fault
		if err := h.Fill(t.Context(), s); !errors.As(err, &f) || f.Code != supervise.CodeUser {
			t.Errorf("got %v", err)
		}
		if err := h.Fill(t.Context(), s); !errors.Is(err, fault.ErrUnavailable) {
			t.Errorf("a second time: %v", err)
		}
	})
	t.Run("the supervisor is killed", func(t *testing.T) {
		s := held(t)
		h := start(t, s)
		must(t, h.Empty(t.Context()))
		state, err := supervise.ReadState(s.Dir)
		must(t, err)
		must(t, unix.Kill(state.SupervisorPID, unix.SIGKILL))
		if err := h.Fill(t.Context(), s); !errors.Is(err, fault.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("destroyed while vacant", func(t *testing.T) {
		s := held(t)
		h := start(t, s)
		must(t, h.Empty(t.Context()))
		must(t, h.Destroy(t.Context()))
		if err := h.Fill(t.Context(), s); !errors.Is(err, fault.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
	})
}

// A supervisor that has taken over has not mounted the root itself.
func TestEmptyAfterTakeOver(t *testing.T) {
	s := held(t)
	h := start(t, s)
	sh(t, h, "echo x > /tmp/mine")
	state, err := h.State(t.Context())
	must(t, err)
	must(t, unix.Kill(state.SupervisorPID, unix.SIGKILL))
	eventually(t, "the supervisor has ended", func() bool { return unix.Kill(state.SupervisorPID, 0) != nil })
	h, err = launcher.Adopt(t.Context(), s.Dir)
	must(t, err)
	must(t, h.Empty(t.Context()))
	must(t, h.Fill(t.Context(), s))
	if got := sh(t, h, "ls /tmp"); slices.Contains(strings.Fields(got), "mine") {
		t.Errorf("got %q", got)
	}
}
