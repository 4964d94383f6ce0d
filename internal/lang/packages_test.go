package lang_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/source"
)

// TestWhatLocatorsMayName tries each consumer of locators on files of a package,
// of a repository that is none, and on directories (starlark spec §6.5).
func TestWhatLocatorsMayName(t *testing.T) {
	mirror := t.TempDir()
	for name, text := range map[string]string{
		"ok/kurtosis.yml": "name: github.com/x/ok\n", "ok/a.star": "a = 1", "ok/dir/Dockerfile": "FROM scratch",
		"none/a.star": "a = 1", "none/dir/Dockerfile": "FROM scratch",
		"other/kurtosis.yml": "name: github.com/x/thing\n", "other/a.star": "a = 1", "other/dir/Dockerfile": "FROM scratch",
	} {
		path := filepath.Join(mirror, "github.com/x", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ call, repository, want string }{
		{`import_module("github.com/x/%/a.star")`, "ok", ""},
		{`import_module("github.com/x/%/a.star")`, "none", "E0110"},
		{`import_module("github.com/x/%/a.star")`, "other", "E0111"},
		{`import_module("github.com/x/%/dir")`, "ok", "E0114"},
		{`import_module("github.com/x/%/no.star")`, "ok", "E0114"},
		{`read_file("github.com/x/%/a.star")`, "ok", ""},
		{`read_file("github.com/x/%/a.star")`, "none", "E0110"},
		{`read_file("github.com/x/%/dir")`, "ok", "E0114"},
		{`plan.add_service("a", ServiceConfig(image = ImageBuildSpec("i", "github.com/x/%/dir")))`, "ok", ""},
		{`plan.add_service("a", ServiceConfig(image = ImageBuildSpec("i", "github.com/x/%/dir")))`, "none", "E0110"},
		{`plan.add_service("a", ServiceConfig(image = ImageBuildSpec("i", "github.com/x/%/dir")))`, "other", "E0111"},
		{`plan.upload_files("github.com/x/%/a.star")`, "none", ""},
		{`plan.upload_files("github.com/x/%/dir")`, "none", ""},
		{`plan.upload_files("github.com/x/%/dir")`, "other", ""},
		{`plan.upload_files("github.com/x/%/no")`, "ok", "E0114"},
		{`plan.upload_files("./a.star")`, "", "E0113"},
		{`read_file("/a.star")`, "", "E0113"},
	} {
		text := "def run(plan):\n    " + strings.ReplaceAll(c.call, "%", c.repository) + "\n"
		p := source.OpenScript("x.star", text, source.WithFetcher(source.Mirror{Dir: mirror}))
		_, err := testHost.Interpret(t.Context(), lang.Request{Package: p})
		got := ""
		if err != nil {
			f := fault.From(err, "none")
			got = f.Code
			if len(f.At) == 0 || f.At[0].Line != 2 {
				t.Errorf("%s: at %v", text, f.At)
			}
		}
		if got != c.want {
			t.Errorf("%s: got %q (%v), want %q", text, got, err, c.want)
		}
	}
}
