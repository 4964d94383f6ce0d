package instruction

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/lang/types"
	"github.com/lepto-dev/lepto/internal/plan"
	"github.com/lepto-dev/lepto/internal/source"
)

// These tests execute tasks in an enclave of the memory backend, whose shell
// knows little; test/e2e has real ones.

func names(e *enclave.Enclave) []string {
	var out []string
	for _, s := range e.Services() {
		out = append(out, s.Name)
	}
	return out
}

func TestTaskGivesCodeAndOutput(t *testing.T) {
	e := newEnclave(t)
	results, err := execute(t, e, `
    r = plan.run_sh(run = "echo $GREETING", env_vars = {"GREETING": "hello"}, image = "web")
    plan.verify(r.code, "==", 0)
    plan.verify(r.output, "==", "hello\n")
    plan.run_sh(run = "echo again " + r.output, env_vars = {"X": r.output}, image = "web")
    plan.run_sh(run = "exit 4", image = "web", acceptable_codes = [0, 4])
    s = plan.run_sh(run = "exit 5", image = "web", skip_code_check = True)
    plan.verify(s.code, "==", 5)
`)
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Repeat("-", 20)
	want := []string{
		"Command returned with exit code '0' and the following output:\n" + line + "\nhello\n\n" + line,
		"Verification succeeded. Value is '0'.", `Verification succeeded. Value is '"hello\n"'.`,
		"Command returned with exit code '0' and the following output:\n" + line + "\nagain hello\n\n" + line,
		"Command returned with exit code '4' with no output",
		"Command returned with exit code '5' with no output", "Verification succeeded. Value is '5'.",
	}
	if !slices.Equal(results, want) {
		t.Errorf("got %q", results)
	}
	if left := names(e); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestFailedTaskStaysAndIsReplaced(t *testing.T) {
	e := newEnclave(t)
	const script = `
    plan.run_sh(name = "job", run = "echo broken; exit 3", image = "web")
`
	_, err := execute(t, e, script)
	f := fault.From(err, "none")
	if f.Code != "E0512" || !strings.Contains(f.Summary, `the task "job" ended with exit code 3; acceptable is 0`) {
		t.Fatalf("got %v", err)
	}
	if len(f.Evidence) != 1 || !slices.Equal(f.Evidence[0].Lines, []string{"broken"}) {
		t.Errorf("evidence: %+v", f.Evidence)
	}
	s, err := e.Inspect(t.Context(), "job")
	if err != nil || s.Failure == nil || s.Failure.Code != "E0512" || s.Status != enclave.ServiceRunning {
		t.Fatalf("got %+v, %v", s, err)
	}
	if lines := e.LastLines(t.Context(), "job"); !slices.Equal(lines, []string{"broken"}) {
		t.Errorf("its log: %q", lines)
	}
	results, err := execute(t, e, `
    plan.run_sh(name = "job", run = "echo well", image = "web")
    plan.get_services()
`)
	if err != nil || len(results) != 2 {
		t.Errorf("a task does not take the place of one that failed: %q, %v", results, err)
	}
	if left := names(e); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestTaskTakesNoLongerThanItMay(t *testing.T) {
	e := newEnclave(t)
	_, err := execute(t, e, `
    plan.run_sh(name = "job", run = "echo waiting; sleep 1000", image = "web", wait = "100ms")
`)
	f := fault.From(err, "none")
	if f.Code != "E0513" || f.Summary != `the task "job" did not end within 100ms` || !slices.Equal(f.Evidence[0].Lines, []string{"waiting"}) {
		t.Errorf("got %+v", f)
	}
}

func TestSetServiceChangesTheAddition(t *testing.T) {
	e := newEnclave(t)
	results, err := execute(t, e, `
    plan.add_service("a", ServiceConfig("pause", max_memory = 100, labels = {"a": "1"}))
    plan.set_service("a", ServiceConfig("web", min_memory = 7, user = User(uid = 5)))
`)
	if err != nil {
		t.Fatal(err)
	}
	s, err := e.Service("a")
	if err != nil {
		t.Fatal(err)
	}
	c := s.Config
	if c.Image.Ref != "web" || c.MaxMemory != 100 || c.MinMemory != 7 || c.User == nil || c.User.UID != 5 || c.Labels["a"] != "1" {
		t.Errorf("got %+v", c)
	}
	if results[1] != "Set service config on service 'a'." {
		t.Errorf("got %q", results[1])
	}
}

// withServices is an enclave in which services of an earlier run are.
type withServices struct{ enclaveView }

func (withServices) ExistingServices() []lang.ExistingService {
	return []lang.ExistingService{{Name: "old"}}
}

func TestSetServiceOfAnotherRunWarns(t *testing.T) {
	host := lang.NewHost(All(), types.All())
	for script, want := range map[string]int{
		`plan.set_service("old", ServiceConfig("web"))`:                                                            1,
		"plan.set_service(\"old\", ServiceConfig(\"web\"))\n    plan.add_service(\"old\", ServiceConfig(\"web\"))": 1,
		"plan.add_service(\"old\", ServiceConfig(\"web\"))\n    plan.set_service(\"old\", ServiceConfig(\"web\"))": 0,
	} {
		p := source.OpenScript("x.star", "def run(plan):\n    "+script+"\n")
		made, err := host.Interpret(t.Context(), lang.Request{Package: p, Enclave: withServices{enclaveView{newEnclave(t)}}})
		if err != nil {
			t.Fatal(err)
		}
		if len(made.Warnings) != want || want > 0 && !strings.Contains(made.Warnings[0], `set_service: this plan does not add "old" before`) {
			t.Errorf("%s: warnings are %q", script, made.Warnings)
		}
	}
}

// What tasks use shows in the graph of a plan: those whose scripts are known
// hold up, and wait for, what they name.
func TestGraphOfTasks(t *testing.T) {
	host := lang.NewHost(All(), types.All())
	p := source.OpenScript("x.star", `
def run(plan):
    db = plan.add_service("db", ServiceConfig("i"))
    api = plan.add_service("api", ServiceConfig("i"))
    keys = plan.run_sh(name = "keys", run = "keygen > /k", store = ["/k"])
    plan.run_sh(name = "migrate", run = "psql -h db -f x")
    plan.run_python(name = "ask", run = "import sys", args = [api.hostname])
    plan.run_sh(name = "env", run = "psql", env_vars = {"PGHOST": db.ip_address})
    plan.render_templates({"f": struct(template = "{{.A}}", data = {"A": "api:80"})}, name = "conf")
    plan.run_sh(name = "mounted", run = "sh /c/f", files = {"/c": "conf", "/k": keys.files_artifacts[0]})
    said = plan.exec("db", ExecRecipe(["peers"]))
    plan.run_sh(name = "any", run = "curl " + said["output"])
    plan.run_sh(name = "idle", run = "sleep 1")
`)
	made, err := host.Interpret(t.Context(), lang.Request{Package: p})
	if err != nil {
		t.Fatal(err)
	}
	var after []string
	for i, links := range plan.NewGraph(made.Steps).Reduced() {
		steps := ""
		for _, link := range links {
			steps += fmt.Sprintf(" %d", link.Step+1)
		}
		after = append(after, fmt.Sprintf("%d:%s", i+1, steps))
	}
	// 4 and 6 use db, as does 9; 5 and 8 api; 10 and 11 may use both.
	want := []string{"1:", "2:", "3:", "4: 1", "5: 2", "6: 4", "7:", "8: 3 5 7", "9: 6", "10: 8 9", "11: 8 9"}
	if !slices.Equal(after, want) {
		t.Errorf("got  %q\nwant %q", after, want)
	}
}
