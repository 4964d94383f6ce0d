package api_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/api"
	"github.com/lepto-dev/lepto/internal/api/client"
	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/memory"
	"github.com/lepto-dev/lepto/internal/engine"
)

// This file lets the test binary be an engine, or a caller of another user.

const (
	asEngine = "LEPTO_TEST_AS_ENGINE" // the home directory
	asCaller = "LEPTO_TEST_AS_CALLER" // URLs to ask, with spaces between
	// testBound is how long a test waits for anything outside.
	testBound = 20 * time.Second
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(asEngine) != "":
		config := testConfig(memory.New(memory.Options{}), os.Getenv(asEngine))
		config.Logger = nil
		if err := engine.Main(context.Background(), config); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	case os.Getenv(asCaller) != "":
		os.Exit(callAll(strings.Fields(os.Getenv(asCaller))))
	}
	os.Exit(m.Run())
}

func testConfig(be backend.Backend, home string) engine.Config {
	return engine.Config{
		Home: home, Version: "0.0.0-test", API: api.New, Loopback: "127.0.0.1:0",
		Backend: func(context.Context) (backend.Backend, error) { return be, nil },
		Logger:  slog.New(slog.DiscardHandler),
	}
}

// tempHome gives a directory with a path short enough for a socket.
func tempHome(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lepto")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// startEngine runs an engine in this process until the test ends, or stop.
func startEngine(t *testing.T, config engine.Config) (c *client.Client, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- engine.Main(ctx, config) }()
	stop = sync.OnceFunc(func() {
		cancel(errors.New("the test ends"))
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("engine: %v", err)
			}
		case <-time.After(testBound):
			t.Error("engine does not end")
		}
	})
	t.Cleanup(stop)
	deadline := time.Now().Add(testBound)
	for {
		c, err := client.Connect(t.Context(), client.Options{Home: config.Home})
		if err == nil {
			t.Cleanup(func() { c.Close() })
			return c, stop
		}
		if time.Now().After(deadline) {
			t.Fatalf("no engine: %v", err)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// startOptions makes clients start the test binary as their engine.
func startOptions(t *testing.T, home string) client.Options {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(asEngine, home)
	t.Cleanup(func() { killHolder(t, home) })
	return client.Options{Home: home, Start: true, Command: []string{self}}
}

// killHolder ends the engine of a home that a test started.
func killHolder(t *testing.T, home string) {
	text, err := os.ReadFile(filepath.Join(home, "engine.lock"))
	if err != nil {
		return
	}
	if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && pid != os.Getpid() {
		if err := syscall.Kill(pid, syscall.SIGKILL); err == nil {
			t.Logf("killed engine %d", pid)
		}
	}
}

// command runs the test binary again, as somebody else.
func command(env ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), env...)
	return cmd
}
