package source

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lepto-dev/lepto/internal/fault"
)

// gitIn runs git in a directory and gives what it says.
func gitIn(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.org", "-C", dir}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %s", args, out)
	}
	return strings.TrimSpace(string(out))
}

// repository makes a git repository: "one" on main and as the tag v1, "two" on
// feature/x. It gives the commit of "one".
func repository(t *testing.T, dir string) string {
	t.Helper()
	tree(t, dir, map[string]string{"main.star": "one"})
	gitIn(t, dir, "init", "--quiet", "--initial-branch=main")
	gitIn(t, dir, "add", ".")
	gitIn(t, dir, "commit", "--quiet", "-m", "one")
	gitIn(t, dir, "tag", "-a", "v1", "-m", "v1")
	first := gitIn(t, dir, "rev-parse", "HEAD")
	gitIn(t, dir, "checkout", "--quiet", "-b", "feature/x")
	tree(t, dir, map[string]string{"main.star": "two"})
	gitIn(t, dir, "commit", "--quiet", "-am", "two")
	gitIn(t, dir, "checkout", "--quiet", "main")
	gitIn(t, dir, "config", "uploadpack.allowAnySHA1InWant", "true")
	return first
}

// The git fetcher, against repositories on disk.
func TestGit(t *testing.T) {
	top := t.TempDir()
	repo := filepath.Join(top, "remote/me/pkg.git")
	first := repository(t, repo)

	fetcher := Git{Cache: filepath.Join(top, "cache"), BaseURL: "file://" + filepath.Join(top, "remote")}
	for version, want := range map[string]string{"": "one", "v1": "one", "feature/x": "two", first: "one", "nope": "", strings.Repeat("0", 40): ""} {
		for range 2 { // the second time from the cache
			fetched, err := fetcher.Fetch(context.Background(), Locator{Author: "me", Repo: "pkg", Version: version})
			text, _ := os.ReadFile(filepath.Join(fetched.Dir, "main.star"))
			if string(text) != want || (err == nil) != (want != "") {
				t.Errorf("version %q: got %q, %v", version, text, err)
			}
		}
	}
	if _, err := fetcher.Fetch(context.Background(), Locator{Author: "me", Repo: "none"}); err == nil {
		t.Error("a repository that is not there was fetched")
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	reason := errors.New("stop")
	cancel(reason)
	if _, err := fetcher.Fetch(ctx, Locator{Author: "me", Repo: "pkg"}); !errors.Is(err, reason) {
		t.Errorf("cancelled: got %v", err)
	}
}

func TestMirror(t *testing.T) {
	top := filepath.Join(t.TempDir(), "a mirror%20")
	tree(t, top, map[string]string{
		"github.com/me/plain/main.star":                                        "head",
		"github.com/me/plain@v1/main.star":                                     "v1",
		"github.com/me/plain@feature/x/main.star":                              "x",
		"github.com/me/only@v1/main.star":                                      "v1",
		"github.com/me/work/main.star":                                         "", // a repository, below
		"github.com/secret/main.star":                                          "no repository",
		"github.com/me/file":                                                   "no directory",
		"github.com/me/sha@0123456789abcdef0123456789abcdef01234567/main.star": "by hash",
		"github.com/me/work@from-folder/main.star":                             "folder",
	})
	first := repository(t, filepath.Join(top, "github.com/me/work"))
	gitIn(t, top, "clone", "--quiet", "--bare", filepath.Join(top, "github.com/me/work"), filepath.Join(top, "github.com/me/bare.git"))
	gitIn(t, top, "clone", "--quiet", "--bare", filepath.Join(top, "github.com/me/work"), filepath.Join(top, "github.com/me/naked"))
	tree(t, top, map[string]string{"github.com/me/work/main.star": "edited"})
	if os.Geteuid() == 0 { // a mirror may belong to someone else
		for _, dir := range []string{"github.com/me/work", "github.com/me/bare.git"} {
			if out, err := exec.CommandContext(t.Context(), "chown", "-R", "12345", filepath.Join(top, dir)).CombinedOutput(); err != nil {
				t.Fatalf("chown: %s", out)
			}
		}
	}

	mirror := NewFetcher(top, filepath.Join(top, "cache"), nil)
	for locator, want := range map[string]string{
		"me/plain": "head", "me/plain@v1": "v1", "me/plain@feature/x": "x", "me/plain@v2": "head, noted",
		"me/sha@0123456": "by hash", "me/sha@0123456789abcdef0123456789abcdef01234567": "by hash", "me/sha@0124": "E0116", "me/sha": "E0116",
		"me/only@v1": "v1", "me/only": "E0116", "me/only@v2": "E0116", "me/file": "E0116", "me/none": "E0116",
		"me/work": "edited", "me/work@v1": "one", "me/work@feature/x": "two", "me/work@" + first: "one",
		"me/work@from-folder": "folder", "me/work@v9": "edited, noted",
		"me/bare": "one", "me/bare@v1": "one", "me/bare@feature/x": "two", "me/bare@v9": "E0116", "me/naked@feature/x": "two",
	} {
		l, err := ParseLocator("github.com/" + locator)
		if err != nil {
			t.Fatal(err)
		}
		fetched, err := mirror.Fetch(t.Context(), l)
		text, _ := os.ReadFile(filepath.Join(fetched.Dir, "main.star"))
		got := string(text)
		if err != nil {
			got = fault.From(err, "none").Code
		}
		if fetched.Note != "" {
			got += ", noted"
		}
		if got != want {
			t.Errorf("%s: got %q, %v; want %q", locator, got, err, want)
		}
	}
	if _, err := mirror.Fetch(t.Context(), Locator{Author: "me", Repo: "only"}); fault.From(err, "").Hint != "the mirror has only versions of it: v1" {
		t.Errorf("hint: %q", fault.From(err, "").Hint)
	}
	if _, err := NewFetcher(filepath.Join(top, "nowhere"), "", nil).Fetch(t.Context(), Locator{Author: "a", Repo: "b"}); err == nil ||
		!strings.Contains(err.Error(), "is no directory") {
		t.Errorf("no mirror: %v", err)
	}
}

// What could lead out of the cache or of a mirror, or be an option of git, is no
// locator.
func TestLocatorsThatAreNone(t *testing.T) {
	for _, text := range []string{
		"github.com/a/.git", "github.com/a/..git", "github.com/a/...git", "github.com/../a", "github.com/a/..",
		"github.com/-a/b", "github.com/a/-b", "github.com/a b/c", "github.com/a/b:c", "github.com/a/%2e%2e",
		"github.com/a/b@../../../etc", "github.com/a/b@x/../y", "github.com/a/b@/etc", "github.com/a/b@--upload-pack=x",
		"github.com/a/b@x\x01", "github.com/a/b@HEAD~1", "github.com/a/b@x@{1}", "github.com/a/b@.git/x", "github.com/a/b@x.lock/y",
	} {
		if l, err := ParseLocator(text); fault.From(err, "none").Code != "E0113" {
			t.Errorf("%q gives %+v, %v", text, l, err)
		}
	}
}
