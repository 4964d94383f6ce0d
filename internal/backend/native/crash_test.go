package native

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/backendtest"
	"github.com/lepto-dev/lepto/internal/backend/backendtest/bounds"
	"github.com/lepto-dev/lepto/internal/backend/backendtest/probe"
	"github.com/lepto-dev/lepto/internal/backend/native/network/netspace"
	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/fault"
)

// stage is a backend with one enclave, for tests that go beyond the contract.
type stage struct {
	*testing.T
	home string
	b    *Backend
	id   backend.EnclaveID
	e    *Enclave
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{T: t, home: t.TempDir()}
	s.b = openBackend(t, Config{Home: s.home})
	loadProbe(t, s.b)
	s.id = newID()
	e, err := s.b.CreateEnclave(t.Context(), backend.EnclaveSpec{ID: s.id, Name: "stage"})
	s.must(err)
	s.e = e.(*Enclave)
	t.Cleanup(s.wreck)
	return s
}

// wreck destroys the enclave and checks that nothing is left.
func (s *stage) wreck() {
	ctx, cancel := context.WithTimeout(context.Background(), bounds.Wide(time.Minute))
	defer cancel()
	s.must(s.b.Close())
	s.must(s.e.b.Close())
	b := openBackend(s.T, Config{Home: s.home})
	e, err := b.OpenEnclave(ctx, s.id)
	if err == nil {
		err = e.Destroy(ctx)
	}
	if err != nil && !errors.Is(err, fault.ErrNotFound) {
		s.Errorf("destroy: %v", err)
	}
	if left := footprint(s.T, s.b.dir(s.id), s.id); len(left) > 0 {
		s.Errorf("left on the host: %q", left)
	}
}

func newID() backend.EnclaveID {
	raw := make([]byte, 16)
	rand.Read(raw)
	return backend.EnclaveID(hex.EncodeToString(raw))
}

func (s *stage) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// reopened gives the enclave as a new process finds it.
func (s *stage) reopened() *Enclave {
	s.Helper()
	b := openBackend(s.T, Config{Home: s.home})
	e, err := b.OpenEnclave(s.Context(), s.id)
	s.must(err)
	return e.(*Enclave)
}

func spec(name backend.ServiceName, steps string) backend.ServiceSpec {
	return backend.ServiceSpec{
		Name: name, UUID: string(newID()), Image: backendtest.ProbeRef,
		Cmd: append([]string{"probe"}, strings.Fields(steps)...),
	}
}

func (s *stage) start(spec backend.ServiceSpec) { s.Helper(); s.must(s.e.Start(s.Context(), spec)) }

func (s *stage) inspect(e *Enclave, name backend.ServiceName) backend.Status {
	s.Helper()
	status, err := e.Inspect(s.Context(), name)
	s.must(err)
	return status
}

