package native

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/network/netspace"
	"github.com/lepto-dev/lepto/internal/fault"
)

// task starts a service that holds.
func (s *stage) task(name backend.ServiceName) {
	s.Helper()
	task := spec(name, "wait")
	task.Hold = true
	s.must(s.e.Start(s.Context(), task))
}

func (s *stage) steps(name backend.ServiceName, steps string) (int, string) {
	s.Helper()
	var out bytes.Buffer
	code, err := s.e.Exec(s.Context(), name, backend.ExecSpec{Args: append([]string{"probe"}, strings.Fields(steps)...), Stdout: &out, Stderr: &out})
	s.must(err)
	return code, strings.TrimSpace(out.String())
}

// supervisors counts what lives in numbered places.
func (s *stage) supervisors() (pids []int) {
	dirs, _ := filepath.Glob(filepath.Join(s.e.dir, containersDir, placePrefix+"*"))
	for _, dir := range dirs {
		if pid := supervisorOf(dir); pid != 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (s *stage) release(release func() error) {
	s.Helper()
	s.must(release())
	left, err := os.ReadDir(filepath.Join(s.e.dir, containersDir))
	s.must(err)
	for _, entry := range left {
		s.Errorf("%s is left after the release", entry.Name())
	}
	if len(s.e.doc.Addresses) > 0 {
		s.Errorf("addresses left: %v", s.e.doc.Addresses)
	}
}

func (s *stage) warm() (release func() error) {
	free := s.e.KeepWarm()
	return func() error { return free(s.Context()) }
}

func TestTasksUseOnePlace(t *testing.T) {
	s := newStage(t)
	release := s.warm()
	s.task("first")
	at := s.inspect(s.e, "first").Address
	s.steps("first", "write /tmp/note x")
	before := s.supervisors()
	s.must(s.e.Remove(t.Context(), "first"))
	if names, err := s.e.Services(t.Context()); err != nil || len(names) > 0 {
		t.Errorf("services %v, %v", names, err)
	}
	if _, err := s.e.Inspect(t.Context(), "first"); !errors.Is(err, fault.ErrNotFound) {
		t.Errorf("inspect: %v", err)
	}
	s.task("second")
	if after := s.supervisors(); len(before) != 1 || len(after) != 1 || before[0] != after[0] {
		t.Errorf("supervisors %v, then %v", before, after)
	}
	if got := s.inspect(s.e, "second").Address; got != at {
		t.Errorf("at %v, the first was at %v", got, at)
	}
	if code, _ := s.steps("second", "read /tmp/note"); code == 0 {
		t.Error("a task sees an earlier one's file")
	}
	if _, got := s.steps("second", "hostname"); got != "second" {
		t.Errorf("its name is %q", got)
	}
	s.task("beside") // while the second lives
	if got := s.inspect(s.e, "beside").Address; got == at {
		t.Errorf("two live at %v", got)
	}
	if code, got := s.steps("beside", "out begun then hostname"); code != 0 || !strings.Contains(got, "beside") {
		t.Errorf("code %d, %q", code, got)
	}
	s.must(s.e.Remove(t.Context(), "second"))
	s.must(s.e.Remove(t.Context(), "beside"))
	s.release(release)
}

// What a task leaves to the kernel, connections that are over, does not keep the next
// from using the same port; and having called others does not cost it its place.
func TestPortsOfTasks(t *testing.T) {
	s := newStage(t)
	release := s.warm()
	s.start(spec("web", "serve tcp/80 then wait"))
	s.task("calls")
	s.eventually("web", func() string {
		if code, got := s.steps("calls", "ask tcp web 80 x"); code != 0 {
			return got
		}
		return ""
	})
	at := s.e.places.at("calls")
	s.must(s.e.Remove(t.Context(), "calls"))
	s.task("second")
	if s.e.places.at("second") != at {
		t.Error("a task that has called a service loses its place")
	}
	if code, got := s.steps("second", "ask tcp web 80 x"); code != 0 {
		t.Errorf("the second has no network: %s", got)
	}
	// A connection that its side ends first is held by the kernel.
	n, err := s.e.connect(t.Context())
	s.must(err)
	path, err := n.EndpointPath(string(at))
	s.must(err)
	space, err := netspace.Open(path)
	s.must(err)
	defer space.Close()
	listener, err := space.ListenTCP(netip.MustParseAddrPort("0.0.0.0:8080"))
	s.must(err)
	conn, err := space.Dial(t.Context(), "tcp", netip.MustParseAddrPort("127.0.0.1:8080"))
	s.must(err)
	accepted, err := listener.Accept()
	s.must(err)
	s.must(errors.Join(accepted.Close(), conn.Close(), listener.Close()))
	s.must(s.e.Remove(t.Context(), "second"))
	s.task("third")
	if s.e.places.at("third") == at {
		t.Error("a task lives where a port is not free")
	}
	s.must(s.e.Remove(t.Context(), "third"))
	s.must(s.e.Remove(t.Context(), "web"))
	s.release(release)
}

// A supervisor that waits may die: the next task lives elsewhere.
func TestVacantPlaceLosesItsSupervisor(t *testing.T) {
	s := newStage(t)
	release := s.warm()
	s.task("first")
	s.must(s.e.Remove(t.Context(), "first"))
	for _, pid := range s.supervisors() {
		s.must(unix.Kill(pid, unix.SIGKILL))
	}
	s.task("second")
	if code, got := s.steps("second", "hostname"); code != 0 || got != "second" {
		t.Errorf("code %d, %q", code, got)
	}
	s.must(s.e.Remove(t.Context(), "second"))
	s.release(release)
}

// A service that may change its place has its own.
func TestNotEveryTaskMoves(t *testing.T) {
	s := newStage(t)
	release := s.warm()
	task := spec("task", "wait")
	task.Hold, task.Privileged = true, true
	s.start(task)
	if !exists(filepath.Join(s.e.dir, containersDir, "task")) || len(s.supervisors()) > 0 {
		t.Error("a privileged task lives in a numbered place")
	}
	s.must(s.e.Remove(t.Context(), "task"))
	s.release(release)
}

// A process that dies leaves places: the next one finds services that live in them,
// and removes those in which nobody does.
func TestCrashWithPlaces(t *testing.T) {
	t.Run("vacant", func(t *testing.T) {
		s := newStage(t)
		s.warm()
		s.task("kept")
		s.task("gone")
		s.must(s.e.Remove(t.Context(), "gone"))
		s.must(s.b.Close())
		s.e = s.reopened()
		if names, err := s.e.Services(t.Context()); err != nil || len(names) != 1 || names[0] != "kept" {
			t.Errorf("services %v, %v", names, err)
		}
		if code, got := s.steps("kept", "hostname"); code != 0 || got != "kept" {
			t.Errorf("code %d, %q", code, got)
		}
		if left := s.supervisors(); len(left) != 1 {
			t.Errorf("supervisors %v", left)
		}
		s.release(func() error { return s.e.Remove(t.Context(), "kept") })
	})
	for _, step := range []string{"recorded", "attached", "launched"} {
		t.Run("start after "+step, func(t *testing.T) {
			s := newStage(t)
			s.warm()
			s.task("first")
			s.must(s.e.Remove(t.Context(), "first"))
			s.b.cfg.failpoints = crashAt(step)
			task := spec("second", "wait")
			task.Hold = true
			if err := s.e.Start(t.Context(), task); !errors.Is(err, errCrash) {
				t.Fatal(err)
			}
			s.must(s.b.Close())
			s.e = s.reopened()
			s.release(func() error { return s.e.Remove(t.Context(), "second") })
		})
	}
	for _, step := range []string{"retired", "vacant"} {
		t.Run("remove after "+step, func(t *testing.T) {
			s := newStage(t)
			s.warm()
			s.task("first")
			s.b.cfg.failpoints = crashAt(step)
			if err := s.e.Remove(t.Context(), "first"); !errors.Is(err, errCrash) {
				t.Fatal(err)
			}
			s.must(s.b.Close())
			s.e = s.reopened()
			s.release(func() error { return s.e.Remove(t.Context(), "first") })
		})
	}
}
