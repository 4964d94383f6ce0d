package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/api/view"
	"github.com/lepto-dev/lepto/internal/backend/backendtest/bounds"
	"github.com/lepto-dev/lepto/internal/run"
)

// This file: tasks in real containers. run_python is shown by examples/python.

func TestTasks(t *testing.T) {
	w := newWorld(t)
	w.box()
	line := strings.Repeat("-", 20)
	for _, c := range []struct{ name, script, want string }{
		{"code and output are the script's own", `
    a = plan.run_sh(image = "box", run = "echo out; echo err >&2; printf 'no line end'")
    plan.verify(a.output, "==", "out\nerr\nno line end")
    plan.run_sh(image = "box", run = "exit 7", acceptable_codes = [0, 7])
    plan.run_sh(image = "box", run = "kill -9 $$", skip_code_check = True)
`, "Command returned with exit code '0' and the following output:\n" + line + "\nout\nerr\nno line end\n" + line + `|…|Command returned with exit code '7' with no output|Command returned with exit code '137' with no output`},
		{"scripts are passed as they are", `
    plan.run_sh(image = "box", run = "printf '%s' \"$(echo 'a\"b')\" '\\\\n' '$HOME' ` + "'`'" + `\n# a comment at the end")
    plan.run_sh(image = "box", run = "cat <<'EOF'\na  \"quoted\" 'text'\nEOF\n")
    plan.run_sh(image = "box", run = "# " + "x" * 300000 + "\nprintf '%s' long")
`, "Command returned with exit code '0' and the following output: a\"b\\\\n$HOME`|…|Command returned with exit code '0' and the following output: long"},
		{"environment, references and names", `
    a = plan.run_sh(image = "box", run = "printf one")
    plan.run_sh(image = "box", run = "printf '%s %s' \"$V\" " + a.output, env_vars = {"V": "<" + a.output + ">"})
    plan.run_sh(name = "named", image = "box", run = "hostname | tr -d '\\n'")
    plan.verify(a.code, "==", 0)
`, "…|Command returned with exit code '0' and the following output: <one> one|Command returned with exit code '0' and the following output: named|…"},
		{"files go from task to task, and to services", `
    a = plan.run_sh(image = "box", run = "mkdir -p /out/d && echo x > /out/d/x && echo y > /y", store = [StoreSpec(src = "/out", name = "made"), "/y"])
    plan.run_sh(image = "box", run = "cat /in/d/x /in2/y | tr '\\n' ' '; echo changed > /in/d/x", files = {"/in": "made", "/in2": a.files_artifacts[1]})
    plan.add_service("s", ServiceConfig("box", cmd = ["sleep", "1000"], files = {"/made": "made"}))
    plan.exec("s", ExecRecipe(["cat", "/made/d/x"]))
`, "Command returned with exit code '0' with no output|Command returned with exit code '0' and the following output: x y |…|Command returned with exit code '0' and the following output:\n" + line + "\nx\n\n" + line},
		{"a task reaches services by name, and has a container of its own", `
    plan.add_service("web", ServiceConfig("box", cmd = ["/lab", "serve", "80"], ports = {"http": PortSpec(80, application_protocol = "http")}))
    plan.run_sh(image = "box", run = "wget -qO- http://web/name; touch /tmp/mine")
    plan.run_sh(image = "box", run = "test ! -e /tmp/mine && test $(ps | grep -c lepto-init) -ge 1")
`, "…|Command returned with exit code '0' and the following output: web |Command returned with exit code '0' with no output"},
		{"no bound", `
    plan.run_sh(image = "box", run = "sleep 0.1", wait = None)
`, "Command returned with exit code '0' with no output"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := *w
			w.t = t
			got, _ := w.results("def run(plan):"+c.script, "--enclave", "e")
			want := strings.Split(c.want, "|")
			if len(got) != len(want) {
				t.Fatalf("got %q", got)
			}
			for i := range want {
				if want[i] != "…" && got[i] != want[i] {
					t.Errorf("step %d: got %q, want %q", i+1, got[i], want[i])
				}
			}
		})
	}
	var left []string
	for _, s := range w.inspect("e").Services {
		left = append(left, s.Name)
	}
	if fmt.Sprint(left) != "[s web]" {
		t.Errorf("services: %q", left)
	}
	w.failingTasks()
	w.keptTasks()
	w.ok("enclave", "rm", "-f", "e")
}

