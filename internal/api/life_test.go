package api_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/api/client"
	"github.com/lepto-dev/lepto/internal/backend/memory"
	"github.com/lepto-dev/lepto/internal/engine"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/run"
)

// This file tests the engine's process: who starts it, how it ends, what stays.

// TestClientsStartOneEngine lets several clients find no engine at once.
func TestClientsStartOneEngine(t *testing.T) {
	home := tempHome(t)
	t.Setenv("LEPTO_LOOPBACK", "off")
	opts := startOptions(t, home)
	if _, err := client.Connect(t.Context(), client.Options{Home: home}); !errors.Is(err, fault.ErrUnavailable) {
		t.Fatalf("without an engine: %v", err)
	}
	var mu sync.Mutex
	var pids []int
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			c, err := client.Connect(t.Context(), opts)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			mu.Lock()
			defer mu.Unlock()
			pids = append(pids, c.Engine().PID)
		})
	}
	all.Wait()
	slices.Sort(pids)
	if len(pids) != 6 || len(slices.Compact(pids)) != 1 {
		t.Fatalf("engines: %v", pids)
	}
	status, err := client.EngineStatus(t.Context(), home)
	if err != nil || !status.Running || !status.Answers || status.PID != pids[0] {
		t.Fatalf("status: %+v, %v", status, err)
	}
	if stopped, err := client.StopEngine(t.Context(), home); err != nil || !stopped {
		t.Fatalf("stop: %v, %v", stopped, err)
	}
	if stopped, err := client.StopEngine(t.Context(), home); err != nil || stopped {
		t.Fatalf("stop again: %v, %v", stopped, err)
	}
	if status, err := client.EngineStatus(t.Context(), home); err != nil || status.Running {
		t.Fatalf("status after: %+v, %v", status, err)
	}
	if _, err := os.Stat(filepath.Join(home, "engine.sock")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("socket after a stop: %v", err)
	}
}

// TestEngineHoldsNoFilesOfItsStarter has a pipe as a script's: open in programs that
// it starts. It ends when the script does, whether an engine runs or not.
func TestEngineHoldsNoFilesOfItsStarter(t *testing.T) {
	home := tempHome(t)
	t.Setenv("LEPTO_LOOPBACK", "off")
	var pipe [2]int
	if err := syscall.Pipe(pipe[:]); err != nil {
		t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(pipe[0]), "read end")
	defer theirs.Close()
	c, err := client.Connect(t.Context(), startOptions(t, home))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := errors.Join(syscall.Close(pipe[1]), syscall.SetNonblock(pipe[0], true)); err != nil {
		t.Fatal(err)
	}
	if n, err := syscall.Read(pipe[0], make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("the pipe is open in the engine: %d, %v", n, err)
	}
}

