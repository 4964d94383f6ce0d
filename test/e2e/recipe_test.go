package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/backend/backendtest/bounds"
	"github.com/lepto-dev/lepto/internal/run"
)

// This file: recipes, waits and values in real containers. A test that is named
// by a letter and a number shows that row of the specification's checklist.

// results runs a script that must succeed, and gives what its steps gave and the
// run's output.
func (w *world) results(script string, args ...string) ([]string, string) {
	w.t.Helper()
	events, r := w.events(append([]string{w.script(script)}, args...)...)
	if r.code != 0 {
		w.t.Fatalf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	var out []string
	var last run.Event
	for _, event := range events {
		if event.Result != nil {
			out = append(out, event.Result.Text)
		}
		last = event
	}
	return out, last.Done.Output
}

// prelude adds a server with busybox beside it.
const recipePrelude = `
def run(plan):
    plan.add_service("lab", ServiceConfig(
        image = "box", cmd = ["/lab", "serve", "80"],
        ports = {"http": PortSpec(80, application_protocol = "http"), "udp": PortSpec(80, "UDP")},
    ))
`

func TestRecipes(t *testing.T) {
	w := newWorld(t)
	w.box()
	w.ok("run", w.script(recipePrelude), "--enclave", "e")
	const head = "def run(plan):\n    get = lambda e, **kw: GetHttpRequestRecipe(\"http\", e, **kw)\n    post = lambda b, **kw: PostHttpRequestRecipe(\"http\", \"/json\", b, **kw)\n"
	line := strings.Repeat("-", 20)
	for _, c := range []struct{ name, script, want string }{
		{"C1 exec: codes, keys and result strings", `
    a = plan.exec("lab", ExecRecipe(["sh", "-c", "echo one; echo two >&2; exit 3"]), acceptable_codes = [3])
    plan.verify(a["code"], "==", 3)
    plan.verify(a["output"], "==", "one\ntwo\n")
    b = plan.exec("lab", ExecRecipe(["printf", "x"]))
    c = plan.exec("lab", ExecRecipe(["true"]))
    d = plan.exec("lab", ExecRecipe(["false"]), skip_code_check = True)
`, "Command returned with exit code '3' and the following output:\n" + line + "\none\ntwo\n\n" + line + `|Verification succeeded. Value is '3'.|Verification succeeded. Value is '"one\ntwo\n"'.|` +
			"Command returned with exit code '0' and the following output: x|Command returned with exit code '0' with no output|Command returned with exit code '1' with no output"},
		{"C2 exec without a shell", `
    plan.exec("lab", ExecRecipe(["printf", "%s", "a|b $HOME"]))
`, "Command returned with exit code '0' and the following output: a|b $HOME"},
		{"D1 request: default codes, a list, no check", `
    plan.request("lab", get("/status/204"))
    plan.request("lab", get("/status/226"))
    plan.request("lab", get("/status/500"), acceptable_codes = [500])
    plan.request("lab", get("/status/404"), skip_code_check = True)
`, `Request had response code '204' and body ""|Request had response code '226' and body ""|Request had response code '500' and body ""|Request had response code '404' and body ""`},
		{"D2 endpoint as it is, content types, headers, references in all of them", `
    o = plan.exec("lab", ExecRecipe(["printf", "q"]))["output"]
    r = plan.request("lab", get("/reflect?x=" + o, headers = {"X-Test": o, "Host": "example.org"}, extract = {"uri": ".uri", "test": ".test", "host": ".host", "type": ".type"}))
    plan.print(r["extract.uri"] + " " + r["extract.test"] + " " + r["extract.host"] + " [" + r["extract.type"] + "]")
    p = plan.request("lab", PostHttpRequestRecipe("http", "/reflect", body = o + "uote", extract = {"a": ".method + .type + .body"}))
    plan.print(p["extract.a"])
    p = plan.request("lab", PostHttpRequestRecipe("http", "/reflect", content_type = "text/plain", extract = {"a": ".type"}))
    plan.print(p["extract.a"])
`, "…|…|/reflect?x=q q example.org []|…|POSTapplication/jsonquote|…|text/plain"},
		{"D3 the classic dialect's extraction", `
    r = plan.request("lab", post('{"result":{"foo":["hello/world/welcome"]}}', extract = {"second-element-from-list-head": '.result.foo | .[0] | split ("/") | .[1]'}))
    plan.assert(r["extract.second-element-from-list-head"], "==", "world")
    response = plan.request("lab", post('{"url":"posts/1"}', extract = {"post-number": '.url | split ("/") | .[1]', "post-number-as-int": '.url | split ("/") | .[1] | tonumber', "many": ".url, 2"}))
    plan.assert(response["extract.post-number"], "==", "1")
    plan.assert(response["extract.post-number-as-int"], "==", 1)
    plan.assert(response["extract.many"], "==", ["posts/1", 2])
    plan.wait("lab", post('{"n": "7"}', extract = {"n": ".n | tonumber"}), "extract.n", ">=", response["extract.post-number-as-int"])
`, `…|Assertion succeeded. Value is '"world"'.|…|Assertion succeeded. Value is '"1"'.|Assertion succeeded. Value is '1'.|Assertion succeeded. Value is '["posts/1", 2]'.|…`},
		{"D4 extract on exec needs fromjson", `
    r = plan.exec("lab", ExecRecipe(["echo", '{"name": {"id": 5}}'], extract = {"id": "fromjson | .name.id"}))
    plan.verify(r["extract.id"], "==", 5)
`, "…|Verification succeeded. Value is '5'."},
		{"E1 wait: the first try at once, then with pauses", `
    r = plan.wait("lab", get("/after/3", extract = {"n": ".asked"}), "code", "==", 200, interval = "10ms", timeout = "10s")
    plan.verify(r["extract.n"], "==", 3)
    plan.wait("lab", ExecRecipe(["true"]), "code", "IN", [0, 7])
`, "…|Verification succeeded. Value is '3'.|…"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := *w
			w.t = t
			got, _ := w.results(head+c.script, "--enclave", "e")
			want := strings.Split(c.want, "|")
			if strings.Contains(c.name, "C2") {
				want = []string{c.want}
			}
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
	t.Run("E1 E3 the text of a wait", func(t *testing.T) {
		w := *w
		w.t = t
		got, _ := w.results(head+"    plan.wait(\"lab\", get(\"/after/2\"), \"code\", \"==\", 200, interval = \"10ms\")\n", "--enclave", "e")
		var tries int
		var took string
		if _, err := fmt.Sscanf(got[0], "Wait took %d tries (%s in total). Assertion passed with following:", &tries, &took); err != nil || tries != 2 {
			t.Errorf("got %q: %v", got[0], err)
		}
		if !strings.HasSuffix(got[0], "\nRequest had response code '200' and body \"{\\\"asked\\\":2}\\n\"") {
			t.Errorf("got %q", got[0])
		}
	})
	t.Run("H10 values in the output are of their type", func(t *testing.T) {
		w := *w
		w.t = t
		_, output := w.results(head+`
    r = plan.request("lab", post('{"a": [1, {"b": "quote \\" and\\nline"}], "f": 1.5}', extract = {"a": ".a", "f": ".f"}))
    return {"a": r["extract.a"], "f": r["extract.f"], "code": r["code"], "text": "code " + r["code"], "body": r["body"]}
`, "--enclave", "e")
		var value map[string]any
		if err := json.Unmarshal([]byte(output), &value); err != nil {
			t.Fatalf("%v\n%s", err, output)
		}
		want := map[string]any{
			"a": []any{1.0, map[string]any{"b": "quote \" and\nline"}}, "f": 1.5, "code": 200.0, "text": "code 200",
			"body": `{"a": [1, {"b": "quote \" and\nline"}], "f": 1.5}`,
		}
		if fmt.Sprint(value) != fmt.Sprint(want) {
			t.Errorf("got %v", value)
		}
	})
	t.Run("progress tells of tries", func(t *testing.T) {
		w := *w
		w.t = t
		events, _ := w.events(w.script(head+"    plan.wait(\"lab\", get(\"/after/4\"), \"code\", \"==\", 200, interval = \"100ms\")\n"), "--enclave", "e")
		told := ""
		for _, event := range events {
			if event.Progress != nil {
				told += event.Progress.Text + "\n"
			}
		}
		if !strings.Contains(told, "try 1 on service \"lab\": verification failed '503' '==' '200'; ") || !strings.Contains(told, "s left") {
			t.Errorf("progress: %q", told)
		}
	})
	w.failingRecipes(head)
	w.ok("enclave", "rm", "-f", "e")
}

// failingRecipes checks what failures of recipes say.
func (w *world) failingRecipes(head string) {
	for _, c := range []struct {
		name, script string
		phase        run.PhaseName
		code         string
		says         []string // in the summary or the evidence
	}{
		{"C1 a code that is not acceptable", `plan.exec("lab", ExecRecipe(["sh", "-c", "echo no such table; exit 4"]))`, run.Execution, "E0510", []string{"exit code 4; acceptable is 0", "no such table"}},
		{"C3 exec on an unknown service", `plan.exec("lba", ExecRecipe(["true"]))`, run.Validation, "E0303", []string{`"lba"`}},
		{"a command that is not there", `plan.exec("lab", ExecRecipe(["no-such"]))`, run.Execution, "E0510", []string{"127", "no-such"}},
		{"D1 a status that is not acceptable", `plan.request("lab", get("/status/500"))`, run.Execution, "E0511", []string{"500"}},
		{"D3 nothing is extracted", `plan.request("lab", post('{"a": null}', extract = {"a": ".a"}))`, run.Execution, "E0505", []string{`"a"`, "finds nothing"}},
		{"an invalid jq query", `plan.request("lab", post('{}', extract = {"a": "]"}))`, run.Validation, "E0516", []string{`"]"`}},
		{"a body that is no JSON", `plan.request("lab", get("/name", extract = {"a": "."}))`, run.Execution, "E0506", []string{"no JSON"}},
		{"D5 an unknown port", `plan.request("lab", GetHttpRequestRecipe("htpt", "/"))`, run.Validation, "E0305", []string{"htpt"}},
		{"a port that is not TCP", `plan.request("lab", GetHttpRequestRecipe("udp", "/"))`, run.Validation, "E0517", []string{"udp"}},
		{"a bad endpoint", `plan.request("lab", get("no-slash"))`, run.Execution, "E0509", []string{"no-slash"}},
		{"E2 a wait that takes too long", `plan.wait("lab", get("/status/503"), "code", "==", 200, interval = "50ms", timeout = "300ms")`, run.Execution, "E0312",
			[]string{"did not become ready within 300ms", "tries: verification failed '503' '==' '200'", "Request had response code '503'", "tcp [::]:80"}},
		{"an unknown field", `plan.wait("lab", get("/name"), "boddy", "==", "x", timeout = "1h")`, run.Execution, "E0508", []string{"boddy"}},
		{"A3 values of different types", `plan.verify(plan.exec("lab", ExecRecipe(["printf", "0"]))["output"], "!=", 0)`, run.Execution, "E0507", []string{"types differ"}},
		{"a value of another type in a wait", `plan.wait("lab", get("/name"), "code", "==", "200", interval = "10ms", timeout = "50ms")`, run.Execution, "E0312", []string{"types differ"}},
	} {
		w.t.Run(c.name, func(t *testing.T) {
			w := *w
			w.t = t
			problem := w.problem(head+"    "+c.script+"\n", "--enclave", "e")
			if problem.Phase != c.phase || problem.Code != c.code {
				t.Errorf("%s in %s: %s", problem.Code, problem.Phase, problem.Summary)
			}
			if len(problem.Stack) == 0 || problem.Stack[0].Line != 4 {
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

// TestE2DefaultTimeout: a wait takes ten seconds where nothing else is said, and
// a port wait as long as it says.
func TestE2DefaultTimeout(t *testing.T) {
	w := newWorld(t)
	w.box()
	began := time.Now()
	problem := w.problem(recipePrelude+"    plan.wait(\"lab\", GetHttpRequestRecipe(\"http\", \"/status/503\"), \"code\", \"==\", 200)\n", "--enclave", "e")
	if took := time.Since(began); problem.Code != "E0312" || !strings.Contains(problem.Summary, "within 10s") || took < 10*time.Second || took > bounds.Wide(time.Minute) {
		t.Errorf("%s after %v: %s", problem.Code, took, problem.Summary)
	}
	problem = w.problem(`
def run(plan):
    plan.add_service("s", ServiceConfig("box", cmd = ["/lab", "sleep"], ports = {"a": PortSpec(81, wait = "1s")}))
`, "--enclave", "e")
	if !strings.Contains(problem.Summary, `port 81 (a) of service "s" never opened in 1s; it listens on no TCP port`) {
		t.Errorf("got %s", problem.Summary)
	}
}
