package e2e

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/run"
)

// This file: each way a service fails says its cause on the first line, where it
// happened, and what was seen.

func TestFailuresSayTheirCause(t *testing.T) {
	w := newWorld(t)
	w.loadForeign("foreign")
	cases := []struct {
		name, config string
		first        []string // all of them stand in the summary
		evidence     string   // stands in some evidence; none needed if empty
	}{
		{"missing command", `image = "lab", entrypoint = ["/no/such"]`, []string{`"s"`, "/no/such", "not found"}, ""},
		{"crash at start", `image = "lab", cmd = ["exit", "3", "no licence", "giving up"], ports = {"http": PortSpec(number = 80)}`,
			[]string{`"s"`, "exited", "3"}, "giving up"},
		{"port never opens", `image = "lab", cmd = ["serve", "81"], ports = {"http": PortSpec(number = 80, wait = "1s")}`,
			[]string{`"s"`, "80", "81"}, "listening on 81"},
		{"out of memory", `image = "lab", cmd = ["eat", "200"], max_memory = 32, ports = {"http": PortSpec(number = 80)}`,
			[]string{`"s"`, "out of memory", "32"}, ""},
		{"missing image", `image = "127.0.0.1:1/none:1"`, []string{"127.0.0.1:1/none:1"}, ""},
		{"wrong architecture", `image = "foreign"`, []string{"foreign", "s390x"}, ""},
		{"unknown user", `image = "lab", user = User(uid = 7), entrypoint = ["/lab", "exit", "9"], ports = {"http": PortSpec(number = 80)}`,
			[]string{"exited", "9"}, ""},
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := *w
			w.t = t
			problem := w.problem(fmt.Sprintf("def run(plan):\n    plan.add_service(\"s\", ServiceConfig(%s))\n", c.config),
				"--enclave", fmt.Sprintf("e%d", i))
			for _, part := range c.first {
				if !strings.Contains(problem.Summary, part) {
					t.Errorf("the first line lacks %q: %s", part, problem.Summary)
				}
			}
			if strings.Contains(problem.Summary, "\n") || problem.Code == "" {
				t.Errorf("code %q, summary %q", problem.Code, problem.Summary)
			}
			if len(problem.Stack) == 0 || problem.Stack[0].Line != 2 {
				t.Errorf("position: %+v", problem.Stack)
			}
			if !strings.Contains(fmt.Sprint(problem.Evidence), c.evidence) {
				t.Errorf("evidence lacks %q: %+v", c.evidence, problem.Evidence)
			}
		})
	}
	if logs := w.ok("service", "logs", "e1", "s"); !strings.Contains(logs, "no licence") {
		t.Errorf("the crashed service's log is gone: %q", logs)
	}
	if exit := w.service("e1", "s").Exit; exit == nil || exit.Code != 3 {
		t.Errorf("the crashed service's exit is %+v", exit)
	}
	if exit := w.service("e3", "s").Exit; exit == nil || !exit.OOM || exit.Code != 137 {
		t.Errorf("the exit of the one out of memory is %+v", exit)
	}
}

// loadForeign loads an image of another architecture, as docker save writes it.
func (w *world) loadForeign(name string) {
	w.t.Helper()
	var layer bytes.Buffer
	inner := tar.NewWriter(&layer)
	must(w.t, inner.WriteHeader(&tar.Header{Name: "x", Mode: 0o755, Size: 1}))
	_, err := inner.Write([]byte("x"))
	must(w.t, err)
	must(w.t, inner.Close())

	config := map[string]any{
		"architecture": "s390x", "os": "linux",
		"config": map[string]any{"Cmd": []string{"/x"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + sha256Hex(layer.Bytes())}},
	}
	manifest := []map[string]any{{"Config": "config.json", "RepoTags": []string{name + ":latest"}, "Layers": []string{"layer.tar"}}}
	path := filepath.Join(w.dir, name+".tar")
	file, err := os.Create(path)
	must(w.t, err)
	defer file.Close()
	archive := tar.NewWriter(file)
	for entry, content := range map[string][]byte{"config.json": marshal(w.t, config), "layer.tar": layer.Bytes(), "manifest.json": marshal(w.t, manifest)} {
		must(w.t, archive.WriteHeader(&tar.Header{Name: entry, Mode: 0o644, Size: int64(len(content))}))
		_, err := archive.Write(content)
		must(w.t, err)
	}
	must(w.t, archive.Close())
	w.ok("image", "load", path)
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	content, err := json.Marshal(v)
	must(t, err)
	return content
}