// eventually waits until f gives "".
func (s *stage) eventually(what string, f func() string) {
	s.Helper()
	deadline := time.Now().Add(bounds.Wide(30 * time.Second))
	for {
		problem := f()
		if problem == "" {
			return
		}
		if time.Now().After(deadline) {
			s.Fatalf("%s: %s", what, problem)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// answers checks that a service is reached through the enclave's network and
// through its first published port, which it gives.
func (s *stage) answers(e *Enclave, name backend.ServiceName, port uint16) netip.AddrPort {
	s.Helper()
	s.eventually("answer of "+string(name), func() string {
		c, err := e.Dial(s.Context(), name, backend.TCP, port)
		if err != nil {
			return err.Error()
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(bounds.Wide(time.Second)))
		if answer, err := probe.Exchange(c, "tcp", "x"); err != nil || answer != string(name)+" got x" {
			return fmt.Sprint(answer, err)
		}
		return ""
	})
	published := s.inspect(e, name).Published
	if len(published) == 0 {
		s.Fatal("nothing is published")
	}
	s.eventually("published port of "+string(name), func() string { return askHost(published[0].Host, string(name)) })
	return published[0].Host
}

func (s *stage) logged(e *Enclave, name backend.ServiceName) []string {
	s.Helper()
	var out []string
	for line, err := range e.Logs(s.Context(), name, backend.LogQuery{Tail: -1}) {
		s.must(err)
		out = append(out, line.Text)
	}
	return out
}

func kill(pid int) { unix.Kill(pid, unix.SIGKILL) }

func TestASupervisorThatDiesIsReplaced(t *testing.T) {
	s := newStage(t)
	web := spec("web", "out up then serve tcp/8080 then tick 20")
	web.Publish = []backend.Publish{{ID: "http", Port: 8080, Proto: backend.TCP}}
	s.start(web)
	before := s.inspect(s.e, "web")
	host := s.answers(s.e, "web", 8080)
	for range 3 {
		victim := supervisorOf(s.e.container("web"))
		kill(victim)
		s.eventually("another supervisor", func() string {
			if pid := supervisorOf(s.e.container("web")); pid == 0 || pid == victim {
				return "none"
			}
			return ""
		})
	}
	after := s.inspect(s.e, "web")
	if !after.Running() || after.PID != before.PID || s.answers(s.e, "web", 8080) != host {
		t.Errorf("was %+v, is %+v", before, after)
	}
	exit, err := s.e.Stop(t.Context(), "web", 0)
	s.must(err)
	if exit.Code != 128+exit.Signal || exit.Signal == 0 {
		t.Errorf("exit is %+v", exit)
	}
	// Not a line was lost or written twice.
	lines := s.logged(s.e, "web")
	for i, line := range lines[1:] {
		if want := fmt.Sprintf("tick %d", i+1); line != want {
			t.Fatalf("line %d is %q", i+2, line)
		}
	}
}

func TestAContainerThatEndsWithoutSupervisorKeepsItsExitCode(t *testing.T) {
	s := newStage(t)
	s.start(spec("job", "sleep 400 then out goodbye then exit 7"))
	s.must(s.b.Close()) // nobody looks after it from here on
	kill(supervisorOf(s.e.container("job")))
	s.eventually("end", func() string {
		// Its init stays until someone has taken the output.
		if _, ended := supervise.ReadExit(s.e.container("job")); !ended {
			return "it still runs"
		}
		return ""
	})
	e := s.reopened()
	exit, err := e.Wait(t.Context(), "job")
	s.must(err)
	if status := s.inspect(e, "job"); status.State != backend.StateExited || status.Exit.Code != 7 || exit.Code != 7 {
		t.Errorf("status is %+v", status)
	}
	if lines := s.logged(e, "job"); !slices.Equal(lines, []string{"goodbye"}) {
		t.Errorf("logged %q", lines)
	}
}

func TestAGatewayProcessThatDiesIsReplaced(t *testing.T) {
	s := newStage(t)
	web := spec("web", "serve tcp/8080 then wait")
	web.Publish = []backend.Publish{{ID: "http", Port: 8080, Proto: backend.TCP}}
	s.start(web)
	s.start(spec("client", "wait"))
	host := s.answers(s.e, "web", 8080)
	victim := s.gateway()
	kill(victim)
	s.eventually("another gateway process", func() string {
		if pid := s.gateway(); pid == victim || unix.Kill(pid, 0) != nil {
			return "none"
		}
		return ""
	})
	if again := s.answers(s.e, "web", 8080); again != host {
		t.Errorf("was published at %v, is at %v", host, again)
	}
	s.eventually("name", func() string {
		code, err := s.e.Exec(t.Context(), "client", backend.ExecSpec{Args: []string{"probe", "ask", "tcp", "web", "8080", "x"}})
		if err != nil || code != 0 {
			return fmt.Sprint("code ", code, " ", err)
		}
		return ""
	})
}

// gateway gives the process id of the gateway process.
func (s *stage) gateway() int {
	var self struct {
		PID int `json:"pid"`
	}
	readJSON(filepath.Join(s.b.dir(s.id), "net", "status.json"), &self)
	return self.PID
}

func TestEverythingThatLooksAfterAnEnclaveDiesAtOnce(t *testing.T) {
	s := newStage(t)
	for i := range 3 {
		web := spec(backend.ServiceName(fmt.Sprint("web", i)), "serve tcp/8080 then wait")
		web.Publish = []backend.Publish{{ID: "http", Port: 8080, Proto: backend.TCP}}
		s.start(web)
	}
	s.must(s.b.Close())
	kill(s.gateway())
	for i := range 3 {
		kill(supervisorOf(s.e.container(backend.ServiceName(fmt.Sprint("web", i)))))
	}
	e := s.reopened()
	for i := range 3 {
		s.answers(e, backend.ServiceName(fmt.Sprint("web", i)), 8080)
	}
}

// TestCrashes lets a process die between the steps of each operation. The next
// one finds nothing half made, and goes on.
func TestCrashes(t *testing.T) {
	for _, step := range []string{"folder", "enclave recorded", "network"} {
		t.Run("create after "+step, func(t *testing.T) {
			home, id := t.TempDir(), newID()
			b := openBackend(t, Config{Home: home, failpoints: crashAt(step)})
			if _, err := b.CreateEnclave(t.Context(), backend.EnclaveSpec{ID: id}); !errors.Is(err, errCrash) {
				t.Fatal(err)
			}
			b = openBackend(t, Config{Home: home})
			ids, err := b.Enclaves(t.Context())
			if err != nil || !slices.Equal(ids, []backend.EnclaveID{id}) {
				t.Fatalf("enclaves %v, %v", ids, err)
			}
			e, err := b.OpenEnclave(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := e.Reserve(t.Context(), "db"); err != nil {
				t.Error(err)
			}
			if err := e.Destroy(t.Context()); err != nil {
				t.Fatal(err)
			}
			if left := footprint(t, b.dir(id), id); len(left) > 0 {
				t.Errorf("left on the host: %q", left)
			}
		})
	}
	for _, step := range []string{"recorded", "attached", "launched"} {
		t.Run("start after "+step, func(t *testing.T) {
			s := newStage(t)
			address, err := s.e.Reserve(t.Context(), "db")
			s.must(err)
			s.start(spec("other", "wait"))
			s.b.cfg.failpoints = crashAt(step)
			if err := s.e.Start(t.Context(), spec("db", "wait")); !errors.Is(err, errCrash) {
				t.Fatal(err)
			}
			s.must(s.b.Close())
			s.e = s.reopened()
			if _, err := s.e.Inspect(t.Context(), "db"); !errors.Is(err, fault.ErrNotFound) {
				t.Errorf("inspect: %v", err)
			}
			if left := processesWith(s.e.container("db")); len(left) > 0 || exists(s.e.container("db")) {
				t.Errorf("left: %q", left)
			}
			if again, err := s.e.Reserve(t.Context(), "db"); err != nil || again != address {
				t.Errorf("reserved %v, then %v, %v", address, again, err)
			}
			if !s.inspect(s.e, "other").Running() {
				t.Error("the other service went with it")
			}
			s.start(spec("db", "wait"))
		})
	}
	t.Run("remove", func(t *testing.T) {
		s := newStage(t)
		s.start(spec("db", "wait"))
		s.b.cfg.failpoints = crashAt("retired")
		if err := s.e.Remove(t.Context(), "db"); !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
		s.must(s.b.Close())
		s.e = s.reopened()
		if names, err := s.e.Services(t.Context()); err != nil || len(names) > 0 || exists(s.e.container("db")) {
			t.Errorf("services %v, %v", names, err)
		}
		if _, reserved := s.e.doc.Addresses["db"]; reserved {
			t.Error("the address is still reserved")
		}
	})
	for _, step := range []string{"doomed", "erased"} {
		t.Run("destroy after "+step, func(t *testing.T) {
			s := newStage(t)
			s.start(spec("db", "wait"))
			s.b.cfg.failpoints = crashAt(step)
			if err := s.e.Destroy(t.Context()); !errors.Is(err, errCrash) {
				t.Fatal(err)
			}
			s.must(s.b.Close())
			s.e = s.reopened()
			if _, err := s.e.Services(t.Context()); !errors.Is(err, fault.ErrNotFound) {
				t.Errorf("services: %v", err)
			}
		})
	}
}

func crashAt(step string) map[string]func() error {
	return map[string]func() error{step: func() error { return errCrash }}
}

// TestReboot does to an enclave what a reboot of the host does: processes and
// namespaces are gone, and the kernel has another name for this boot.
func TestReboot(t *testing.T) {
	s := newStage(t)
	web := spec("web", "serve tcp/8080 then wait")
	web.Publish = []backend.Publish{{ID: "http", Port: 8080, Proto: backend.TCP}}
	s.start(web)
	s.start(spec("done", "exit 4"))
	_, err := s.e.Wait(t.Context(), "done")
	s.must(err)
	code, err := s.e.Exec(t.Context(), "web", backend.ExecSpec{Args: []string{"probe", "write", "/work/note", "kept"}})
	s.must(err)
	if code != 0 {
		t.Fatalf("code %d", code)
	}
	address := s.inspect(s.e, "web").Address
	s.must(s.b.Close())
	s.reboot()

	s.e = s.reopened()
	if status := s.inspect(s.e, "web"); status.Running() {
		t.Errorf("opening started it: %+v", status)
	}
	s.must(s.e.Resume(t.Context()))
	s.answers(s.e, "web", 8080)
	if status := s.inspect(s.e, "web"); status.Address != address {
		t.Errorf("was at %v, is at %v", address, status.Address)
	}
	if code, err = s.e.Exec(t.Context(), "web", backend.ExecSpec{Args: []string{"probe", "read", "/work/note"}}); err != nil || code != 0 {
		t.Errorf("code %d, %v", code, err)
	}
	if status := s.inspect(s.e, "done"); status.Running() || status.Exit.Code != 4 {
		t.Errorf("the one that had ended: %+v", status)
	}
}

// TestTheHostGoesDown: its init asks all processes to end, the engine's among the
// last.
func TestTheHostGoesDown(t *testing.T) {
	s := newStage(t)
	web := spec("web", "serve tcp/8080 then wait")
	web.Publish = []backend.Publish{{ID: "http", Port: 8080, Proto: backend.TCP}}
	s.start(web)
	dir := s.e.container("web")
	state, err := supervise.ReadState(dir)
	s.must(err)
	for _, pid := range []int{state.SupervisorPID, state.PID} {
		s.must(unix.Kill(pid, unix.SIGTERM))
	}
	s.eventually("end of the service's processes", func() string { return strings.Join(processesWith(dir), ", ") })
	s.must(s.b.Close())
	if state, err = supervise.ReadState(dir); err != nil || !state.Running() {
		t.Errorf("%+v, %v", state, err)
	}
	s.reboot()

	s.e = s.reopened()
	s.must(s.e.Resume(t.Context()))
	s.answers(s.e, "web", 8080)
}

func (s *stage) reboot() {
	s.Helper()
	dir := s.b.dir(s.id)
	kill(s.gateway())
	entries, err := os.ReadDir(filepath.Join(dir, containersDir))
	s.must(err)
	for _, e := range entries {
		container := filepath.Join(dir, containersDir, e.Name())
		state, err := supervise.ReadState(container)
		s.must(err)
		if pid := supervisorOf(container); pid != 0 {
			kill(pid)
		}
		if state.Running() {
			kill(state.PID)
		}
		state.BootID = "another-boot"
		s.must(supervise.WriteState(container, state))
	}
	s.eventually("end of all processes", func() string { return strings.Join(processesWith(dir), ", ") })
	s.must(sweepCgroups(s.Context(), "lepto/"+s.id.Short()))
	spaces, err := filepath.Glob(filepath.Join(dir, "net", "ns", "*"))
	s.must(err)
	for _, path := range append(spaces, filepath.Join(dir, "netns")) {
		s.must(netspace.Remove(path))
	}
}

func TestAFullDiskIsTold(t *testing.T) {
	home := t.TempDir()
	if err := unix.Mount("tmpfs", home, "tmpfs", 0, "size=64m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(home, unix.MNT_DETACH) })
	b := openBackend(t, Config{Home: home})
	loadProbe(t, b)
	id := newID()
	made, err := b.CreateEnclave(t.Context(), backend.EnclaveSpec{ID: id})
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{T: t, home: home, b: b, id: id, e: made.(*Enclave)}
	s.start(spec("first", "wait"))
	filler := filepath.Join(home, "filler")
	fill(t, filler)

	err = s.e.Start(t.Context(), spec("db", "wait"))
	var f *fault.Fault
	if !errors.As(err, &f) || f.Code != "E0414" {
		t.Errorf("got %v", err)
	}
	if _, err := s.e.Inspect(t.Context(), "db"); !errors.Is(err, fault.ErrNotFound) {
		t.Errorf("inspect: %v", err)
	}
	if !s.inspect(s.e, "first").Running() {
		t.Error("the other service went with it")
	}
	s.must(s.e.Destroy(t.Context())) // with the disk still full
	if left := footprint(t, b.dir(id), id); len(left) > 0 {
		t.Errorf("left on the host: %q", left)
	}
}

// fill writes until nothing goes any more.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err := f.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
}

func TestProbeFindsThisHostFit(t *testing.T) {
	home := filepath.Join(t.TempDir(), "not", "made", "yet")
	for _, c := range Probe(t.Context(), home) {
		if c.Status == CheckFail {
			t.Errorf("%s: %s (%s)", c.Name, c.Found, c.Do)
		}
		if c.Name == "" || c.Found == "" {
			t.Errorf("incomplete: %+v", c)
		}
	}
	if exists(filepath.Dir(home)) {
		t.Error("the checks made the home")
	}
	if data, err := json.Marshal(Probe(t.Context(), home)); err != nil || !strings.Contains(string(data), `"status":"ok"`) {
		t.Errorf("%s, %v", data, err)
	}
}

// TestDestroyLeavesOnlyWhatItNames: where a part can't be removed, all others are,
// the error names it, and the next Destroy finishes.
func TestDestroyLeavesOnlyWhatItNames(t *testing.T) {
	s := newStage(t)
	s.must(s.e.Start(t.Context(), spec("svc", "wait")))
	s.b.cfg.failpoints = map[string]func() error{"network goes": func() error { return errors.New("the network is stuck") }}
	err := s.e.Destroy(t.Context())
	if err == nil || !strings.Contains(err.Error(), "the network is stuck") {
		t.Fatalf("error = %v", err)
	}
	dir := s.b.dir(s.id)
	entries, err := os.ReadDir(dir)
	s.must(err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{enclaveFile, networkDir, networkSpace}; !slices.Equal(names, want) {
		t.Errorf("the folder holds %v, want %v", names, want)
	}
	if found := cgroupsOf(cgroupOf(s.id)); len(found) > 0 {
		t.Errorf("cgroups left: %v", found)
	}
	if left := processesWith(dir + "/c/svc\x00"); len(left) > 0 {
		t.Errorf("processes left: %q", left)
	}
	s.b.cfg.failpoints = nil
	s.must(s.e.Destroy(t.Context()))
	if exists(dir) {
		t.Error("the folder is left")
	}
}
