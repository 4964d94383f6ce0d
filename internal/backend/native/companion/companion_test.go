package companion

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/fault"
)

var toy = Kind{Verb: "toy", Name: "toy process", Table: "table.json", Socket: "toy.sock", Log: "toy.log"}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestStopWithoutAnything(t *testing.T) {
	check(t, toy.Stop(t.Context(), filepath.Join(t.TempDir(), "missing")))
	check(t, toy.Stop(t.Context(), t.TempDir()))
}

func TestAskWithoutAProcess(t *testing.T) {
	if err := toy.Ask(t.Context(), t.TempDir(), "x", nil); !errors.Is(err, fault.ErrNotRunning) {
		t.Errorf("error %v", err)
	}
}

func TestOnlyOneProcessServesAFolder(t *testing.T) {
	dir := t.TempDir()
	lock, err := toy.Lock(dir)
	check(t, err)
	if _, err := toy.Lock(dir); err == nil {
		t.Error("a second one has the lock")
	}
	var id Identity
	check(t, ReadJSON(filepath.Join(dir, StatusFile), &id))
	if id.PID != os.Getpid() || id.Start == 0 {
		t.Errorf("status is %v", id)
	}
	check(t, lock.Close())
	check(t, os.Remove(filepath.Join(dir, StatusFile))) // it names this process
	check(t, toy.Stop(t.Context(), dir))
}

// A process that was killed answers no more, but has its lock until it is gone.
func TestALaunchWaitsForADyingPredecessor(t *testing.T) {
	dir := t.TempDir()
	lock, err := toy.Lock(dir)
	check(t, err)
	var gone atomic.Bool
	time.AfterFunc(20*time.Millisecond, func() {
		gone.Store(true)
		lock.Close()
	})
	check(t, toy.Launch(t.Context(), "/bin/true", dir, func(context.Context) error {
		if !gone.Load() {
			t.Error("started while another one had the lock")
		}
		return nil
	}))
}

// TestKillSparesStrangers: pids are used again.
func TestKillSparesStrangers(t *testing.T) {
	cmd := exec.Command("cat")
	stdin, err := cmd.StdinPipe()
	check(t, err)
	check(t, cmd.Start())
	id, err := Identify(cmd.Process.Pid)
	check(t, err)
	kill := func(id Identity) {
		p, err := id.hold()
		check(t, err)
		defer p.release()
		check(t, p.kill())
	}
	kill(Identity{id.PID, id.Start + 1})
	check(t, stdin.Close())
	if err := cmd.Wait(); err != nil {
		t.Errorf("a process that started at another time was killed: %v", err)
	}
	kill(id) // gone by now
	if _, err := Identify(id.PID); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("identity of no process: %v", err)
	}
}

func TestLogIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	check(t, err)
	defer f.Close()
	log := &boundedLog{file: f, limit: 100}
	for range 50 {
		if _, err := log.Write([]byte("a line of 16 b.\n")); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(path)
	check(t, err)
	if len(data) == 0 || len(data) > 100 || strings.ReplaceAll(string(data), "a line of 16 b.\n", "") != "" {
		t.Errorf("log holds %d bytes: %q", len(data), data)
	}
}

// limitOf, where set, has TestWatchWithoutEvents take all of one kind away, which it
// can in a user namespace of its own.
const limitOf = "LEPTO_TEST_LIMIT"

// A machine may have all of a user's inotify instances, or watches, in use.
func TestWatchWithoutEvents(t *testing.T) {
	limit := os.Getenv(limitOf)
	if limit == "" {
		for _, limit := range []string{"max_inotify_instances", "max_inotify_watches"} {
			child := exec.Command("/proc/self/exe", "-test.run", "^TestWatchWithoutEvents$")
			child.Env = append(os.Environ(), limitOf+"="+limit)
			ids := []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
			child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}}
			if out, err := child.CombinedOutput(); err != nil {
				t.Errorf("without %s: %v\n%s", limit, err, out)
			}
		}
		return
	}
	check(t, os.WriteFile("/proc/sys/user/"+limit, []byte("0"), 0))
	dir := t.TempDir()
	table := filepath.Join(dir, toy.Table)
	check(t, os.WriteFile(table, nil, 0o600))
	w, err := toy.Watch(dir)
	check(t, err)
	if w.events != nil {
		t.Error("there are events")
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	w.Wait(over)
	check(t, os.Remove(table))
	w.Wait(t.Context())
}
