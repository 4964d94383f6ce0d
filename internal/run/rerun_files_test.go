package run

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lepto-dev/lepto/internal/link"
	"github.com/lepto-dev/lepto/internal/source"
)

// folder is a package that a test edits between runs.
type folder struct {
	*rerunner
	dir string
}

func newFolder(t *testing.T) *folder {
	f := &folder{newRerunner(t), t.TempDir()}
	f.write("kurtosis.yml", "name: github.com/example/pkg\n")
	return f
}

func (f *folder) write(name, text string) {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

// runs gives which steps were executed.
func (f *folder) runs() string {
	f.t.Helper()
	pkg, err := source.OpenDir(f.dir, "")
	if err != nil {
		f.t.Fatal(err)
	}
	events := gather(f.t, f.r, f.e, Request{Package: pkg})
	if done := doneOf(f.t, events); !done.OK {
		f.t.Fatalf("the run fails: %+v", errorsOf(events)[0])
	}
	return executed(events)
}

func (f *folder) expect(why, want string) {
	f.t.Helper()
	if got := f.runs(); got != want {
		f.t.Errorf("%s: executed %q, want %q", why, got, want)
	}
}

func TestFilesDecideWhatIsDoneAgain(t *testing.T) {
	f := newFolder(t)
	f.write("static/a.txt", "one")
	f.write("static/sub/b.txt", "two")
	main := body(`
files = plan.upload_files("static")
other = plan.render_templates({"x": struct(template = "{{.V}}", data = {"V": "1"})})
plan.add_service("user", ServiceConfig("pause", files = {"/files": files, "/other": other}))
plan.add_service("free", ServiceConfig("pause"))
plan.exec("user", ExecRecipe(["cat", "/files/a.txt"]))
stored = plan.store_service_files("user", "/files/a.txt", name = "stored")
plan.add_service("second", ServiceConfig("pause", files = {"/stored": stored}))
plan.get_files_artifact("stored")
`)
	f.write("main.star", main)
	f.expect("the first run", "1 2 3 4 5 6 7 8")
	f.expect("unchanged, made-up names too", "")
	f.write("static/sub/b.txt", "three")
	f.expect("a file that store_service_files does not copy", "1 3 5 6")
	f.write("static/a.txt", "new")
	f.expect("one that it does", "1 3 5 6 7 8")
	if err := os.Chmod(filepath.Join(f.dir, "static/a.txt"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := f.runs(); got == "" {
		t.Error("a changed mode is not seen")
	}
	f.expect("unchanged", "")
	f.write("more.txt", "is not uploaded")
	f.expect("another file", "")
	f.write("static/.kurtosisignore", "*.log\n")
	f.expect("what is left out is said", "1 3 5 6")
	f.write("static/x.log", "is left out")
	f.expect("a file that is left out", "")
	if err := f.e.RemoveArtifact(t.Context(), "stored"); err != nil {
		t.Fatal(err)
	}
	f.expect("an artifact that is gone", "6")
}

// TestWhatURLsGive: it is known before anything is executed, and decides.
func TestWhatURLsGive(t *testing.T) {
	content, status := "one", http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, content)
	}))
	defer server.Close()
	r := newRerunner(t)
	lines := `
plan.add_service("first", ServiceConfig("pause"))
files = plan.upload_files("` + server.URL + `/a.txt?key=secret")
plan.add_service("user", ServiceConfig("pause", files = {"/files": files}))
`
	status = http.StatusNotFound
	request := script(body(lines))
	request.DryRun = true
	events := gather(t, r.r, r.e, request)
	problem := errorsOf(events)[0]
	if doneOf(t, events).OK || problem.Phase != Validation || problem.Code != "E0540" || problem.Stack[0].Line == 0 || len(r.e.Services()) > 0 {
		t.Errorf("a URL that gives nothing: %+v", problem)
	}
	status = http.StatusOK
	for i, want := range []string{"1 2 3", "", "2 3"} {
		if i == 2 {
			content = "two"
			if got := r.diff(lines); !strings.Contains(got, "update (changed: files)") {
				t.Errorf("the dry run says %s", got)
			}
		}
		if got := r.run(lines); got != want {
			t.Errorf("run %d executed %q, want %q", i+1, got, want)
		}
	}
}

func TestTasksAreDoneAgainForWhatTheyMount(t *testing.T) {
	f := newFolder(t)
	f.write("in.txt", "one")
	f.write("main.star", body(`
files = plan.upload_files("in.txt", name = "in")
task = plan.run_sh(run = "cat /in/in.txt", image = "pause", files = {"/in": files})
plan.run_sh(run = "echo other", image = "pause")
plan.print(task.output)
`))
	f.expect("the first run", "1 2 3 4")
	f.expect("unchanged", "")
	f.write("in.txt", "two")
	f.expect("another file", "1 2 4")
}

func TestConnectionsTakePart(t *testing.T) {
	r := newRerunner(t)
	lines := `
plan.set_connection(config = kurtosis.connection.BLOCKED)
plan.add_service("a", ServiceConfig("pause", subnetwork = "one"))
plan.add_service("b", ServiceConfig("pause", subnetwork = "two"))
plan.exec("a", ExecRecipe(["echo", "between"]))
plan.set_connection(("one", "two"), kurtosis.connection.ALLOWED)
`
	after := `plan.exec("a", ExecRecipe(["echo", "after"]))` + "\n"
	if got := r.run(lines + after); got != "1 2 3 4 5 6" {
		t.Errorf("the first run executes %q", got)
	}
	if got := r.run(lines + after); got != "" {
		t.Errorf("unchanged, it executes %q", got)
	}
	if got := r.run(lines + `plan.exec("a", ExecRecipe(["echo", "changed"]))` + "\n"); got != "6" {
		t.Errorf("what comes after connections executes %q", got)
	}
	if err := r.e.SetDefaultConnection(t.Context(), link.Connection{}); err != nil {
		t.Fatal(err)
	}
	if got, want := r.diff(lines), "recreate (what was set was changed by something else), "; !strings.HasPrefix(got, want) {
		t.Errorf("changed by hand, the dry run says %s", got)
	}
	if got := r.run(lines); got != "1 2 3 4 5" {
		t.Errorf("changed by hand, it executes %q", got)
	}
}

// TestAChangedConnectionDoesNothingTwice: what is done again because of it is not
// done to the same service a second time.
func TestAChangedConnectionDoesNothingTwice(t *testing.T) {
	r := newRerunner(t)
	lines := addDB + addOwn + "plan.set_connection(config = kurtosis.connection.BLOCKED)\n" + command("db", "echo 1 >> /log")
	r.run(lines)
	db, own := r.making("db"), r.making("own")
	changed := strings.Replace(lines, "BLOCKED", "ALLOWED", 1)
	want := "recreate (step 4, which was done to it before, is done again), keep, update (changed: config), recreate (step 3 may have changed everything)"
	if got := r.diff(changed); got != want {
		t.Errorf("the dry run says\n%s\nwant\n%s", got, want)
	}
	if got := r.run(changed); got != "1 3 4" || r.making("db") == db || r.making("own") != own {
		t.Errorf("executed %q", got)
	}
	if got := r.run(changed); got != "" {
		t.Errorf("unchanged, it executes %q", got)
	}
}
