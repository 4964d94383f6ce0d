package native

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/backendtest"
	"github.com/lepto-dev/lepto/internal/backend/native/network/netspace"
	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
)

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "the native backend's tests need root: they run containers")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestContract(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backendtest.Fixture {
		home := t.TempDir()
		b := openBackend(t, Config{Home: home})
		loadProbe(t, b)
		return backendtest.Fixture{
			Backend: b,
			Reopen:  func(t *testing.T) backend.Backend { return openBackend(t, Config{Home: home}) },
			Image:   backendtest.ProbeRef, Foreign: backendtest.ForeignRef,
			Footprint: func(t *testing.T, id backend.EnclaveID) []string { return footprint(t, b.dir(id), id) },
		}
	})
}

// openBackend opens a backend that is closed with the test.
func openBackend(t *testing.T, cfg Config) *Backend {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	cfg.Launcher = testLauncher()
	b, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return b
}

// testLauncher names other programs than the embedded ones, if the environment
// does: with symbols for a profile, or fresh from the compiler.
func testLauncher() supervise.Launcher {
	dir := os.Getenv("LEPTO_PROGRAMS")
	if dir == "" {
		return supervise.Launcher{}
	}
	return supervise.Launcher{Supervisor: filepath.Join(dir, "lepto-supervisor"), Init: filepath.Join(dir, "lepto-init")}
}

// testLog is a test's log as a writer.
type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Logf("%s", bytes.TrimSpace(p))
	return len(p), nil
}

func loadProbe(t *testing.T, b *Backend) {
	t.Helper()
	f, err := os.Open(backendtest.ProbeImages(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := b.LoadImages(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

// footprint lists what is on the host of an enclave.
func footprint(t *testing.T, dir string, id backend.EnclaveID) []string {
	t.Helper()
	var out []string
	add := func(kind string, items ...string) {
		for _, item := range items {
			out = append(out, kind+": "+item)
		}
	}
	if exists(dir) {
		add("folder", dir)
	}
	add("cgroup", cgroupsOf("lepto/"+id.Short())...)
	for _, pid := range processesWith(dir) {
		add("process", pid)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, string(id)) {
			add("mount", line)
		}
	}
	links, err := netspace.Whole(netlink.LinkList)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if strings.Contains(l.Attrs().Name, string(id[:10])) {
			add("link", l.Attrs().Name)
		}
	}
	tables, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
	if err != nil {
		t.Fatalf("nft: %v: %s", err, tables)
	}
	for line := range strings.Lines(string(tables)) {
		if strings.Contains(line, string(id[:10])) {
			add("nft", line)
		}
	}
	return out
}

// processesWith lists the processes with a text in their command line.
func processesWith(text string) []string {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	var out []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err == nil && bytes.Contains(data, []byte(text)) {
			out = append(out, file+" "+strings.ReplaceAll(string(data), "\x00", " "))
		}
	}
	return out
}

func TestResolvConf(t *testing.T) {
	gateway := netip.MustParseAddr("10.0.0.1")
	for host, search := range map[string]string{
		"":                                 "enclave",
		"nameserver 1.1.1.1\nsearch .\n":   "enclave",
		"domain a.example\n":               "enclave a.example",
		"search a.example\nsearch b c\n":   "enclave b c",
		"search a b c d e f g\n# search x": "enclave a b c d e",
	} {
		want := "nameserver 10.0.0.1\nsearch " + search + "\noptions ndots:0\n"
		if got := resolvConf(gateway, host); got != want {
			t.Errorf("with %q:\n%s\nwant\n%s", host, got, want)
		}
	}
}
