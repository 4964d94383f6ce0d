package instruction

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/artifact"
	"github.com/lepto-dev/lepto/internal/backend/memory"
	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/lang/types"
	"github.com/lepto-dev/lepto/internal/plan"
	"github.com/lepto-dev/lepto/internal/source"
)

// These tests execute plans in an enclave of the memory backend.

const bound = 30 * time.Second

// web is a program that serves HTTP on port 80: what it was sent, as JSON.
func web(ctx context.Context, p *memory.Proc) int {
	l, err := p.Listen(80)
	if err != nil {
		fmt.Fprintln(p.Stderr, err)
		return 1
	}
	asked := 0
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		body, _ := io.ReadAll(r.Body)
		switch r.URL.Path {
		case "/missing":
			http.NotFound(w, r)
		case "/third":
			if asked < 3 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		case "/away":
			http.Redirect(w, r, "http://example.org/", http.StatusFound)
		case "/again":
			http.Redirect(w, r, "/x", http.StatusFound)
		default:
			fmt.Fprintf(w, `{"path": %q, "body": %q, "type": %q, "header": %q, "n": 1.0, "list": [1, null, {"a": 2.5}]}`,
				r.URL.RequestURI(), body, r.Header.Get("Content-Type"), r.Header.Get("X-Test"))
		}
	})}
	defer server.Close()
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(p.Stderr, err)
	}
	return 0
}

func newEnclave(t *testing.T) *enclave.Enclave {
	t.Helper()
	be := memory.New(memory.Options{
		Commands: map[string]memory.Program{
			"web":    web,
			"two":    func(_ context.Context, p *memory.Proc) int { fmt.Fprint(p.Stdout, "a\nb"); return 0 },
			"fails":  func(_ context.Context, p *memory.Proc) int { fmt.Fprintln(p.Stderr, "no such table"); return 3 },
			"quoted": func(_ context.Context, p *memory.Proc) int { fmt.Fprint(p.Stdout, "a \"quoted\"\nline"); return 0 },
			"json": func(_ context.Context, p *memory.Proc) int {
				fmt.Fprint(p.Stdout, `{"a": [1, 2], "b": null}`)
				return 0
			},
		},
		Images: map[string]memory.Image{"web": {Cmd: []string{"web"}}},
	})
	store, err := enclave.OpenStore(filepath.Join(t.TempDir(), "engine.db"))
	if err != nil {
		t.Fatal(err)
	}
	artifacts, err := artifact.Open(filepath.Join(t.TempDir(), "artifacts"), artifact.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	manager, err := enclave.NewManager(store, be, enclave.Deps{Artifacts: artifacts})
	if err != nil {
		t.Fatal(err)
	}
	e, err := manager.Create(t.Context(), enclave.CreateSpec{Name: "home"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), bound)
		defer cancel()
		if _, err := manager.Clean(ctx, true); err != nil {
			t.Error(err)
		}
		store.Close()
	})
	return e
}

// execute runs the steps of a script in order and gives their results; the error
// is that of the first step that fails, after the results before it.
func execute(t *testing.T, e *enclave.Enclave, script string) ([]string, error) {
	t.Helper()
	return executePackage(t, e, source.OpenScript("test.star", "def run(plan):\n"+script))
}

