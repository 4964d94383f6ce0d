package gateway

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lepto-dev/lepto/internal/fault"
)

func TestStopWithoutAnything(t *testing.T) {
	check(t, Stop(t.Context(), filepath.Join(t.TempDir(), "missing")))
	check(t, Stop(t.Context(), t.TempDir()))
}

func TestReloadWithoutAProcess(t *testing.T) {
	if _, err := Reload(t.Context(), t.TempDir()); !errors.Is(err, fault.ErrNotRunning) {
		t.Errorf("error %v", err)
	}
}

func TestOnlyOneProcessServesAFolder(t *testing.T) {
	dir := t.TempDir()
	lock, err := lockFolder(dir)
	check(t, err)
	if _, err := lockFolder(dir); err == nil {
		t.Error("a second one has the lock")
	}
	var id identity
	check(t, readJSON(filepath.Join(dir, statusFile), &id))
	if id.PID != os.Getpid() || id.Start == 0 {
		t.Errorf("status is %v", id)
	}
	check(t, lock.Close())
	check(t, os.Remove(filepath.Join(dir, statusFile))) // it names this process
	check(t, Stop(t.Context(), dir))
}

// TestKillSparesStrangers: pids are used again.
func TestKillSparesStrangers(t *testing.T) {
	cmd := exec.Command("cat")
	stdin, err := cmd.StdinPipe()
	check(t, err)
	check(t, cmd.Start())
	id, err := identify(cmd.Process.Pid)
	check(t, err)
	kill := func(id identity) {
		p, err := id.hold()
		check(t, err)
		defer p.release()
		check(t, p.kill())
	}
	kill(identity{id.PID, id.Start + 1})
	check(t, stdin.Close())
	if err := cmd.Wait(); err != nil {
		t.Errorf("a process that started at another time was killed: %v", err)
	}
	kill(id) // gone by now
	if _, err := identify(id.PID); !errors.Is(err, fs.ErrNotExist) {
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

func TestMainWithoutATable(t *testing.T) {
	check(t, Main(t.TempDir()))
}
