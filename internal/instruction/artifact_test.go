package instruction

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/artifact"
	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/plan"
	"github.com/lepto-dev/lepto/internal/source"
)

// This file tests the instructions of files artifacts.

// content gives the files of an artifact by path.
func content(t *testing.T, e *enclave.Enclave, name string) map[string]string {
	t.Helper()
	texts := map[string]string{}
	err := e.ReadArtifact(name, func(store *artifact.Store, a enclave.Artifact) error {
		entries, err := store.Entries(t.Context(), a.Hash, true)
		for _, entry := range entries {
			texts[entry.Path] = entry.Preview
			if entry.Link != "" {
				texts[entry.Path] = "->" + entry.Link
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

func wantContent(t *testing.T, e *enclave.Enclave, name string, want map[string]string) {
	t.Helper()
	if got := content(t, e, name); !maps.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", name, got, want)
	}
}

// packageOf writes a package and opens it.
func packageOf(t *testing.T, files map[string]string) *source.Package {
	t.Helper()
	dir := t.TempDir()
	files["kurtosis.yml"] = "name: github.com/test/package\n"
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if target, isLink := strings.CutPrefix(files[name], "->"); isLink {
			if err := os.Symlink(target, path); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(path, []byte(files[name]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p, err := source.OpenDir(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// seedTemplate is the example of the classic dialect's reference (classic §4.7).
const seedTemplate = `
    data = struct(Name = "Stranger", Answer = 6, Numbers = [1, 2, 3], UnixTimeStamp = 1257894000, LargeFloat = 1231231243.43, Alive = True)
    text = "Hello {{.Name}}. The sum of {{.Numbers}} is {{.Answer}}. My favorite moment in history {{.UnixTimeStamp}}. My favorite number {{.LargeFloat}}. Am I Alive? {{.Alive}}"
    plan.render_templates({"/foo/bar/output.txt": struct(template = text, data = data)}, name = "my-artifact")
`

func TestRenderTemplates(t *testing.T) {
	e := newEnclave(t)
	got, err := execute(t, e, seedTemplate+`
    db = plan.add_service("db", ServiceConfig("pause"))
    quoted = plan.exec("db", ExecRecipe(["quoted"]))
    code = plan.exec("db", ExecRecipe(["true"]))["code"]
    plan.render_templates({
        "values": struct(template = "{{.out}}|{{.code}}|{{range .list}}{{.}},{{end}}|{{.missing}}|{{.none}}", data = {"out": "a" + quoted["output"], "code": code, "list": [db.hostname, {"k": code}], "none": None}),
        "numbers": struct(template = "{{.big}} {{.float}} {{.tiny}} {{.one}} {{if eq .n \"1\"}}equal{{end}} {{printf \"%s\" .n}}", data = {"big": 1 << 70, "float": 1e20, "tiny": 0.5, "one": 1.0, "n": 1}),
        "scalar": struct(template = "{{.}}", data = "text"),
        "key": struct(template = "{{range $k, $v := .}}{{$k}}={{$v}}{{end}}", data = {"h-" + db.hostname: 1}),
        "nested/ref": struct(template = "`+"{{`"+`" + db.hostname + "`+"`}}"+`", data = {}),
        "define": struct(template = "{{define \"x\"}}[{{.}}]{{end}}{{range $i, $e := .}}{{template \"x\" $e}}{{else}}none{{end}}", data = ("a", "b")),
    }, "r")
    plan.render_templates({}, "empty")
`)
	if err != nil {
		t.Fatal(err)
	}
	if got[0] != "Templates artifact name 'my-artifact' rendered with artifact UUID 'UUID'" {
		t.Errorf("result: %q", got[0])
	}
	wantContent(t, e, "my-artifact", map[string]string{"foo/": "", "foo/bar/": "",
		"foo/bar/output.txt": "Hello Stranger. The sum of [1 2 3] is 6. My favorite moment in history 1257894000. My favorite number 1231231243.43. Am I Alive? true"})
	texts := content(t, e, "r")
	for name, want := range map[string]string{
		"values": "aa \"quoted\"\nline|0|db,map[k:0],|<no value>|<no value>", "scalar": "text", "key": "h-db=1",
		"numbers": "1180591620717411303424 100000000000000000000 0.5 1 equal 1", "define": "[a][b]",
	} {
		if texts[name] != want {
			t.Errorf("%s: got %q, want %q", name, texts[name], want)
		}
	}
	if !strings.HasPrefix(texts["nested/ref"], "{{kurtosis:") {
		t.Errorf("a reference in a template is filled in: %q", texts["nested/ref"])
	}
	wantContent(t, e, "empty", map[string]string{})
}

func TestUploadFiles(t *testing.T) {
	e := newEnclave(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("key") != "secret" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, "from the web")
	}))
	defer server.Close()
	files := map[string]string{
		"static/a.txt": "a", "static/sub/l": "->../a.txt", "static/.kurtosisignore": "*.log\n", "static/x.log": "x", "static/.gitignore": "a.txt\n",
		"lib/one.txt": "one",
		// What the package keeps to itself is in no part of it.
		".kurtosisignore": "*.tmp\nlib/private\nstatic/sub/deep/\n", "static/y.tmp": "y", "static/sub/y.tmp": "y", "static/sub/deep/z": "z", "lib/private": "p",
		"main.star": `
def run(plan):
    plan.upload_files("static", "dir")
    plan.upload_files("./static/a.txt", "file")
    plan.upload_files("/lib", "root")
    plan.upload_files("github.com/test/package/lib/one.txt", "absolute")
    plan.upload_files("` + server.URL + `/some/path.bin?key=secret", "web")
    plan.upload_files("` + server.URL + `?key=secret", "unnamed")
`}
	p := packageOf(t, files)
	const uploaded, same, updated = "Files with artifact name '%s' uploaded with artifact UUID 'UUID'",
		"Files with artifact name '%s' resolved with artifact UUID 'UUID' as content were matching", "Files with artifact name '%s' with artifact UUID 'UUID' updated"
	for round, texts := range [][]string{
		{uploaded, uploaded, uploaded, uploaded, uploaded, uploaded},
		{same, same, same, same, same, same},
		{same, same, updated, updated, same, same},
	} {
		if round == 2 {
			if err := os.WriteFile(filepath.Join(p.Main().Dir, "lib/one.txt"), []byte("two"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := executePackage(t, e, p)
		if err != nil {
			t.Fatal(err)
		}
		for i, name := range []string{"dir", "file", "root", "absolute", "web", "unnamed"} {
			if want := fmt.Sprintf(texts[i], name); got[i] != want {
				t.Errorf("round %d: got %q, want %q", round, got[i], want)
			}
		}
	}
	wantContent(t, e, "dir", map[string]string{"a.txt": "a", "sub/": "", "sub/l": "->../a.txt", ".kurtosisignore": "*.log\n", ".gitignore": "a.txt\n"})
	wantContent(t, e, "file", map[string]string{"a.txt": "a"})
	wantContent(t, e, "root", map[string]string{"one.txt": "two"})
	wantContent(t, e, "web", map[string]string{"path.bin": "from the web"})
	wantContent(t, e, "unnamed", map[string]string{"download": "from the web"})
}

func TestStoreServiceFiles(t *testing.T) {
	e := newEnclave(t)
	got, err := execute(t, e, `
    plan.render_templates({"x/one": struct(template = "1", data = {}), "x/sub/two": struct(template = "2", data = {})}, "in")
    plan.add_service("a", ServiceConfig("pause", files = {"/data": "in", "/again": "in"}))
    names = []
    for src in ["/data/x/one", "/data/x", "/data/x/", "/data/x/*", "data/x/sub"]:
        names.append(plan.store_service_files("a", src, "s" + str(len(names))))
    unnamed = plan.store_service_files(service_name = "a", src = "/data")
    plan.get_files_artifact(unnamed)
    plan.add_service("b", ServiceConfig("pause", files = {"/m": Directory([names[0], names[1]])}))
    plan.verify(plan.exec("b", ExecRecipe(["cat", "/m/sub/two"]))["output"], "==", "2")
    plan.stop_service("a")
    plan.store_service_files("a", "/again/x/one", "stopped")
`)
	if err != nil {
		t.Fatal(err)
	}
	if got[2] != "Files with artifact name 's0' uploaded with artifact UUID 'UUID'" {
		t.Errorf("got %q", got[2])
	}
	dir := map[string]string{"one": "1", "sub/": "", "sub/two": "2"}
	for name, want := range map[string]map[string]string{"s0": {"one": "1"}, "s1": dir, "s2": dir, "s3": dir, "s4": {"two": "2"}, "stopped": {"one": "1"}} {
		wantContent(t, e, name, want)
	}
	if n := len(e.Artifacts()); n != 8 {
		t.Errorf("%d artifacts", n)
	}
}

func TestArtifactFailures(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	missing := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(missing.Close)
	for _, c := range []struct{ name, script, code, summary string }{
		{"number as a number", `plan.render_templates({"f": struct(template = "{{if lt .n 2}}x{{end}}", data = {"n": 1})})`, "E0544", "incompatible types for comparison"},
		{"field of a text", `plan.render_templates({"f": struct(template = "{{.x}}", data = "{}")})`, "E0544", "can't evaluate field x in type string"},
		{"endless template", `plan.render_templates({"f": struct(template = "{{define \"t\"}}{{template \"t\" .}}{{end}}{{template \"t\" .}}", data = {})})`, "E0544", "exceeded maximum template depth"},
		{"value not set", `plan.render_templates({"f": struct(template = "", data = {"x": "{{kurtosis:` + strings.Repeat("0", 32) + `:code.runtime_value}}"})})`, "E0502", `data of template "f"`},
		{"no server", `plan.upload_files("` + server.URL + `/x?key=secret")`, "E0540", "download " + server.URL + "/x: "},
		{"not there", `plan.upload_files("` + missing.URL + `/x")`, "E0540", "the server answered 404 Not Found"},
		{"no such path", `plan.store_service_files("a", "/nope")`, "E0545", `service "a" has no file or directory "/nope"`},
		{"no path", `plan.store_service_files("a", "")`, "E0545", "is empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := newEnclave(t)
			_, err := execute(t, e, "    plan.add_service(\"a\", ServiceConfig(\"pause\"))\n    "+c.script+"\n")
			f := fault.From(err, "none")
			if err == nil || f.Code != c.code || !strings.Contains(f.Summary, c.summary) || strings.Contains(f.Summary, "secret") {
				t.Errorf("got %s %v", f.Code, err)
			}
			if n := len(e.Artifacts()); n != 0 {
				t.Errorf("%d artifacts are left", n)
			}
		})
	}
}

func TestUploadRefusesLinksThatLeadOut(t *testing.T) {
	e := newEnclave(t)
	p := packageOf(t, map[string]string{"d/l": "->../main.star", "main.star": `
def run(plan):
    plan.upload_files("./d")
`})
	_, err := executePackage(t, e, p)
	if f := fault.From(err, "none"); f.Code != "E0543" {
		t.Errorf("got %v", err)
	}
}

// A loop that prints nothing ends with its context.
func TestTemplatesCanBeCancelled(t *testing.T) {
	for _, text := range []string{"{{range 1000000000000}}{{end}}", "{{define \"a\"}}{{range .}}{{template \"a\" $}}{{template \"a\" $}}{{end}}{{end}}{{template \"a\" .}}"} {
		parsed, err := parseTemplate("f", text)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("enough")
		calls := 0
		values := countingContext{ctx, func() {
			if calls++; calls == 1000 {
				cancel(cause)
			}
		}}
		if err := (rendering{"f", parsed, nil}).render(values, []any{"x", "y"}, io.Discard); !errors.Is(err, cause) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// countingContext tells how often it is asked.
type countingContext struct {
	context.Context
	asked func()
}

// Err is what context.Cause asks first.
func (c countingContext) Err() error {
	c.asked()
	return c.Context.Err()
}

// FuzzTemplate: no template and no data breaks more than its own rendering.
func FuzzTemplate(f *testing.F) {
	f.Add("{{range $i, $e := .list}}{{$i}}{{$e.x}}{{end}}", "text")
	f.Add("{{define \"a\"}}{{.}}{{end}}{{template \"a\" .n}}", "{{kurtosis:0:x}}")
	f.Add("{{printf \"%*d\" 10 .n}}{{html .text | js}}{{len .list}}{{index .list 0}}{{slice .text 1}}", "é")
	f.Fuzz(func(t *testing.T, text, value string) {
		parsed, err := parseTemplate("f", text)
		if err != nil {
			return
		}
		data, err := templateData(starlark.Tuple{starlark.String(value), starlark.MakeInt(1), starlark.None})
		if err != nil {
			t.Fatal(err)
		}
		filled, err := fillData(map[string]any{"text": value, "list": data, "n": data.([]any)[1]}, plan.NewValues(nil, nil))
		if err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), bound)
		defer cancel()
		_ = rendering{"f", parsed, nil}.render(ctx, filled, &limited{left: 1 << 20})
	})
}

// limited is a disk that fills up.
type limited struct{ left int }

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, errors.New("full")
	}
	return len(p), nil
}