// executePackage is execute for a package.
func executePackage(t *testing.T, e *enclave.Enclave, p *source.Package) ([]string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), bound, fault.ErrTimeout)
	defer cancel()
	host := lang.NewHost(All(), types.All())
	made, err := host.Interpret(ctx, lang.Request{Package: p, Enclave: enclaveView{e}, NewArtifactName: e.ArtifactName})
	if err != nil {
		t.Fatal(lang.LegacyText(err))
	}
	services := map[string]map[string]enclave.Port{}
	var tasks []string
	for _, s := range e.Services() {
		if s.Config.Task {
			tasks = append(tasks, s.Name)
		}
		services[s.Name] = s.Config.Ports
	}
	in := plan.ForecastInput{Services: services, Tasks: tasks}
	for _, a := range e.Artifacts() {
		in.Artifacts = append(in.Artifacts, a.Name)
	}
	if errs := plan.Validate(made.Steps, plan.NewForecast(in)); len(errs) > 0 {
		t.Fatal(errs)
	}
	later := func(what string, do func() error) {
		if err := do(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	x := &plan.Execution{Enclave: e, Values: plan.NewValues(e.LoadValue, e.StoreValue), Parallelism: 2, Progress: func(string) {}, Later: later}
	var results []string
	for _, step := range made.Steps {
		if fetcher, ok := step.(plan.Fetcher); ok {
			release, err := fetcher.Fetch(ctx, e, nil)
			if err != nil {
				return results, err
			}
			if release != nil {
				defer release()
			}
		}
		outcome, err := step.Execute(ctx, x)
		if err != nil {
			return results, err
		}
		results = append(results, uuid.ReplaceAllString(outcome.Text, "UUID"))
	}
	return results, nil
}

var uuid = regexp.MustCompile(`[0-9a-f]{32}`)

type enclaveView struct{ e *enclave.Enclave }

func (v enclaveView) ServiceValueID(name string) (string, error) { return v.e.ServiceValueID(name) }
func (enclaveView) EnvVars() string                              { return "" }
func (enclaveView) ClusterType() string                          { return "docker" }

func TestResults(t *testing.T) {
	e := newEnclave(t)
	got, err := execute(t, e, `
    db = plan.add_service("db", ServiceConfig("pause", env_vars = {"A": "1"}))
    plan.exec("db", ExecRecipe(["true"]))
    plan.exec("db", ExecRecipe(["two"]))
    r = plan.exec("db", ExecRecipe(["echo", "on", db.hostname]))
    plan.print("said: " + r["output"])
    plan.print({"code": r["code"]})
    plan.verify(r["code"], "==", 0)
    plan.assert(r["code"], "IN", [1, 0])
    plan.verify(r["output"], "==", r["output"])
    j = plan.exec("db", ExecRecipe(["json"], extract = {"list": "fromjson | .a", "many": "fromjson | .a[]"}))
    plan.verify(j["extract.list"], "==", [1, 2])
    plan.print(j["extract.many"])
    plan.add_services({
        "x": ServiceConfig("pause", cmd = ["pause", r["code"]], env_vars = {"DB": "http://" + db.ip_address + ":1"}),
        "y": ServiceConfig("pause"),
    })
    plan.exec("x", ExecRecipe(["fails"]), acceptable_codes = [3])
    plan.exec("x", ExecRecipe(["fails"]), skip_code_check = True)
    plan.stop_service("x")
    plan.start_service("x")
    plan.get_service("y")
    plan.get_services()
    plan.get_cluster_type()
    plan.remove_service("y")
    plan.add_service("y", ServiceConfig("pause"))
`)
	if err != nil {
		t.Fatal(err)
	}
	db, err := e.Service("db")
	if err != nil {
		t.Fatal(err)
	}
	dashes := strings.Repeat("-", 20)
	want := []string{
		"Service 'db' added with service UUID 'UUID'",
		"Command returned with exit code '0' with no output",
		"Command returned with exit code '0' and the following output:\n" + dashes + "\na\nb\n" + dashes,
		"Command returned with exit code '0' and the following output:\n" + dashes + "\non db\n\n" + dashes,
		"said: on db\n",
		`{"code": "0"}`,
		"Verification succeeded. Value is '0'.",
		"Assertion succeeded. Value is '0'.",
		`Verification succeeded. Value is '"on db\n"'.`,
		"Command returned with exit code '0' and the following output: {\"a\": [1, 2], \"b\": null}",
		"Verification succeeded. Value is '[1, 2]'.",
		"[1, 2]",
		"Successfully added the following '2' services:\n  Service 'x' added with UUID 'UUID'\n  Service 'y' added with UUID 'UUID'",
		"Command returned with exit code '3' and the following output:\n" + dashes + "\nno such table\n\n" + dashes,
		"Command returned with exit code '3' and the following output:\n" + dashes + "\nno such table\n\n" + dashes,
		"Service 'x' stopped",
		"Service 'x' started",
		"Fetched service 'y'",
		"Fetching services",
		"Fetched cluster type 'docker'",
		"Service 'y' with service UUID 'UUID' removed",
		"Service 'y' added with service UUID 'UUID'",
	}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("result %d: got %q", i, got[min(i, len(got)-1):])
		}
	}
	x, err := e.Service("x")
	if err != nil {
		t.Fatal(err)
	}
	if x.Config.Env["DB"] != "http://"+db.IP+":1" || !slices.Equal(x.Config.Cmd, []string{"pause", "0"}) {
		t.Errorf("references are not filled in: %+v", x.Config)
	}
}

