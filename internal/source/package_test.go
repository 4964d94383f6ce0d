package source

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lepto-dev/lepto/internal/fault"
)

// codeOrText resolves a locator and gives the name and text of the file, or the
// code of the fault.
func codeOrText(t *testing.T, p *Package, from File, locator string, use Use) (File, string) {
	t.Helper()
	file, err := p.Resolve(t.Context(), from, locator, use)
	text := ""
	if err == nil {
		text, err = p.ReadCode(t.Context(), file)
	}
	if f := (*fault.Fault)(nil); errors.As(err, &f) {
		return file, f.Code
	}
	return file, text
}

// What a file of a version names relatively, or by its own repository, is of that
// version; versions of one file have names of their own.
func TestVersionsKeepToThemselves(t *testing.T) {
	mirror := t.TempDir()
	for _, version := range []string{"", "@v1", "@v2"} {
		tree(t, mirror, map[string]string{
			"github.com/x/y" + version + "/kurtosis.yml": "name: github.com/x/y\n",
			"github.com/x/y" + version + "/a.star":       "a" + version,
			"github.com/x/y" + version + "/lib/b.star":   "b" + version,
		})
	}
	p := OpenScript("s.star", "", WithFetcher(Mirror{Dir: mirror}))
	want := func(from File, locator, name, text string) File {
		t.Helper()
		file, got := codeOrText(t, p, from, locator, OfPackage)
		if file.Name != name || got != text {
			t.Errorf("%s from %s: got %s %q, want %s %q", locator, from.Name, file.Name, got, name, text)
		}
		return file
	}
	one := want(p.Main(), "github.com/x/y/a.star@v1", "github.com/x/y/a.star", "a@v1")
	b := want(one, "./lib/b.star", "github.com/x/y/lib/b.star", "b@v1")
	want(b, "/a.star", "github.com/x/y/a.star", "a@v1")
	want(b, "github.com/x/y/a.star", "github.com/x/y/a.star", "a@v1")
	two := want(b, "github.com/x/y@v2/a.star", "github.com/x/y/a.star@v2", "a@v2")
	want(two, "lib/b.star", "github.com/x/y/lib/b.star@v2", "b@v2")
	head := want(p.Main(), "github.com/x/y/a.star", "github.com/x/y/a.star@HEAD", "a")
	want(head, "lib/b.star", "github.com/x/y/lib/b.star@HEAD", "b")
	if !slices.Equal(p.Used(), []string{"github.com/x/y"}) {
		t.Errorf("used %v", p.Used())
	}
}

// Code of others must be of a package that calls itself by its place; files for
// upload need not.
func TestCodeIsOfAPackage(t *testing.T) {
	mirror := t.TempDir()
	tree(t, mirror, map[string]string{
		"github.com/x/none/lib/a.star":            "a",
		"github.com/x/sub/pkg/kurtosis.yml":       "name: github.com/x/sub/pkg\n",
		"github.com/x/sub/pkg/lib/a.star":         "a",
		"github.com/x/sub/other.star":             "a",
		"github.com/x/other/kurtosis.yml":         "name: github.com/x/thing\n",
		"github.com/x/other/a.star":               "a",
		"github.com/x/bad/kurtosis.yml":           "name: github.com/x/bad\nnick: x\n",
		"github.com/x/bad/a.star":                 "a",
		"github.com/x/compose/docker-compose.yml": "services: {}\n",
		"github.com/x/compose/lib/a.star":         "a",
		"github.com/x/fork/kurtosis.yml":          "name: github.com/x/original\n",
		"github.com/x/fork/a.star":                "a",
		"root/kurtosis.yml":                       "name: github.com/me/root\nreplace:\n  github.com/x/original: github.com/x/fork\n",
		"root/main.star":                          "",
	})
	for locator, want := range map[string]string{
		"github.com/x/none/lib/a.star":    "E0110",
		"github.com/x/sub/pkg/lib/a.star": "a",
		"github.com/x/sub/other.star":     "E0110",
		"github.com/x/other/a.star":       "E0111",
		"github.com/x/bad/a.star":         "E0110",
		"github.com/x/compose/lib/a.star": "a",
		"github.com/x/original/a.star":    "a",
		"github.com/x/sub/pkg/lib":        "E0114", // a directory
	} {
		for _, use := range []Use{Anything, OfPackage} {
			p, err := OpenDir(filepath.Join(mirror, "root"), "", WithFetcher(Mirror{Dir: mirror}))
			if err != nil {
				t.Fatal(err)
			}
			expect := want
			if use == Anything && strings.HasPrefix(want, "E011") && want != "E0114" {
				expect = "a"
			}
			if _, got := codeOrText(t, p, p.Main(), locator, use); got != expect {
				t.Errorf("%s for %d: got %q, want %q", locator, use, got, expect)
			}
		}
	}
}