func (w *world) failingTasks() {
	for _, c := range []struct {
		name, script string
		phase        run.PhaseName
		code         string
		says         []string
	}{
		{"a code that is not acceptable", `plan.run_sh(name = "t", image = "box", run = "echo broken; exit 3")`, run.Execution, "E0512", []string{`"t" ended with exit code 3; acceptable is 0`, "broken"}},
		{"a script without end", `plan.run_sh(name = "t", image = "box", run = "echo begun; sleep 1000", wait = "300ms")`, run.Execution, "E0513", []string{`"t" did not end within 300ms`, "begun"}},
		{"an image without a shell", `plan.run_sh(name = "t", image = "lab", run = "x")`, run.Execution, "E0512", []string{"exit code 127", "/bin/sh"}},
		{"an image without Python", `plan.run_python(name = "t", image = "box", run = "x")`, run.Execution, "E0514", []string{`"box"`, `"t"`}},
		{"a path that is not there", `plan.run_sh(name = "t", image = "box", run = "true", store = ["/nope"])`, run.Execution, "E0545", []string{`"t"`, "/nope"}},
		{"a missing artifact", `plan.run_sh(name = "t", image = "box", run = "true", files = {"/x": "nope"})`, run.Validation, "E0304", []string{`task "t" mounts at "/x"`, `"nope"`}},
		{"a path stored twice", `plan.run_sh(name = "t", image = "box", run = "true", store = ["/a", "/a"])`, run.Validation, "E0321", []string{`"/a" twice`}},
		{"a service's name", `plan.run_sh(name = "web", image = "box", run = "true")`, run.Validation, "E0320", []string{`"web"`}},
		{"a missing image", `plan.run_sh(image = "127.0.0.1:1/none", run = "true")`, run.Validation, "E0412", []string{"127.0.0.1:1/none"}},
		{"privileged", `plan.run_sh(image = "box", run = "true", privileged = True)`, run.Interpretation, "E0214", []string{"privileged"}},
	} {
		w.t.Run(c.name, func(t *testing.T) {
			w := *w
			w.t = t
			problem := w.problem("def run(plan):\n    "+c.script+"\n", "--enclave", "e")
			if problem.Phase != c.phase || problem.Code != c.code {
				t.Errorf("%s in %s: %s", problem.Code, problem.Phase, problem.Summary)
			}
			if len(problem.Stack) == 0 || problem.Stack[0].Line != 2 {
				t.Errorf("position: %+v", problem.Stack)
			}
			for _, part := range c.says {
				if !strings.Contains(problem.Summary+fmt.Sprint(problem.Evidence), part) {
					t.Errorf("%q is not said: %s\n%v", part, problem.Summary, problem.Evidence)
				}
			}
		})
	}
}

