package supervise_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/backendtest/bounds"
	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
)

// These tests run real containers: they need root, gcc, and a static busybox.

var launcher supervise.Launcher

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	if os.Getuid() != 0 {
		fmt.Fprintln(os.Stderr, "these tests run containers: run them as root")
		return 1
	}
	dir, err := os.MkdirTemp("", "supervise-test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	launcher, err = programs(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// programs builds the supervisor and the init as the product has them. With
// LEPTO_TEST_PROGRAMS set, those in that directory are taken.
func programs(dir string) (supervise.Launcher, error) {
	if have := os.Getenv("LEPTO_TEST_PROGRAMS"); have != "" {
		dir = have
	} else {
		build := exec.Command("../../../../scripts/build-supervisor.sh", dir)
		if out, err := build.CombinedOutput(); err != nil {
			return supervise.Launcher{}, fmt.Errorf("build the supervisor: %w\n%s", err, out)
		}
	}
	return supervise.Launcher{
		Supervisor: filepath.Join(dir, "lepto-supervisor"),
		Init:       filepath.Join(dir, "lepto-init"),
	}, nil
}

// busyboxRoot makes an image's layer of busybox.
func busyboxRoot(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	for _, d := range []string{"bin", "etc", "tmp", "home/guest", "srv"} {
		must(t, os.MkdirAll(filepath.Join(root, d), 0o755))
	}
	must(t, os.Chmod(root, 0o755))
	must(t, os.Chmod(filepath.Join(root, "tmp"), 0o1777))
	data, err := os.ReadFile("/usr/bin/busybox")
	must(t, err)
	must(t, os.WriteFile(filepath.Join(root, "bin/busybox"), data, 0o755))
	for _, applet := range strings.Fields("sh ls cat echo id sleep true false tail head env pwd stty dd hostname mount ps kill touch ln mkdir rm seq nc grep wc stat yes test printf tty od") {
		must(t, os.Symlink("busybox", filepath.Join(root, "bin", applet)))
	}
	must(t, os.WriteFile(filepath.Join(root, "etc/passwd"), []byte("root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1001:a guest:/home/guest:/bin/sh\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(root, "etc/group"), []byte("root:x:0:\nguest:x:1001:\nwheel:x:10:guest\nlab:x:77:\n"), 0o644))
	return root
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// spec describes a container that runs a shell script.
func spec(t testing.TB, script string) supervise.Spec {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "c")
	must(t, os.Mkdir(dir, 0o700))
	id := fmt.Sprintf("t%d-%d", os.Getpid(), time.Now().UnixNano())
	return supervise.Spec{
		ID: id, Dir: dir, Layers: []string{busyboxRoot(t)},
		Args: []string{"/bin/sh", "-c", script}, Hostname: "box",
		CgroupName: fmt.Sprintf("lepto/test%d/%s", os.Getpid(), id),
	}
}

// start runs a container, and destroys it at the end of the test, checking that
// nothing of it is left.
func start(t testing.TB, s supervise.Spec) *supervise.Handle {
	t.Helper()
	h, err := launcher.Start(t.Context(), s)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	t.Cleanup(func() { destroy(t, h, s) })
	return h
}

func destroy(t testing.TB, h *supervise.Handle, s supervise.Spec) {
	t.Helper()
	if err := h.Destroy(context.Background()); err != nil {
		t.Errorf("destroy: %v", err)
	}
	if t.Failed() {
		if log, _ := os.ReadFile(filepath.Join(s.Dir, "supervisor.log")); len(log) > 0 {
			t.Logf("supervisor.log:\n%s", log)
		}
	}
	checkGone(t, s)
}

// checkGone fails if the host still has something of a container.
func checkGone(t testing.TB, s supervise.Spec) {
	t.Helper()
	for _, pattern := range []string{"/sys/fs/cgroup/*/", "/sys/fs/cgroup/"} { // v1, v2
		if found, _ := filepath.Glob(pattern + s.CgroupName); len(found) > 0 {
			t.Errorf("cgroups left: %v", found)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	if strings.Contains(string(mounts), s.Dir) {
		t.Errorf("mounts left below %s", s.Dir)
	}
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		data, err := os.ReadFile(p)
		if err == nil && strings.Contains(string(data), s.Dir) {
			t.Errorf("process left: %s %q", p, data)
		}
	}
}

// text gives all stored output, one line each.
func text(t testing.TB, h *supervise.Handle) string {
	t.Helper()
	var b strings.Builder
	for line, err := range h.Logs(t.Context(), backend.LogQuery{Tail: -1}) {
		must(t, err)
		b.WriteString(line.Text + "\n")
	}
	return b.String()
}

// run runs a container to its end.
func run(t testing.TB, s supervise.Spec) (backend.Exit, string) {
	t.Helper()
	h := start(t, s)
	exit, err := h.Wait(t.Context())
	must(t, err)
	return exit, text(t, h)
}

// eventually waits until what holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	patience := bounds.Wide(20 * time.Second)
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// residentKB reads a process's VmRSS.
func residentKB(t testing.TB, pid int) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	var kb int
	for line := range strings.Lines(string(data)) {
		fmt.Sscanf(line, "VmRSS: %d kB", &kb)
	}
	return kb
}
