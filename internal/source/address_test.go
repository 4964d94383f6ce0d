package source

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lepto-dev/lepto/internal/fault"
)

// What people paste is no locator; the error tells the one that it stands for.
func TestAddresses(t *testing.T) {
	for text, want := range map[string]string{
		"https://github.com/me/pkg":                         "github.com/me/pkg",
		"http://www.github.com/me/pkg.git":                  "github.com/me/pkg",
		"https://user@github.com/me/pkg/":                   "github.com/me/pkg",
		"https://github.com/me/pkg/tree/main/a/b":           "github.com/me/pkg/a/b@main",
		"https://github.com/me/pkg/tree/v1?tab=readme#x":    "github.com/me/pkg@v1",
		"https://github.com/me/pkg/blob/main/lib/x.star#L3": "github.com/me/pkg/lib/x.star@main",
		"https://github.com/me/pkg/commit/0123abcd":         "github.com/me/pkg@0123abcd",
		"git@github.com:me/pkg.git":                         "github.com/me/pkg",
		"ssh://git@github.com/me/pkg.git":                   "github.com/me/pkg",
		"git://github.com/me/pkg":                           "github.com/me/pkg",
		"www.github.com/me/pkg":                             "github.com/me/pkg",
		"github.com/me/pkg/tree/main/a":                     "github.com/me/pkg/a@main",
		"github.com/me/pkg":                                 "",
		"https://github.com/me":                             "",
		"https://example.org/me/pkg":                        "",
		"./github.com/me/pkg":                               "",
		"https://github.com/me/%zz":                         "",
	} {
		if got := fromAddress(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	for _, text := range []string{"https://gitlab.com/me/pkg", "gitlab.com/me/pkg", "git@bitbucket.org:me/pkg.git", "https://www.codeberg.org/me/pkg"} {
		if AddressHint(text) != elsewhereHint {
			t.Errorf("%q: %q", text, AddressHint(text))
		}
	}
	if _, err := ParseLocator("https://github.com/me/pkg/tree/main/a"); fault.From(err, "").Hint != "write it as github.com/me/pkg/a@main" {
		t.Error(err, fault.From(err, "").Hint)
	}
}

func TestWhatATargetMayBe(t *testing.T) {
	mirror := t.TempDir()
	tree(t, mirror, map[string]string{
		"github.com/Me/Pkg/kurtosis.yml":           "name: github.com/me/pkg\n",
		"github.com/Me/Pkg/main.star":              "main",
		"github.com/Me/Pkg/sub/kurtosis.yml":       "name: github.com/me/pkg/sub\n",
		"github.com/Me/Pkg/sub/main.star":          "sub",
		"github.com/Me/Pkg/sub/other.star":         "other",
		"github.com/Me/Pkg/sub/deep/x.star":        "deep",
		"github.com/Me/Pkg@v1/kurtosis.yml":        "name: github.com/me/pkg\n",
		"github.com/Me/Pkg@v1/main.star":           "v1",
		"github.com/Me/Pkg@feature/x/main.star":    "x",
		"github.com/Me/Pkg@feature/x/kurtosis.yml": "name: github.com/me/pkg\n",
	})
	for locator, want := range map[string]string{
		"github.com/me/pkg":                  "main",
		"github.com/ME/PKG/":                 "main",
		"GitHub.com/me/pkg":                  "main",
		"github.com/me/pkg.git":              "main",
		"github.com/me/pkg@":                 "main",
		"github.com/me/pkg@v1":               "v1",
		"github.com/me/pkg@V1":               "main",
		"github.com/me/pkg@feature/x":        "x",
		"github.com/me/pkg/kurtosis.yml":     "main",
		"github.com/me/pkg/main.star@v1":     "v1",
		"github.com/me/pkg@v1/main.star":     "v1",
		"github.com/me/pkg/sub":              "sub",
		"github.com/me/pkg/sub/":             "sub",
		"github.com/me/pkg/./sub/../sub":     "sub",
		"github.com/me/pkg/sub/kurtosis.yml": "sub",
		"github.com/me/pkg/sub/other.star":   "other",
		"github.com/me/pkg/sub/deep/x.star":  "deep",
		"github.com/me/pkg/tree/main/sub":    "E0110 write it as github.com/me/pkg/sub@main",
		"github.com/me/pkg/sub/deep":         "E0110 a package is a directory",
		"github.com/me/pkg/none.star":        "E0112",
	} {
		p, err := OpenRemote(t.Context(), locator, "", Mirror{Dir: mirror})
		got := ""
		if err == nil {
			got, err = p.ReadText(p.Main())
		}
		if err != nil {
			f := fault.From(err, "none")
			got = f.Code + " " + f.Hint
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %q, want %q", locator, got, want)
		}
	}
}

// A branch may be called like a file: what follows the first "/" of a version is
// taken for a path, unless there is no such version.
func TestBranchWithADot(t *testing.T) {
	root := t.TempDir()
	repo := filepath.Join(root, "me/pkg.git")
	tree(t, repo, map[string]string{"kurtosis.yml": "name: github.com/me/pkg\n"})
	repository(t, repo)
	gitIn(t, repo, "checkout", "--quiet", "-b", "fix/a.b")
	tree(t, repo, map[string]string{"main.star": "fixed"})
	gitIn(t, repo, "commit", "--quiet", "-am", "fix")
	git := Git{Cache: t.TempDir(), BaseURL: "file://" + root}
	p, err := OpenRemote(t.Context(), "github.com/me/pkg@fix/a.b", "", git)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := p.ReadText(p.Main()); err != nil || text != "fixed" {
		t.Errorf("got %q, %v", text, err)
	}
	s := OpenScript("s.star", "", WithFetcher(git))
	if _, got := codeOrText(t, s, s.Main(), "github.com/me/pkg/main.star@fix/a.b", OfPackage); got != "fixed" {
		t.Errorf("imported: %q", got)
	}
	if _, err := OpenRemote(t.Context(), "github.com/me/pkg@none/a.b", "", git); fault.From(err, "").Code != "E0116" {
		t.Errorf("neither: %v", err)
	}
}

func TestFileInASubmodule(t *testing.T) {
	dir := t.TempDir()
	tree(t, dir, map[string]string{
		"kurtosis.yml": "name: github.com/me/pkg\n", "main.star": "",
		".gitmodules": "[submodule \"lib\"]\n\tpath = vendor/lib\n\turl = https://example.org/lib\n",
	})
	if err := os.MkdirAll(filepath.Join(dir, "vendor/lib"), 0o755); err != nil {
		t.Fatal(err)
	}
	p, err := OpenDir(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Resolve(t.Context(), p.Main(), "vendor/lib/x.star", OfPackage)
	if f := fault.From(err, ""); f.Code != "E0114" || !strings.Contains(f.Hint, "submodule") {
		t.Errorf("%v, hint %q", err, f.Hint)
	}
}

func TestPointerOfLFS(t *testing.T) {
	dir := t.TempDir()
	tree(t, dir, map[string]string{
		"kurtosis.yml": "name: github.com/me/pkg\n", "main.star": "",
		"big.bin": "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
	})
	p, err := OpenDir(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := p.Resolve(t.Context(), p.Main(), "big.bin", Anything); err != nil {
			t.Error(err)
		}
	}
	if w := p.Warnings(); len(w) != 1 || !strings.Contains(w[0], "github.com/me/pkg/big.bin is kept in Git LFS") {
		t.Errorf("warnings %q", w)
	}
}

// The package that is run is there once, whatever version of it others name.
func TestVersionOfTheOwnPackage(t *testing.T) {
	mirror := t.TempDir()
	tree(t, mirror, map[string]string{
		"github.com/me/pkg@v1/kurtosis.yml": "name: github.com/me/pkg\n", "github.com/me/pkg@v1/main.star": "", "github.com/me/pkg@v1/x.star": "x",
		"github.com/a/b/kurtosis.yml": "name: github.com/a/b\n", "github.com/a/b/b.star": "b",
	})
	for locator, warned := range map[string]bool{"github.com/me/pkg/x.star": false, "github.com/me/pkg/x.star@v1": false, "github.com/me/pkg/x.star@v2": true} {
		p, err := OpenRemote(t.Context(), "github.com/me/pkg@v1", "", Mirror{Dir: mirror})
		if err != nil {
			t.Fatal(err)
		}
		other, _ := codeOrText(t, p, p.Main(), "github.com/a/b/b.star", OfPackage)
		if _, got := codeOrText(t, p, other, locator, OfPackage); got != "x" || (len(p.Warnings()) > 0) != warned {
			t.Errorf("%s: got %q, warnings %q", locator, got, p.Warnings())
		}
	}
}

func TestMainFileThatLeadsOut(t *testing.T) {
	dir := t.TempDir()
	tree(t, dir, map[string]string{"pkg/kurtosis.yml": "name: github.com/me/pkg\n", "main.star": ""})
	if err := os.Symlink("../main.star", filepath.Join(dir, "pkg/main.star")); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDir(filepath.Join(dir, "pkg"), ""); fault.From(err, "").Code != "E0117" {
		t.Error(err)
	}
}

func TestDirectoryAsCode(t *testing.T) {
	mirror := t.TempDir()
	tree(t, mirror, map[string]string{
		"github.com/a/b/kurtosis.yml": "name: github.com/a/b\n", "github.com/a/b/main.star": "", "github.com/a/b/lib/x.star": "",
	})
	p := OpenScript("s.star", "", WithFetcher(Mirror{Dir: mirror}))
	for locator, hint := range map[string]string{"github.com/a/b": "name a file in it: github.com/a/b/main.star", "github.com/a/b/lib": ""} {
		file, err := p.Resolve(t.Context(), p.Main(), locator, OfPackage)
		if err == nil {
			_, err = p.ReadCode(t.Context(), file)
		}
		if f := fault.From(err, ""); f.Code != "E0114" || f.Summary != locator+" is a directory, not a file" || f.Hint != hint {
			t.Errorf("%s: %v, hint %q", locator, err, f.Hint)
		}
	}
}
