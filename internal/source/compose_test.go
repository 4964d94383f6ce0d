package source

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/source/composer"
)

// TestMain builds the program that reads compose files, so that the tests don't
// need one that was embedded.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "compose-test")
	if err != nil {
		panic(err)
	}
	composer.Program = filepath.Join(dir, "lepto-compose")
	if out, err := exec.Command("go", "build", "-o", composer.Program, "github.com/lepto-dev/lepto/cmd/lepto-compose").CombinedOutput(); err != nil { //nolint:noctx // before any test
		fmt.Fprintf(os.Stderr, "build lepto-compose: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func TestComposePackages(t *testing.T) {
	top := t.TempDir()
	const service = "services: {%s: {image: x}}\n"
	text := func(name string) string { return strings.Replace(service, "%s", name, 1) }
	tree(t, top, map[string]string{
		"only/docker-compose.yml":               text("second"),
		"only/compose.yaml":                     text("first"),
		"only/other.yml":                        text("other"),
		"both/kurtosis.yml":                     "name: github.com/me/both\n",
		"both/main.star":                        "main",
		"both/compose.yml":                      text("compose"),
		"broken/compose.yml":                    "services: {a: {image: x, prots: [1]}}\n",
		"m/github.com/me/app/compose.yml":       text("remote"),
		"m/github.com/me/app/deep/compose.yml":  text("deep"),
		"m/github.com/me/app/deep/lib/a.star":   "a",
		"m/github.com/me/app/none/x":            "",
		"m/github.com/me/app/deep/lib/data.yml": "x: 1",
	})
	mirror := Mirror{Dir: filepath.Join(top, "m")}
	open := func(dir, main string) (*Package, error) {
		return OpenDir(filepath.Join(top, dir), main, WithFetcher(mirror))
	}
	remote := func(locator, main string) (*Package, error) {
		return OpenRemote(t.Context(), locator, main, mirror)
	}
	for _, c := range []struct {
		open       func(string, string) (*Package, error)
		what, main string
		id, want   string // in the main file's text, or an error's code
	}{
		{open, "only", "", ComposeID, `name = "first"`},
		{open, "only", "other.yml", ComposeID, `name = "other"`},
		{open, "only", "none.yml", "", "E0112"},
		{open, "both", "", "github.com/me/both", "main"},
		{open, "both", "compose.yml", "github.com/me/both", `name = "compose"`},
		{open, "broken", "", ComposeID, "E0118"},
		{open, "m", "", "", "E0110"},
		{remote, "github.com/me/app", "", "github.com/me/app", `name = "remote"`},
		{remote, "github.com/me/app/deep", "", "github.com/me/app/deep", `name = "deep"`},
		{remote, "github.com/me/app/none", "", "", "E0110"},
	} {
		p, err := c.open(c.what, c.main)
		got, id := "", ""
		if err == nil {
			id = p.ID()
			got, err = p.ReadCode(t.Context(), p.Main())
		}
		if err != nil {
			got = fault.From(err, "none").Code
		}
		if id != c.id || !strings.Contains(got, c.want) {
			t.Errorf("%s %s: got %s %q, %v", c.what, c.main, id, got, err)
		}
	}
}

// A compose file is imported as code, and read as the text that it is; what
// belongs to it counts as a package's.
func TestImportCompose(t *testing.T) {
	mirror := t.TempDir()
	tree(t, mirror, map[string]string{
		"github.com/me/app/docker-compose.yml": "services: {web: {image: x, volumes: ['./conf:/c']}}\n",
		"github.com/me/app/conf/x":             "x", "github.com/me/app/lib/a.star": "a",
	})
	p := OpenScript("s.star", "", WithFetcher(Mirror{Dir: mirror}))
	file, got := codeOrText(t, p, p.Main(), "github.com/me/app/docker-compose.yml", OfPackage)
	if !strings.Contains(got, `plan.upload_files(src = "./conf", name = "web--volume0")`) {
		t.Fatalf("got %q", got)
	}
	if shown, _ := p.Source(file.Name); shown != got {
		t.Error("the program is not kept for excerpts")
	}
	if _, err := p.Resolve(t.Context(), file, "./conf", Anything); err != nil {
		t.Error(err)
	}
	if text, err := p.ReadText(file); err != nil || !strings.HasPrefix(text, "services:") {
		t.Errorf("as text: %q, %v", text, err)
	}
	if _, got := codeOrText(t, p, p.Main(), "github.com/me/app/lib/a.star", OfPackage); got != "a" {
		t.Errorf("beside it: %q", got)
	}
}

// A mistake has its place, and what has no effect is told with it.
func TestComposePlaces(t *testing.T) {
	top := t.TempDir()
	tree(t, top, map[string]string{
		"bad/compose.yml":                 "services:\n  a:\n    image: x\n    volumes_from: [b]\n  b: {image: y}\n",
		"odd/compose.yml":                 "services:\n  a:\n    image: x\n    working_dir: /x\n",
		"m/github.com/me/app/compose.yml": "services:\n  a:\n    image: x\n    working_dir: /x\n",
	})
	p, err := OpenDir(filepath.Join(top, "bad"), "")
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.ReadCode(t.Context(), p.Main())
	f := fault.From(err, "")
	if f.Code != "E0118" || len(f.At) != 1 || f.At[0].File != "compose.yml" || f.At[0].Line != 4 ||
		!strings.HasPrefix(f.Summary, `compose file compose.yml: service "a": volumes_from: `) {
		t.Errorf("%v, %+v", err, f.At)
	}
	if p, err = OpenDir(filepath.Join(top, "odd"), "", WithFetcher(Mirror{Dir: filepath.Join(top, "m")})); err != nil {
		t.Fatal(err)
	}
	if _, err = p.ReadCode(t.Context(), p.Main()); err != nil {
		t.Fatal(err)
	}
	_, _ = codeOrText(t, p, p.Main(), "github.com/me/app/compose.yml", OfPackage)
	w := p.Warnings()
	if len(w) != 2 || !strings.HasPrefix(w[0], "compose.yml:4: working_dir") || !strings.HasPrefix(w[1], "github.com/me/app/compose.yml:4: working_dir") {
		t.Errorf("warnings %q", w)
	}
}