// TestKilledEngine kills an engine: the next client starts another, which knows
// the enclave and serves its API on the port it had.
func TestKilledEngine(t *testing.T) {
	home := tempHome(t)
	t.Setenv("LEPTO_LOOPBACK", "0")
	opts := startOptions(t, home)
	c, err := client.Connect(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	e, err := c.CreateEnclave(t.Context(), "kept", false)
	if err != nil || e.API == "" {
		t.Fatalf("%+v, %v", e, err)
	}
	if err := syscall.Kill(c.Engine().PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	again, err := client.Connect(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	t.Logf("connected after %v", time.Since(began))
	if again.Engine().PID == c.Engine().PID {
		t.Fatal("the same engine")
	}
	list, err := again.Enclaves(t.Context())
	if err != nil || len(list) != 1 || list[0].API != e.API {
		t.Fatalf("enclaves: %+v, %v; the API was at %s", list, err, e.API)
	}
	// The memory backend died with its process, so nothing is left of it there.
	if list[0].Status != "EMPTY" {
		t.Errorf("status: %s", list[0].Status)
	}
	if err := again.DestroyEnclave(t.Context(), e.Name); err != nil {
		t.Fatal(err)
	}
}

// TestRestartKeepsServices restarts an engine whose backend goes on.
func TestRestartKeepsServices(t *testing.T) {
	home, be := tempHome(t), memory.New(memory.Options{})
	c, stop := startEngine(t, testConfig(be, home))
	e, err := c.CreateEnclave(t.Context(), "kept", false)
	if err != nil {
		t.Fatal(err)
	}
	runEvents(t, c, e.Name)
	stop()
	c, _ = startEngine(t, testConfig(be.Reopen(), home))
	detail, err := c.Enclave(t.Context(), e.UUID)
	if err != nil || detail.API != e.API || len(detail.Services) != 1 || detail.Services[0].Status != "RUNNING" {
		t.Fatalf("%+v, %v; the API was at %s", detail, err, e.API)
	}
	if found := c.Engine().Recovered; len(found) != 1 || !strings.Contains(found[0], "kept") {
		t.Errorf("recovered: %q", found)
	}
}

// TestOneEnginePerHome starts a second engine where one runs.
func TestOneEnginePerHome(t *testing.T) {
	home := tempHome(t)
	startEngine(t, testConfig(memory.New(memory.Options{}), home))
	err := engine.Main(t.Context(), testConfig(memory.New(memory.Options{}), home))
	f, ok := errors.AsType[*fault.Fault](err)
	if !ok || f.Code != "E0702" || !errors.Is(err, fault.ErrExists) {
		t.Fatalf("second engine: %v", err)
	}
}

// TestPortTaken has somebody else on the loopback address.
func TestPortTaken(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	config := testConfig(memory.New(memory.Options{}), tempHome(t))
	config.Loopback = other.Addr().String()
	c, _ := startEngine(t, config)
	if info := c.Engine(); info.Loopback != "" || !strings.Contains(info.LoopbackError, "in use") {
		t.Errorf("loopback: %q, %q", info.Loopback, info.LoopbackError)
	}
	e, err := c.CreateEnclave(t.Context(), "", false)
	if err != nil || e.API == "" {
		t.Errorf("enclave: %+v, %v", e, err)
	}
}

// TestStaleSocket has a socket that a dead engine left.
func TestStaleSocket(t *testing.T) {
	home := tempHome(t)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(home, "engine.sock"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	startEngine(t, testConfig(memory.New(memory.Options{}), home))
	info, err := os.Stat(filepath.Join(home, "engine.sock"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v", info, err)
	}
}

// TestFailedStartTellsWhy starts an engine that refuses its settings.
func TestFailedStartTellsWhy(t *testing.T) {
	home := tempHome(t)
	t.Setenv("LEPTO_LOOPBACK", "192.0.2.1:9710")
	_, err := client.Connect(t.Context(), startOptions(t, home))
	f, ok := errors.AsType[*fault.Fault](err)
	if !ok || f.Code != "E0707" || f.Hint == "" {
		t.Fatalf("%v", err)
	}
	opts := startOptions(t, home)
	opts.Command = []string{"/bin/sh", "-c", "echo it broke; exit 7"}
	_, err = client.Connect(t.Context(), opts)
	f, ok = errors.AsType[*fault.Fault](err)
	if !ok || f.Code != "E0705" || len(f.Evidence) == 0 || !strings.Contains(f.Evidence[0].Lines[len(f.Evidence[0].Lines)-1], "it broke") {
		t.Fatalf("%v %+v", err, f)
	}
}

// TestAProgramOnNoexec: a home on a file system that nothing can be run from.
func TestAProgramOnNoexec(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOEXEC, ""); err != nil {
		t.Skip(err) // it takes root
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	program := filepath.Join(dir, "lepto")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	opts := startOptions(t, tempHome(t))
	opts.Command = []string{program}
	_, err := client.Connect(t.Context(), opts)
	f, ok := errors.AsType[*fault.Fault](err)
	if !ok || f.Code != "E0705" || !strings.Contains(f.Hint, "noexec") {
		t.Fatalf("%v %+v", err, f)
	}
}

// TestFollowersDoNotHoldTheEngine stops an engine that somebody follows logs of.
func TestFollowersDoNotHoldTheEngine(t *testing.T) {
	c, stop := startEngine(t, testConfig(memory.New(memory.Options{}), tempHome(t)))
	e, err := c.CreateEnclave(t.Context(), "", false)
	if err != nil {
		t.Fatal(err)
	}
	runEvents(t, c, e.Name)
	first := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		once := sync.OnceFunc(func() { close(first) })
		var last error
		for _, err := range c.Logs(t.Context(), client.LogsRequest{Enclave: e.Name, Follow: true, Tail: -1}) {
			last = err
			once()
		}
		ended <- last
	}()
	select {
	case <-first:
	case <-time.After(testBound):
		t.Fatal("no line")
	}
	began := time.Now()
	stop()
	if took := time.Since(began); took >= 3*time.Second { // drainBound of package engine
		t.Errorf("stop took %v", took)
	}
	select {
	case err := <-ended:
		t.Logf("the follower's end: %v", err)
	case <-time.After(testBound):
		t.Fatal("the follower goes on")
	}
}

// TestRunEndsWithTheEngine stops an engine in the middle of a run: who watches
// it is told its end.
func TestRunEndsWithTheEngine(t *testing.T) {
	c, stop := startEngine(t, testConfig(memory.New(memory.Options{}), tempHome(t)))
	e, err := c.CreateEnclave(t.Context(), "", false)
	if err != nil {
		t.Fatal(err)
	}
	script := `
def run(plan):
    plan.add_service("a", ServiceConfig(image = "pause"))
    plan.exec("a", ExecRecipe(command = ["sleep", "1000"]))
`
	var done *run.Done
	for event, err := range c.Run(t.Context(), client.RunRequest{Enclave: e.Name, Script: script}) {
		if err != nil {
			t.Fatal(err)
		}
		if event.Begin != nil && event.Begin.Name == "exec" {
			go stop()
		}
		done = event.Done
	}
	if done == nil || !done.Cancelled || !strings.Contains(done.Reason, "stopping") {
		t.Fatalf("done: %+v", done)
	}
	stop()
}