// TestAssertAndVerify shows that both names judge alike, each in its own words.
func TestAssertAndVerify(t *testing.T) {
	e := newEnclave(t)
	for _, c := range []struct{ value, assertion, target, fails string }{
		{`"a"`, "==", `"a"`, ""}, {`"a"`, "!=", `"a"`, " failed"}, {`"9"`, ">", `"1449"`, ""}, {`"9"`, "<=", `"1449"`, " failed"},
		{`"0"`, "==", "0", "the types differ"}, {`"0"`, "!=", "0", "the types differ"},
		{`"a"`, "IN", `["a"]`, ""}, {`"a"`, "NOT_IN", `("a",)`, " failed"}, {`"k"`, "IN", `{"k": 1}`, ""}, {`"1"`, "NOT_IN", "[1]", ""},
	} {
		for name, word := range map[string]string{"assert": "assertion", "verify": "verification"} {
			results, err := execute(t, e, fmt.Sprintf("    plan.%s(%s, %q, %s)\n", name, c.value, c.assertion, c.target))
			if c.fails == "" && (err != nil || !strings.EqualFold(strings.Fields(results[0])[0], word)) {
				t.Errorf("%s %v: got %q %v", name, c, results, err)
			}
			if c.fails != "" && (err == nil || !strings.HasPrefix(fault.From(err, "none").Summary, word) || !strings.Contains(err.Error(), c.fails)) {
				t.Errorf("%s %v: got %v", name, c, err)
			}
		}
	}
}

func TestRequests(t *testing.T) {
	e := newEnclave(t)
	got, err := execute(t, e, `
    web = plan.add_service("web", ServiceConfig("web", ports = {"http": PortSpec(80)},
        ready_conditions = ReadyCondition(GetHttpRequestRecipe("http", "/third"), "code", "==", 200, interval = "10ms")))
    r = plan.request("web", PostHttpRequestRecipe("http", "/a?b=c", body = "to " + web.hostname, headers = {"X-Test": "t"},
        extract = {"body": ".body", "type": ".type", "header": ".header", "path": ".path", "n": ".n", "list": ".list"}))
    plan.print("{} {} {} {}".format(r["extract.body"], r["extract.type"], r["extract.header"], r["extract.path"]))
    plan.verify(r["extract.n"], "==", 1)
    plan.verify(r["extract.list"], "==", [1, "<nil>", {"a": 2.5}])
    plan.request("web", GetHttpRequestRecipe("http", "/missing"), acceptable_codes = [404])
    plan.request("web", GetHttpRequestRecipe("http", "/again"))
    plan.wait("web", GetHttpRequestRecipe("http", "/x"), "code", "==", 200, interval = "10ms", timeout = "5s")
`)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range map[int]string{
		2: "to web application/json t /a?b=c",
		5: `Request had response code '404' and body "404 page not found\n"`,
	} {
		if got[i] != want {
			t.Errorf("result %d: got %q", i, got[i])
		}
	}
	if !strings.Contains(got[7], "Assertion passed with following:\nRequest had response code '200'") || !strings.HasPrefix(got[7], "Wait took 1 tries (") {
		t.Errorf("wait: got %q", got[7])
	}
	if !strings.Contains(got[1], ", with extracted fields:\n'extract.body': \"to web\"\n'extract.header'") {
		t.Errorf("request: got %q", got[1])
	}
}

