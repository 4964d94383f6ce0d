package e2e

import (
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/backend/backendtest/bounds"
	"github.com/lepto-dev/lepto/internal/run"
)

// This file: rows of the specification's checklist about what is refused before
// anything starts, and about waits and their defaults.

func TestNothingStartsWhereAnythingIsWrong(t *testing.T) {
	w := newWorld(t)
	registry, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer registry.Close()
	var asked atomic.Int32
	go func() {
		for {
			conn, err := registry.Accept()
			if err != nil {
				return
			}
			asked.Add(1)
			conn.Close()
		}
	}()
	good := `plan.add_service("first", ServiceConfig("` + registry.Addr().String() + `/none"))` + "\n    "
	const added = `plan.add_service("s", ServiceConfig("lab"))` + "\n    "
	for _, c := range []struct {
		name, script string
		phase        run.PhaseName
		codes        string
	}{
		{"B2 a name twice", added + added + "pass", run.Validation, "E0302"},
		{"B2 a name twice, once in a batch", added + `plan.add_services({"s": ServiceConfig("lab")})`, run.Validation, "E0302"},
		{"B3 an artifact that is not there", `plan.add_service("s", ServiceConfig("lab", files = {"/x": "nope"}))`, run.Validation, "E0304"},
		{"B4 several at once", added + added + `plan.add_service("t", ServiceConfig("lab", files = {"/x": "nope"}))
    plan.exec("stranger", ExecRecipe(["x"]))`, run.Validation, "E0302 E0304 E0303"},
		{"B9 an empty dict", `plan.add_services({})`, run.Interpretation, "E0202"},
		{"B9 a value that is no config", `plan.add_services({"s": "lab"})`, run.Interpretation, "E0202"},
		{"B9 a config that is none", `plan.add_service("s", {})`, run.Interpretation, "E0202"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := *w
			w.t = t
			events, r := w.events(w.script("def run(plan):\n    "+good+c.script+"\n"), "--enclave", "e")
			var codes []string
			for _, event := range events {
				switch {
				case event.Error != nil:
					codes = append(codes, event.Error.Code)
					if event.Error.Phase != c.phase {
						t.Errorf("an error of %s: %s", event.Error.Phase, event.Error.Summary)
					}
				case event.Image != nil, event.Begin != nil:
					t.Errorf("something was begun: %+v", event)
				}
			}
			if got := strings.Join(codes, " "); got != c.codes || r.code != 1 {
				t.Errorf("errors %s, exit %d\n%s", got, r.code, r.stdout)
			}
			if services := w.inspect("e").Services; len(services) != 0 {
				t.Errorf("there are %+v", services)
			}
			if n := asked.Load(); n != 0 {
				t.Errorf("the registry was asked %d times", n)
			}
		})
	}
}

// progress gives all that was told while a script ran, which must succeed.
func (w *world) progress(script string) string {
	w.t.Helper()
	events, r := w.events(w.script(script), "--enclave", "e")
	if r.code != 0 {
		w.t.Fatalf("exit %d\n%s", r.code, r.stdout)
	}
	var told []string
	for _, event := range events {
		if event.Progress != nil {
			told = append(told, event.Progress.Text)
		}
	}
	return strings.Join(told, "\n")
}

func TestWaitsAndTheirDefaults(t *testing.T) {
	w := newWorld(t)
	w.box()
	const box = `def run(plan):
    twice = ExecRecipe(["sh", "-c", "[ -e /tried ] || { touch /tried; exit 1; }"])
    `
	in := func(name string, f func(w *world)) {
		t.Run(name, func(t *testing.T) {
			w := *w
			w.t = t
			f(&w)
		})
	}
	in("E2 a wait takes up to 10 s, with tries from 1 s on", func(w *world) {
		told := w.progress(box + `plan.add_service("a", ServiceConfig("box", cmd = ["sleep", "1000"]))
    plan.wait("a", twice, "code", "==", 0)` + "\n")
		if !regexp.MustCompile(`try 1 on service "a".*; (10|[5-9])s left`).MatchString(told) { // a try takes its time
			t.Errorf("progress: %q", told)
		}
	})
	in("E2 a timeout tells the tries and the last error", func(w *world) {
		began := time.Now()
		problem := w.problem(box+`plan.wait("a", ExecRecipe(["sh", "-c", "echo not yet; exit 9"]), "code", "==", 0, interval = "100ms", timeout = "1s")`+"\n", "--enclave", "e")
		if problem.Code != "E0312" || !strings.Contains(problem.Summary, "within 1s, in ") || !strings.Contains(problem.Summary, "'9' '==' '0'") ||
			!strings.Contains(fmt.Sprint(problem.Evidence), "not yet") {
			t.Errorf("%s: %s\n%v", problem.Code, problem.Summary, problem.Evidence)
		}
		if took := time.Since(began); took < time.Second || took > bounds.Wide(30*time.Second) {
			t.Errorf("took %v", took)
		}
	})
	in("E4 a ready condition takes up to 15 min, with tries from 1 s on", func(w *world) {
		told := w.progress(box + `plan.add_service("b", ServiceConfig("box", cmd = ["sleep", "1000"], ready_conditions = ReadyCondition(twice, "code", "==", 0)))` + "\n")
		if !regexp.MustCompile(`try 1 on service "b".*; (15m0s|14m5\ds) left`).MatchString(told) {
			t.Errorf("progress: %q", told)
		}
	})
	in("E4 a port takes up to 2 min", func(w *world) {
		told := w.progress(box + `plan.add_service("c", ServiceConfig("box", cmd = ["/lab", "late", "3s", "80"], ports = {"http": PortSpec(80)}))` + "\n")
		if !strings.Contains(told, `waiting for port 80 (http) of service "c", up to 2m0s`) {
			t.Errorf("progress: %q", told)
		}
	})
	in("E4 a closed port that is waited for 1 s", func(w *world) {
		began := time.Now()
		problem := w.problem(box+`plan.add_service("d", ServiceConfig("box", cmd = ["sleep", "1000"], ports = {"http": PortSpec(80, wait = "1s")}))`+"\n", "--enclave", "e")
		if problem.Code != "E0332" {
			t.Errorf("%s: %s", problem.Code, problem.Summary)
		}
		if took := time.Since(began); took < time.Second || took > bounds.Wide(30*time.Second) {
			t.Errorf("took %v", took)
		}
	})
}