// A package from a repository can't reach this machine by its replacements or
// its links.
func TestRemotePackageStaysInItsRepository(t *testing.T) {
	top := t.TempDir()
	tree(t, top, map[string]string{
		"outside/kurtosis.yml": "name: github.com/me/evil\n",
		"outside/main.star":    "secret",
		"outside/x.star":       "secret",
		"m/github.com/me/mono/app/kurtosis.yml": "name: github.com/me/mono/app\nreplace:\n  github.com/x/in: ../lib\n" +
			"  github.com/x/out: ../../../../../outside\n  github.com/x/abs: " + top + "/outside\n  github.com/x/link: ../link\n",
		"m/github.com/me/mono/app/main.star":  "main",
		"m/github.com/me/mono/app/other.star": "other",
		"m/github.com/me/mono/lib/x.star":     "lib",
		"m/github.com/x/out/x.star":           "out",
		"m/github.com/x/abs/x.star":           "abs",
		"m/github.com/x/link/x.star":          "link",
		"m/github.com/me/evil/README":         "",
	})
	for name, target := range map[string]string{
		"m/github.com/me/mono/link": filepath.Join(top, "outside"), "m/github.com/me/evil/pkg": "../../../../outside",
	} {
		if err := os.Symlink(target, filepath.Join(top, name)); err != nil {
			t.Fatal(err)
		}
	}
	mirror := Mirror{Dir: filepath.Join(top, "m")}
	p, err := OpenRemote(t.Context(), "github.com/me/mono/app", "", mirror)
	if err != nil {
		t.Fatal(err)
	}
	for locator, want := range map[string]string{
		"github.com/x/in/x.star": "lib", "github.com/x/out/x.star": "out", "github.com/x/abs/x.star": "abs",
		"github.com/x/link/x.star": "link", "../lib/x.star": "lib", "/app/other.star": "other", "../link/x.star": "E0117",
	} {
		if _, got := codeOrText(t, p, p.Main(), locator, Anything); got != want {
			t.Errorf("%s: got %q, want %q", locator, got, want)
		}
	}
	if len(p.Warnings()) != 3 {
		t.Errorf("warnings %q", p.Warnings())
	}
	if _, err := OpenRemote(t.Context(), "github.com/me/evil/pkg", "", mirror); fault.From(err, "none").Code != "E0117" {
		t.Errorf("a link out: %v", err)
	}

	for locator, want := range map[string]string{
		"github.com/me/mono/app/other.star": "other", "github.com/me/mono@any/app/other.star": "other", "github.com/me/mono/app": "main",
	} {
		p, err := OpenRemote(t.Context(), locator, "", mirror)
		if err != nil {
			t.Errorf("%s: %v", locator, err)
			continue
		}
		if text, err := p.ReadCode(t.Context(), p.Main()); text != want || err != nil || p.ID() != "github.com/me/mono/app" {
			t.Errorf("%s: %q, %v", locator, text, err)
		}
	}
}

// What came along with a package stands for what its manifest replaces by a path,
// and for nothing else.
func TestSentDirectories(t *testing.T) {
	top := t.TempDir()
	tree(t, top, map[string]string{
		"root/kurtosis.yml": "name: github.com/me/root\nreplace:\n  github.com/x/path: ../elsewhere\n  github.com/x/fork: github.com/y/fork\n",
		"root/main.star":    "", "sent/x.star": "sent",
		"m/github.com/x/other/x.star": "other", "m/github.com/y/fork/x.star": "fork",
	})
	sent := filepath.Join(top, "sent")
	p, err := OpenDir(filepath.Join(top, "root"), "", WithoutLocalReplace(), WithFetcher(Mirror{Dir: filepath.Join(top, "m")}),
		WithSent("github.com/x/path", sent), WithSent("github.com/x/fork", sent), WithSent("github.com/x/other", sent))
	if err != nil {
		t.Fatal(err)
	}
	for locator, want := range map[string]string{
		"github.com/x/path/x.star": "sent", "github.com/x/fork/x.star": "fork", "github.com/x/other/x.star": "other",
	} {
		if _, got := codeOrText(t, p, p.Main(), locator, Anything); got != want {
			t.Errorf("%s: got %q, want %q", locator, got, want)
		}
	}
}