func TestFailures(t *testing.T) {
	for _, c := range []struct{ name, script, code, summary string }{
		{"exit code", `plan.exec("web", ExecRecipe(["fails"]))`, "E0510", `the command on service "web" ended with exit code 3; acceptable is 0`},
		{"no code", `plan.exec("web", ExecRecipe(["true"]), acceptable_codes = [])`, "E0510", "acceptable_codes is empty"},
		{"empty command", `plan.exec("web", ExecRecipe([]))`, "E0503", "the command is empty"},
		{"value of a failed exec", `plan.print(plan.exec("web", ExecRecipe(["true"], extract = {"x": "fromjson"}))["output"])`, "E0505", "it finds nothing"},
		{"status", `plan.request("web", GetHttpRequestRecipe("http", "/missing"))`, "E0511", "was answered with status 404"},
		{"no JSON", `plan.request("web", GetHttpRequestRecipe("http", "/missing", extract = {"x": "."}), acceptable_codes = [404])`, "E0506", "its body is no JSON"},
		{"led away", `plan.request("web", GetHttpRequestRecipe("http", "/away"))`, "E0509", "leads to example.org, which is no service of this enclave"},
		{"assertion", `plan.verify("a", "==", "b")`, "E0507", `verification failed '"a"' '==' '"b"'`},
		{"types", `plan.verify("0", "!=", 0)`, "E0507", "the types differ: string and int"},
		{"wait", `plan.wait("web", GetHttpRequestRecipe("http", "/missing"), "code", "==", 200, interval = "5ms", timeout = "50ms")`, "E0312", `service "web" did not become ready within 50ms`},
		{"field", `plan.wait("web", GetHttpRequestRecipe("http", "/"), "nope", "==", 200, interval = "5ms", timeout = "30s")`, "E0508", `the result has no field "nope"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := newEnclave(t)
			_, err := execute(t, e, "    plan.add_service(\"web\", ServiceConfig(\"web\", ports = {\"http\": PortSpec(80)}))\n    "+c.script+"\n")
			f := fault.From(err, "none")
			if err == nil || f.Code != c.code || !strings.Contains(f.Summary, c.summary) {
				t.Errorf("got %s %v", f.Code, err)
			}
		})
	}
}

// What a service whose process has ended is asked fails at once, with the cause.
func TestUseOfAnEndedService(t *testing.T) {
	for name, script := range map[string]string{
		"wait":            `plan.wait("gone", ExecRecipe(["false"]), "code", "==", 0, timeout = "1h")`,
		"wait by request": `plan.wait("gone", GetHttpRequestRecipe("http", "/"), "code", "==", 200, timeout = "1h")`,
		"exec": `plan.stop_service("gone")
    plan.exec("gone", ExecRecipe(["true"]))`,
		"request": `plan.stop_service("gone")
    plan.request("gone", GetHttpRequestRecipe("http", "/"))`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnclave(t)
			_, err := execute(t, e, `
    plan.add_service("gone", ServiceConfig("crash", ports = {"http": PortSpec(80, wait = None)}))
    `+script+"\n")
			f := fault.From(err, "none")
			if f.Code != "E0347" || !strings.HasPrefix(f.Summary, `service "gone" is not running: it `) {
				t.Errorf("got %s %v", f.Code, err)
			}
			if evidence := fmt.Sprint(f.Evidence); !strings.Contains(script, "stop") && !strings.Contains(evidence, "crashed on purpose") {
				t.Errorf("its log is not shown: %s", evidence)
			}
		})
	}
	t.Run("ready condition", func(t *testing.T) {
		_, err := execute(t, newEnclave(t), `
    plan.add_service("gone", ServiceConfig("crash", ready_conditions = ReadyCondition(ExecRecipe(["false"]), "code", "==", 0, timeout = "1h")))
`)
		if f := fault.From(err, "none"); f.Code != "E0330" || !strings.Contains(f.Summary, "exited with code 1 before it was ready") {
			t.Errorf("got %s %v", f.Code, err)
		}
	})
}

// A service that never becomes ready fails the batch, which is taken back.
func TestReadinessRollsBack(t *testing.T) {
	e := newEnclave(t)
	_, err := execute(t, e, `
    plan.add_services({
        "good": ServiceConfig("pause"),
        "bad": ServiceConfig("pause", ready_conditions = ReadyCondition(ExecRecipe(["false"]), "code", "==", 0, interval = "5ms", timeout = "30ms")),
    })
`)
	if err == nil || !strings.Contains(err.Error(), "bad") {
		t.Errorf("got %v", err)
	}
	if services := e.Services(); len(services) != 0 {
		t.Errorf("%d services are left", len(services))
	}
}

// A value is there only once its instruction has been executed.
func TestValueNotSet(t *testing.T) {
	e := newEnclave(t)
	_, err := execute(t, e, `
    s = Service("x", "h", "i", {})
    s = plan.add_service("a", ServiceConfig("pause", cmd = ["pause"]))
    plan.print(s.ip_address)
    plan.print("{{kurtosis:`+strings.Repeat("0", 32)+`:code.runtime_value}}")
`)
	if f := fault.From(err, "none"); f.Code != "E0502" {
		t.Errorf("got %v", err)
	}
}

func TestStepEffectsNameWhatTheyTouch(t *testing.T) {
	host := lang.NewHost(All(), types.All())
	p := source.OpenScript("x.star", `
def run(plan):
    s = plan.add_service("a", ServiceConfig("i", files = {"/x": Directory(["art"]), "/y": Directory(persistent_key = "k")}))
    plan.exec("a", ExecRecipe(["x", s.ip_address]))
`)
	made, err := host.Interpret(t.Context(), lang.Request{Package: p})
	if err != nil {
		t.Fatal(err)
	}
	add, exec := made.Steps[0].Effects(), made.Steps[1].Effects()
	if !slices.Contains(add.Reads, plan.ArtifactKey("art")) || !slices.Contains(add.Writes, plan.PersistentKey("k")) {
		t.Errorf("add_service: %+v", add)
	}
	if len(exec.Reads) != 1 || !slices.Contains(add.Writes, exec.Reads[0]) {
		t.Errorf("exec does not read what add_service gives: %+v", exec)
	}
}
