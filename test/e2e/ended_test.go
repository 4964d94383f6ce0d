package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lepto-dev/lepto/internal/run"
)

// This file: what is done in a service that has ended, or for which there is no
// memory, says so on its first line, and soon.

func TestCommandsSayWhatEndedThem(t *testing.T) {
	w := newWorld(t)
	w.box()
	for i, c := range []struct {
		name, service, step, code string
		first                     []string // all of them stand in the summary
		evidence                  string
	}{
		{"exec out of memory", `cmd = ["sleep", "1000"], max_memory = 48`, `plan.exec("s", ExecRecipe(["/lab", "eat", "200"]))`,
			"E0510", []string{`"s"`, "exit code 137: out of memory (limit 48 MB)"}, ""},
		{"exec whose child is out of memory", `cmd = ["sleep", "1000"], max_memory = 48`, `plan.exec("s", ExecRecipe(["sh", "-c", "/lab eat 200; echo was $?; exit 3"]))`,
			"E0510", []string{"exit code 3: out of memory (limit 48 MB)"}, "was 137"},
		{"exec that is killed", `cmd = ["sleep", "1000"]`, `plan.exec("s", ExecRecipe(["sh", "-c", "kill -9 $$"]))`,
			"E0510", []string{"exit code 137; acceptable is 0"}, ""},
		{"exec whose service ends meanwhile", `cmd = ["sh", "-c", "until [ -e /over ]; do sleep 0.05; done; echo giving up; exit 5"]`,
			`plan.exec("s", ExecRecipe(["sh", "-c", "touch /over; sleep 1000"]))`,
			"E0347", []string{`service "s" is not running: it exited with code 5`}, "giving up"},
		{"wait on a service that ends meanwhile", `cmd = ["sh", "-c", "sleep 0.5; echo no licence; exit 4"]`,
			`plan.wait("s", ExecRecipe(["false"]), "code", "==", 0, timeout = "1h")`,
			"E0347", []string{`service "s" is not running: it exited with code 4`}, "no licence"},
		{"wait on a service that has ended", `cmd = ["sh", "-c", "echo no licence; exit 4"], ports = {"http": PortSpec(80, wait = None)}`,
			`plan.wait("s", GetHttpRequestRecipe("http", "/"), "code", "==", 200, timeout = "1h")`,
			"E0347", []string{`it exited with code 4`}, "no licence"},
		{"exec on a service that is out of memory", `cmd = ["/lab", "eat", "200"], max_memory = 32`,
			`plan.wait("s", ExecRecipe(["false"]), "code", "==", 0, timeout = "1h")`,
			"E0347", []string{"out of memory"}, ""},
		{"ready condition of a service that ends", `cmd = ["sh", "-c", "sleep 0.3; exit 6"], ready_conditions = ReadyCondition(ExecRecipe(["false"]), "code", "==", 0, timeout = "1h")`,
			"pass", "E0330", []string{`exited with code 6 before it was ready`}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := *w
			w.t = t
			problem := w.problem(fmt.Sprintf("def run(plan):\n    plan.add_service(\"s\", ServiceConfig(\"box\", %s))\n    %s\n", c.service, c.step),
				"--enclave", fmt.Sprintf("e%d", i))
			if problem.Phase != run.Execution || problem.Code != c.code {
				t.Errorf("%s in %s: %s", problem.Code, problem.Phase, problem.Summary)
			}
			for _, part := range c.first {
				if !strings.Contains(problem.Summary, part) {
					t.Errorf("the first line lacks %q: %s", part, problem.Summary)
				}
			}
			if !strings.Contains(fmt.Sprint(problem.Evidence), c.evidence) {
				t.Errorf("evidence lacks %q: %+v", c.evidence, problem.Evidence)
			}
		})
	}
	t.Run("a task out of memory", func(t *testing.T) {
		w := *w
		w.t = t
		w.taskOutOfMemory()
	})
}

// taskOutOfMemory has a task wait until its cgroup has a limit, as if the host
// had little, before it takes more.
func (w *world) taskOutOfMemory() {
	const script = "def run(plan):\n    plan.run_sh(name = \"job\", image = \"box\", run = \"until [ -e /go ]; do sleep 0.05; done; /lab eat 200\")\n"
	limited := make(chan struct{})
	go func() {
		defer close(limited)
		eventually(w.t, "the task is there", func() bool { return w.run("service", "exec", "t", "job", "true").code == 0 })
		w.limitMemory(w.service("t", "job").PID, 48<<20)
		w.ok("service", "exec", "t", "job", "touch /go")
	}()
	problem := w.problem(script, "--enclave", "t")
	<-limited
	if problem.Code != "E0512" || !strings.Contains(problem.Summary, `the task "job" ended with exit code 137: out of memory`) {
		w.t.Errorf("%s: %s", problem.Code, problem.Summary)
	}
}

// limitMemory bounds the memory of the cgroup that a process is in.
func (w *world) limitMemory(pid, bytes int) {
	w.t.Helper()
	for _, line := range strings.Split(strings.TrimSpace(read(w.t, fmt.Sprintf("/proc/%d/cgroup", pid))), "\n") {
		fields := strings.SplitN(line, ":", 3)
		file := ""
		switch fields[1] {
		case "memory":
			file = filepath.Join("/sys/fs/cgroup/memory", fields[2], "memory.limit_in_bytes")
		case "":
			file = filepath.Join("/sys/fs/cgroup", fields[2], "memory.max")
		}
		if _, err := os.Stat(file); err == nil {
			must(w.t, os.WriteFile(file, fmt.Append(nil, bytes), 0))
			return
		}
	}
	w.t.Error("the process is in no cgroup with memory")
}