func TestAllValidationErrorsAtOnce(t *testing.T) {
	w := newWorld(t)
	events, r := w.events(w.script(`
def run(plan):
    plan.add_service("Bad Name", ServiceConfig(image = "lab"))
    plan.add_service("twice", ServiceConfig(image = "lab"))
    plan.add_service("twice", ServiceConfig(image = "lab"))
    plan.add_service("files", ServiceConfig(image = "lab", files = {"/x": "no-such-artifact"}))
    plan.remove_service("stranger")
`), "--enclave", "v")
	if r.code != 1 {
		t.Errorf("exit %d", r.code)
	}
	var lines []int
	for _, event := range events {
		if event.Error != nil {
			if event.Error.Phase != run.Validation {
				t.Errorf("an error of phase %s: %s", event.Error.Phase, event.Error.Summary)
			}
			lines = append(lines, event.Error.Stack[0].Line)
		}
	}
	if fmt.Sprint(lines) != "[3 5 6 7]" {
		t.Errorf("errors are at lines %v", lines)
	}
	if services := w.inspect("v").Services; len(services) != 0 {
		t.Errorf("validation failed, and yet there are %+v", services)
	}
}

func TestCPULimitLimits(t *testing.T) {
	w := newWorld(t)
	w.ok("run", w.script(`
def run(plan):
    plan.add_service("spin", ServiceConfig(image = "lab", cmd = ["spin"], max_cpu = 200))
`), "--enclave", "c")
	pid := w.service("c", "spin").PID
	begin, start := time.Now(), cpuTime(t, pid)
	time.Sleep(2 * time.Second) // a quota is time: it can only be measured over some
	share := float64(cpuTime(t, pid)-start) / float64(time.Since(begin))
	if share > 0.3 || share < 0.05 {
		t.Errorf("a service limited to 0.2 cores used %.2f", share)
	}
}

// cpuTime sums the CPU time of a process and its descendants (proc(5), stat).
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	var total time.Duration
	fields := strings.Fields(read(t, fmt.Sprintf("/proc/%d/stat", pid)))
	for _, field := range fields[13:15] {
		var ticks int64
		_, err := fmt.Sscan(field, &ticks)
		must(t, err)
		total += time.Duration(ticks) * 10 * time.Millisecond
	}
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, child := range strings.Fields(string(children)) {
		var n int
		_, err := fmt.Sscan(child, &n)
		must(t, err)
		total += cpuTime(t, n)
	}
	return total
}

func TestFullDiskIsNamed(t *testing.T) {
	w := newWorld(t)
	small := filepath.Join(w.dir, "small")
	must(t, os.Mkdir(small, 0o700))
	must(t, unix.Mount("tmpfs", small, "tmpfs", 0, "size=24m"))
	// A stranger that is just copying the host's mounts (unshare(1), a backup) makes it busy.
	defer eventually(t, "the small disk can be unmounted", func() bool { return unix.Unmount(small, 0) == nil })
	full := *w
	full.home = filepath.Join(small, "h")
	full.before = takeSnapshot(t)

	must(t, exec.Command("cp", lab, filepath.Join(w.dir, "lab", "ballast")).Run())
	must(t, exec.Command("sh", "-c", "for i in 1 2 3 4 5; do cat "+lab+"; done >> "+filepath.Join(w.dir, "lab", "ballast")).Run())
	must(t, os.WriteFile(filepath.Join(w.dir, "lab", "Dockerfile"), []byte("FROM scratch\nCOPY ballast /ballast\n"), 0o644))
	r := full.run("image", "build", "-t", "ballast", filepath.Join(w.dir, "lab"))
	if first := strings.SplitN(r.stderr, "\n", 2)[0]; r.code == 0 || !strings.Contains(r.stderr, "no space left") {
		t.Errorf("exit %d: %s", r.code, first)
	}
	full.run("clean", "-a")
	full.run("engine", "stop")
	full.sameHost()
}