// keptTasks looks into tasks that failed, and at those that are asked to stay.
func (w *world) keptTasks() {
	w.t.Run("a failed task can be looked into", func(t *testing.T) {
		w := *w
		w.t = t
		problem := w.problem("def run(plan):\n    plan.run_sh(name = \"bad\", image = \"box\", run = \"echo seen; echo kept > /tmp/f; exit 1\")\n", "--enclave", "e")
		if problem.Service != "bad" {
			t.Errorf("the problem is about %q", problem.Service)
		}
		if log := w.ok("service", "logs", "e", "bad"); !strings.Contains(log, "seen") {
			t.Errorf("its log: %q", log)
		}
		s := w.service("e", "bad")
		if s.Status != view.Running || s.Failure == nil || s.Failure.Code != "E0512" {
			t.Errorf("it is %+v", s)
		}
		if got := w.ok("service", "exec", "e", "bad", "cat /tmp/f"); got != "kept\n" {
			t.Errorf("its file: %q", got)
		}
		// The engine may end: it is found again, and goes with the enclave.
		w.ok("engine", "restart")
		if got := w.ok("service", "exec", "e", "bad", "cat /tmp/f"); got != "kept\n" {
			t.Errorf("after a restart of the engine: %q", got)
		}
		if got, _ := w.results("def run(plan):\n    plan.run_sh(name = \"bad\", image = \"box\", run = \"true\")\n    return [s.name for s in plan.get_services()]\n", "--enclave", "e"); len(got) != 2 {
			t.Errorf("a second run: %q", got)
		}
	})
	w.t.Run("--on-failure remove", func(t *testing.T) {
		w := *w
		w.t = t
		for _, script := range []string{
			`plan.run_sh(name = "gone", image = "box", run = "exit 1")`,
			`plan.add_service("gone", ServiceConfig("box", cmd = ["false"], ports = {"p": PortSpec(80)}))`,
		} {
			problem := w.problem("def run(plan):\n    "+script+"\n", "--enclave", "e", "--on-failure", "remove")
			if problem.Service != "" {
				t.Errorf("the problem is about %q", problem.Service)
			}
			for _, s := range w.inspect("e").Services {
				if s.Name == "gone" {
					t.Errorf("it stays: %s", script)
				}
			}
		}
	})
	w.t.Run("--non-blocking-tasks", func(t *testing.T) {
		w := *w
		w.t = t
		w.results("def run(plan):\n    plan.run_sh(name = \"stays\", image = \"box\", run = \"echo x > /f\")\n    plan.exec(\"stays\", ExecRecipe([\"cat\", \"/f\"]))\n", "--enclave", "e", "--non-blocking-tasks")
		if s := w.service("e", "stays"); s.Status != view.Running || s.Failure != nil {
			t.Errorf("it is %+v", s)
		}
	})
	w.t.Run("H9 a cancelled task leaves nothing", func(t *testing.T) {
		w := *w
		w.t = t
		w.cancelled("plan.run_sh(name = \"long\", image = \"box\", run = \"echo begun; sleep 1000\")", func() bool {
			return strings.Contains(w.run("service", "logs", "e", "long").stdout, "begun")
		})
		for _, s := range w.inspect("e").Services {
			if s.Name == "long" {
				t.Errorf("it is left: %+v", s)
			}
		}
	})
	w.t.Run("H9 a wait can be cancelled", func(t *testing.T) {
		w := *w
		w.t = t
		w.cancelled(`plan.wait("s", ExecRecipe(["sh", "-c", "echo tried >> /tmp/tries; false"]), "code", "==", 0, interval = "1m", timeout = "1h")`, func() bool {
			return strings.Contains(w.run("service", "exec", "e", "s", "cat /tmp/tries").stdout, "tried")
		})
	})
}

// cancelled runs one step and, once it has begun, interrupts the run, which ends
// soon and goes no further.
func (w *world) cancelled(step string, begun func() bool) {
	w.t.Helper()
	command := w.command("run", w.script("def run(plan):\n    "+step+"\n    plan.run_sh(name = \"after\", image = \"box\", run = \"exit 1\")\n"), "--enclave", "e")
	must(w.t, command.Start())
	eventually(w.t, "the step has begun", begun)
	began := time.Now()
	must(w.t, interrupt(command))
	_ = command.Wait() // its code is checked below
	if code := command.ProcessState.ExitCode(); code != 130 || time.Since(began) > bounds.Wide(30*time.Second) {
		w.t.Errorf("exit %d after %v", code, time.Since(began))
	}
	for _, s := range w.inspect("e").Services {
		if s.Name == "after" {
			w.t.Error("the step after it was executed")
		}
	}
}
