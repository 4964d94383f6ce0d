package lang_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/plan"
	"github.com/lepto-dev/lepto/internal/source"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares with a file of testdata, or writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (run with -update to accept):\n%s", file, got)
	}
}

func interpret(t *testing.T, text string, req lang.Request) (*plan.Plan, error) {
	t.Helper()
	if req.Package == nil {
		req.Package = source.OpenScript("test.star", text)
	}
	if req.NewID == nil {
		req.NewID = countedIDs()
	}
	return testHost.Interpret(context.Background(), req)
}

func TestCallTexts(t *testing.T) {
	text, err := os.ReadFile("testdata/calls/calls.star")
	if err != nil {
		t.Fatal(err)
	}
	made, err := interpret(t, string(text), lang.Request{Enclave: &fakeEnclave{}, AllowPrivileged: true})
	if err != nil {
		t.Fatal(lang.LegacyText(err))
	}
	var b strings.Builder
	for _, step := range made.Steps {
		call := step.Call()
		effects := step.Effects().Normal()
		fmt.Fprintf(&b, "%s\n  at %s\n  %s\n  gives %s\n  reads %v\n  writes %v\n", call.Text, call.At(), call.Description,
			made.Returned[call.ID], effects.Reads, effects.Writes)
		for _, arg := range call.Args {
			if arg.Representative {
				fmt.Fprintf(&b, "  shows %s=%s\n", arg.Name, arg.Text)
			}
		}
	}
	fmt.Fprintf(&b, "output %s\n", made.Output)
	golden(t, "calls/calls.golden", b.String())
}

// TestSecretsAreShownToNobody checks that a registry's password is part of a
// call's identity, and of nothing that is stored, sent or shown.
func TestSecretsAreShownToNobody(t *testing.T) {
	made, err := interpret(t, `
def run(plan):
    image = ImageSpec(image = "i", username = "u", password = "hunter2")
    plan.add_services({"a b": ServiceConfig(image)})
    plan.run_sh(run = "x", image = image)
`, lang.Request{Enclave: &fakeEnclave{}})
	if err != nil {
		t.Fatal(lang.LegacyText(err))
	}
	for _, step := range made.Steps {
		call := step.Call()
		if !strings.Contains(call.Text, `password="hunter2"`) || !strings.Contains(call.Shown(), `username="u", password="***"`) {
			t.Errorf("text %s\nshown %s", call.Text, call.Shown())
		}
		for _, arg := range call.Args {
			if strings.Contains(arg.Text, "hunter2") {
				t.Errorf("argument %s is %s", arg.Name, arg.Text)
			}
		}
	}
	errs := plan.Validate(made.Steps, plan.NewForecast(plan.ForecastInput{}))
	if len(errs) != 1 {
		t.Fatalf("validation: %v", errs)
	}
	if text := fmt.Sprintf("%s %+v", lang.LegacyText(errs[0]), fault.From(errs[0], "").Evidence); strings.Contains(text, "hunter2") {
		t.Error(text)
	}
}

func TestReference(t *testing.T) {
	var b strings.Builder
	for _, doc := range testHost.Docs() {
		b.WriteString(doc.Markdown() + "\n")
		if doc.Text == "" {
			t.Errorf("%s has no doc", doc.Name)
		}
		for _, p := range doc.Params {
			if p.Doc == "" {
				t.Errorf("%s.%s has no doc", doc.Name, p.Name)
			}
		}
	}
	golden(t, "reference.golden", b.String())
}

func TestOutput(t *testing.T) {
	for script, want := range map[string]string{
		`return None`:                       "",
		`return {"b": [1, 2.5], "a": None}`: "{\n\t\"a\": null,\n\t\"b\": [\n\t\t1,\n\t\t2.5\n\t]\n}",
		`return PortSpec(80)`:               "{\n\t\"number\": 80\n}",
		`return {1: "a"}`:                   `{1: "a"}`,
		`return run`:                        "<function run>",
		`return "hé"`:                       `"hé"`,
		`return 123456789012345678901`:      "123456789012345678901",
		`return struct(b = 1, a = "<x>")`:   "{\n\t\"a\": \"<x>\",\n\t\"b\": 1\n}",
	} {
		made, err := interpret(t, "def run(plan):\n    "+script+"\n", lang.Request{})
		if err != nil {
			t.Errorf("%s: %v", script, err)
		} else if made.Output != want {
			t.Errorf("%s: got %q, want %q", script, made.Output, want)
		}
	}
}

