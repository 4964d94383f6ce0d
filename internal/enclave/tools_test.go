package enclave

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/memory"
	"github.com/lepto-dev/lepto/internal/fault"
)

var update = flag.Bool("update", false, "rewrite golden files")

// openTestStore opens a store that does not wait for the disk.
func openTestStore(t testing.TB, path string) *Store {
	t.Helper()
	store, err := OpenStore(path)
	if err != nil {
		t.Fatal(err)
	}
	store.db.NoSync = true
	t.Cleanup(func() { store.Close() })
	return store
}

// counter makes ids that a test can predict.
func counter() func() string {
	n := 0
	return func() string {
		n++
		return fmt.Sprintf("%032x", n)
	}
}

func newTestManager(t testing.TB, be backend.Backend) *Manager {
	t.Helper()
	store := openTestStore(t, filepath.Join(t.TempDir(), "engine.db"))
	m, err := NewManager(store, be, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func newTestEnclave(t testing.TB, be backend.Backend) *Enclave {
	t.Helper()
	e, err := newTestManager(t, be).Create(t.Context(), CreateSpec{Name: "home"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := e.destroy(ctx); err != nil {
			t.Error(err)
		}
	})
	return e
}

// server is a service of the memory backend that listens on ports of its own.
func server(listens string, ports map[string]Port) ServiceConfig {
	return ServiceConfig{Image: Image{Ref: "echo-server"}, Env: map[string]string{"PORTS": listens}, Ports: ports}
}

func tcp(number uint16, wait time.Duration) Port {
	return Port{Number: number, Transport: backend.TCP, Wait: wait}
}

// idle is a service that just runs.
func idle() ServiceConfig { return ServiceConfig{Image: Image{Ref: "pause"}} }

func mustAdd(t testing.TB, e *Enclave, name string, cfg ServiceConfig) *Service {
	t.Helper()
	s, err := e.AddService(t.Context(), name, cfg, AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func wantCode(t testing.TB, err error, code string) *fault.Fault {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %s", code)
	}
	f := fault.From(err, "none")
	if f.Code != code {
		t.Fatalf("error %q has code %s, want %s", err, f.Code, code)
	}
	return f
}

// text renders a fault in full.
func text(err error) string {
	f := fault.From(err, "none")
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", f.Code, f.Summary)
	for _, ev := range f.Evidence {
		fmt.Fprintf(&b, "%s:\n", ev.Title)
		for _, line := range ev.Lines {
			fmt.Fprintf(&b, "\t%s\n", line)
		}
	}
	if f.Hint != "" {
		fmt.Fprintf(&b, "hint: %s\n", f.Hint)
	}
	return b.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (run with -update if that is right)\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

// private is a memory backend that publishes no ports: real sockets would keep
// the clock of a synctest bubble from advancing.
type private struct{ backend.Backend }

func (p private) Capabilities() backend.Capabilities {
	caps := p.Backend.Capabilities()
	caps.Abilities = maps.Clone(caps.Abilities)
	delete(caps.Abilities, backend.AbilityPublishTCP)
	delete(caps.Abilities, backend.AbilityPublishUDP)
	return caps
}

func newPrivate(opts memory.Options) backend.Backend { return private{memory.New(opts)} }

// program makes a memory backend with one more command.
func program(name string, run memory.Program) backend.Backend {
	return newPrivate(memory.Options{
		Commands: map[string]memory.Program{name: run},
		Images:   map[string]memory.Image{name: {Cmd: []string{name}}},
	})
}