func TestLegacyText(t *testing.T) {
	for _, c := range []struct{ name, script, want string }{
		{"evaluation", "def run(plan):\n    {}[\"k\"]\n",
			"Evaluation error: key \"k\" not in dict\n\tat [2:7]: run"},
		{"builtin", "def run(plan):\n    fail(\"boom\")\n",
			"Evaluation error: fail: boom\n\tat [2:9]: run\n\tat [0:0]: fail"},
		{"missing", "def run(plan):\n    plan.print()\n",
			"Evaluation error: Cannot construct 'print' from the provided arguments.\n\tCaused by: print: missing argument for msg\n\tat [2:15]: run\n\tat [0:0]: print"},
		{"keyword", "def run(plan):\n    PortSpec(foo = 1)\n",
			"Evaluation error: Cannot construct 'PortSpec' from the provided arguments.\n\tCaused by: PortSpec: unexpected keyword argument \"foo\"\n\tat [2:13]: run\n\tat [0:0]: PortSpec"},
		{"values", "def run(plan):\n    PortSpec(0, wait = \"<\")\n",
			"Evaluation error: Cannot construct 'PortSpec' from the provided arguments.\n\tCaused by: the following argument(s) could not be parsed or did not pass validation: " +
				`{"number":"number must be 1 to 65535, not 0","wait":"wait \"\u003c\" is no duration; write one such as \"90s\" or \"2m30s\""}` +
				"\n\tat [2:13]: run\n\tat [0:0]: PortSpec"},
		{"syntax", "def run(plan):\n  x = )\n",
			"/!\\ Errors interpreting Startosis script\n\tat [2:7]: unexpected ')'"},
		{"names", "def run(plan):\n  foo\n  bar\n",
			"Multiple errors caught interpreting the Starlark script. Listing each of them below.\n\tat [2:3]: undefined: foo\n\tat [3:3]: undefined: bar"},
		{"one name", "def run(plan):\n  foo\n",
			"Multiple errors caught interpreting the Starlark script. Listing each of them below.\n\tat [2:3]: undefined: foo"},
		{"cut off", "def run(plan):\n  return +",
			"/!\\ Errors interpreting Startosis script\n\tat [2:11]: got newline, want primary expression"},
		{"cut off before the line's end", "def run(plan):\n  return +\n",
			"/!\\ Errors interpreting Startosis script\n\tat [3:1]: got newline, want primary expression"},
		{"named by keyword", "def run(plan, **args):\n    pass\n",
			"Evaluation error: function run accepts 1 positional argument (2 given)\n\tat [1:1]: run"},
		{"entry", "X = 1\n", `the script has no function "run" in test.star`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := interpret(t, c.script, lang.Request{})
			if err == nil {
				t.Fatal("no error")
			}
			if got := lang.LegacyText(err); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func TestValidationError(t *testing.T) {
	made, err := interpret(t, "def run(plan):\n    plan.remove_service(\"a\")\n", lang.Request{})
	if err != nil {
		t.Fatal(err)
	}
	errs := plan.Validate(made.Steps, plan.NewForecast(plan.ForecastInput{}))
	if len(errs) != 1 {
		t.Fatalf("got %v", errs)
	}
	f := fault.From(errs[0], "")
	if f.Code != "E0303" || f.At[0].Line != 2 || f.At[0].Col != 24 || f.At[0].File != source.ScriptID {
		t.Errorf("got %+v", f)
	}
	want := "Error while validating instruction remove_service(name=\"a\"). The instruction can be found at DEFAULT_PACKAGE_ID_FOR_SCRIPT[2:24]\n" +
		"\tCaused by: service \"a\" does not exist at this point of the plan"
	if got := lang.LegacyText(errs[0]); got != want {
		t.Errorf("got %s", got)
	}
}

func TestHints(t *testing.T) {
	for _, c := range []struct{ script, code, hint string }{
		{"def run(plan):\n    plan.print(mgs = 1)\n", "E0202", `did you mean "msg"?`},
		{"def run(plan):\n    PortSpec(80, \"TPC\")\n", "E0202", ""},
		{"def run(plan):\n    while 1:\n        pass\n", "E0103", "use a for loop over range(...)"},
		{"def run(plan):\n    helper()\ndef helper():\n    plan.print(1)\n", "E0103", "plan is the first parameter of run; pass it on to functions that need it"},
		{"load(\"a\", \"b\")\n", "E0104", `module = import_module("path/to/file.star"), then module.name`},
		{"C = ServiceConfig(\"i\", {\"p\": 1})\ndef run(plan):\n    plan.add_service(\"a\", C)\n", "E0202", "the ServiceConfig was made on line 1"},
	} {
		_, err := interpret(t, c.script, lang.Request{})
		f := fault.From(err, "none")
		if f.Code != c.code || f.Hint != c.hint {
			t.Errorf("%q: got %s %q (%s)", c.script, f.Code, f.Hint, f.Summary)
		}
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	reason := errors.New("interrupted by the user")
	time.AfterFunc(200*time.Millisecond, func() { cancel(reason) }) // it is in the loop by then
	p := source.OpenScript("x.star", "def run(plan):\n    for i in range(1000000000):\n        pass\n")
	_, err := testHost.Interpret(ctx, lang.Request{Package: p, StepLimit: 1 << 60})
	f := fault.From(err, "")
	if f.Code != "E0204" || !errors.Is(err, reason) || len(f.At) != 1 || f.At[0].Func != "run" {
		t.Errorf("got %+v", f)
	}
}

// slowFetcher waits for the context's end.
type slowFetcher struct{ asked chan struct{} }

func (f slowFetcher) Fetch(ctx context.Context, _ source.Locator) (source.Tree, error) {
	close(f.asked)
	<-ctx.Done()
	return source.Tree{}, context.Cause(ctx)
}

func TestCancelWhileFetching(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	reason := errors.New("interrupted by the user")
	f := slowFetcher{asked: make(chan struct{})}
	go func() {
		<-f.asked
		cancel(reason)
	}()
	p := source.OpenScript("x.star", "def run(plan):\n    import_module(\"github.com/a/b/c.star\")\n", source.WithFetcher(f))
	_, err := testHost.Interpret(ctx, lang.Request{Package: p})
	if got := fault.From(err, ""); got.Code != "E0204" || !errors.Is(err, reason) {
		t.Errorf("got %+v", got)
	}
}

func TestMemoryLimit(t *testing.T) {
	_, err := interpret(t, "def run(plan):\n    l = []\n    for i in range(1000000):\n        l.append(\"x\" * 100000)\n",
		lang.Request{MemoryLimit: 100 << 20})
	if f := fault.From(err, ""); f.Code != "E0205" || len(f.At) == 0 {
		t.Errorf("got %+v", f)
	}
}

// Names and frames across modules of a package.
func TestModules(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "kurtosis.yml", "name: github.com/me/pkg\n")
	write(t, dir, "main.star", `lib = import_module("./lib/lib.star")
again = import_module("/lib/lib.star")
own = import_module("github.com/me/pkg/lib/lib.star")

def run(plan, what):
    if what == "same":
        return [lib == again, lib.COUNT, read_file("lib/text.txt"), dir(lib)]
    if what == "frozen":
        lib.COUNT.append(2)
    if what == "cycle":
        import_module("a.star")
    if what == "syntax":
        import_module("bad.star")
    if what == "missing":
        import_module("lib/lbi.star")
    if what == "dir":
        read_file("lib")
    if what == "escape":
        read_file("link")
    if what == "call":
        lib.add(plan, "a")
        lib.add(plan, "")
    if what == "names":
        import_module("names.star")
    if what == "attribute":
        lib.adds(plan)
`)
	write(t, dir, "lib/lib.star", "COUNT = [1]\n\ndef add(plan, name):\n    plan.add_service(name, ServiceConfig(\"i\"))\n")
	write(t, dir, "lib/text.txt", "text")
	write(t, dir, "a.star", "b = import_module(\"b.star\")\n")
	write(t, dir, "b.star", "a = import_module(\"a.star\")\n")
	write(t, dir, "bad.star", "def f(:\n")
	write(t, dir, "names.star", "x = one\ny = two\n")
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	const pkg = "github.com/me/pkg/"
	for _, c := range []struct{ what, code, legacy string }{
		{"frozen", "E0201", "Evaluation error: append: cannot append to frozen list\n\tat [" + pkg + "main.star:9:25]: run\n\tat [0:0]: append"},
		{"cycle", "E0115", "Evaluation error: import cycle: a.star is being imported already\n\tat [" + pkg + "b.star:1:18]: <toplevel>\n\tat [" + pkg + "a.star:1:18]: <toplevel>\n\tat [" + pkg + "main.star:11:22]: run"},
		{"syntax", "E0101", "/!\\ Errors interpreting Startosis script\n\tat [" + pkg + "bad.star:1:8]: got ':', want ')'\n\tat [" + pkg + "main.star:13:22]: run"},
		{"attribute", "E0201", "Evaluation error: module lib/lib.star has no .adds (did you mean .add?)\n\tat [" + pkg + "main.star:26:12]: run"},
		{"names", "E0102", "Multiple errors caught interpreting the Starlark script. Listing each of them below.\n\tat [" + pkg + "names.star:1:5]: undefined: one\n\tat [" + pkg + "names.star:2:5]: undefined: two\n\tat [" + pkg + "main.star:24:22]: run"},
		{"missing", "E0114", "Evaluation error: the locator \"lib/lbi.star\": there is no lib/lbi.star\n\tat [" + pkg + "main.star:15:22]: run"},
		{"dir", "E0114", "Evaluation error: lib is a directory, not a file\n\tat [" + pkg + "main.star:17:18]: run\n\tat [0:0]: read_file"},
		{"escape", "E0117", "Evaluation error: the locator \"link\" leads out of link\n\tat [" + pkg + "main.star:19:18]: run\n\tat [0:0]: read_file"},
		{"call", "E0202", "Evaluation error: Cannot construct 'add_service' from the provided arguments.\n\tCaused by: the following argument(s) could not be parsed or did not pass validation: {\"name\":\"name must not be empty\"}\n\tat [" + pkg + "main.star:22:16]: run\n\tat [" + pkg + "lib/lib.star:4:21]: add\n\tat [0:0]: add_service"},
	} {
		t.Run(c.what, func(t *testing.T) {
			p, err := source.OpenDir(dir, "")
			if err != nil {
				t.Fatal(err)
			}
			_, err = interpret(t, "", lang.Request{Package: p, Args: `{"what": "` + c.what + `"}`})
			if f := fault.From(err, ""); f.Code != c.code {
				t.Errorf("code %s", f.Code)
			}
			if got := lang.LegacyText(err); got != c.legacy {
				t.Errorf("got\n%s\nwant\n%s", got, c.legacy)
			}
		})
	}
	p, err := source.OpenDir(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	made, err := interpret(t, "", lang.Request{Package: p, Args: `{"what": "same"}`})
	if err != nil {
		t.Fatal(lang.LegacyText(err))
	}
	if want := "[\n\ttrue,\n\t[\n\t\t1\n\t],\n\t\"text\",\n\t[\n\t\t\"COUNT\",\n\t\t\"add\"\n\t]\n]"; made.Output != want {
		t.Errorf("got %s", made.Output)
	}
	if len(made.Warnings) != 1 || !strings.Contains(made.Warnings[0], "its own package") {
		t.Errorf("warnings %q", made.Warnings)
	}
}

// The directory that holds the Dockerfile is what the build sees.
func TestImageBuild(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "kurtosis.yml", "name: github.com/me/pkg\n")
	write(t, dir, "app/Dockerfile", "FROM scratch\n")
	write(t, dir, "app/docker/Other", "FROM scratch\n")
	if err := os.Symlink("/etc", filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "main.star", `def run(plan, dir, file = "Dockerfile"):
    plan.add_service("a", ServiceConfig(ImageBuildSpec("me/a", dir, file, build_args = {"V": "1"}, target_stage = "run")))
`)
	for args, want := range map[string]string{
		`{"dir": "./app"}`:                               "app Dockerfile",
		`{"dir": "/app/"}`:                               "app Dockerfile",
		`{"dir": "app", "file": "docker/Other"}`:         "app/docker Other",
		`{"dir": "app/docker", "file": "../Dockerfile"}`: "app Dockerfile",
		`{"dir": "app", "file": "Nope"}`:                 "E0114",
		`{"dir": "nope"}`:                                "E0114",
		`{"dir": "out", "file": "passwd"}`:               "E0117",
		`{"dir": "app", "file": "../../../x"}`:           "E0114",
	} {
		p, err := source.OpenDir(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		made, err := interpret(t, "", lang.Request{Package: p, Args: args})
		if err != nil {
			if f := fault.From(err, ""); f.Code != want {
				t.Errorf("%s: got %s %v", args, f.Code, err)
			}
			continue
		}
		forecast := plan.NewForecast(plan.ForecastInput{})
		if errs := plan.Validate(made.Steps, forecast); len(errs) > 0 || len(made.Warnings) > 0 {
			t.Errorf("%s: %v %v", args, errs, made.Warnings)
		}
		build := forecast.Images()[0].Build
		rel, _ := filepath.Rel(dir, build.ContextDir)
		if rel+" "+build.Dockerfile != want || build.Args["V"] != "1" || build.Target != "run" {
			t.Errorf("%s: got %+v", args, build)
		}
	}
}

func TestGetServiceOfEarlierRun(t *testing.T) {
	view := &fakeEnclave{services: []lang.ExistingService{{
		Name: "old", Ports: map[string]enclave.Port{"p": {Number: 80, Transport: "tcp", Application: "http", Wait: time.Minute}},
	}}}
	made, err := interpret(t, "def run(plan):\n    return str(plan.get_service(\"old\"))\n", lang.Request{Enclave: view})
	if err != nil {
		t.Fatal(err)
	}
	const want = `Service(name=\"old\", hostname=\"{{kurtosis:0000000000000000000000000000a000:hostname.runtime_value}}\", ` +
		`ip_address=\"{{kurtosis:0000000000000000000000000000a000:ip_address.runtime_value}}\", ` +
		`ports={\"p\": PortSpec(number=80, transport_protocol=\"TCP\", application_protocol=\"http\", wait=\"1m0s\", url=\"http://old:80\")})`
	if made.Output != `"`+want+`"` {
		t.Errorf("got %s", made.Output)
	}
}

func TestPrivileged(t *testing.T) {
	const script = "def run(plan):\n    plan.add_service(\"a\", ServiceConfig(\"i\", host_pid_namespace = True))\n"
	for _, c := range []struct {
		cluster string
		allow   bool
		want    string
	}{
		{"docker", true, ""},
		{"docker", false, "does not allow it"},
		{"kubernetes", true, "is not available on kubernetes"},
		{"podman", true, "is not available on podman"},
	} {
		_, err := interpret(t, script, lang.Request{Enclave: &fakeEnclave{cluster: c.cluster}, AllowPrivileged: c.allow})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: got %v", c, err)
		}
	}
}

func TestCopyShares(t *testing.T) {
	// Shared lists stay shared, so a small value with large text is copied in no time.
	made, err := interpret(t, "def run(plan):\n    x = []\n    for i in range(12):\n        x = [x, x]\n    plan.print(x)\n", lang.Request{})
	if err != nil || len(made.Steps) != 1 {
		t.Fatal(err)
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkInterpret1000(b *testing.B) {
	const script = `def run(plan):
    for i in range(1000):
        plan.add_service(
            "service-{}".format(i),
            ServiceConfig(
                image = "registry.example/image:1.2",
                ports = {"http": PortSpec(8080, application_protocol = "http"), "metrics": PortSpec(9090)},
                env_vars = {"INDEX": str(i), "URL": "http://service-0:8080"},
                cmd = ["serve", "--index", str(i)],
            ),
        )
`
	for b.Loop() {
		p := source.OpenScript("x.star", script)
		made, err := testHost.Interpret(context.Background(), lang.Request{Package: p})
		if err != nil {
			b.Fatal(err)
		}
		if errs := plan.Validate(made.Steps, plan.NewForecast(plan.ForecastInput{})); len(errs) > 0 {
			b.Fatal(errs[0])
		}
	}
}
