package source

import (
	"encoding/base64"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/fault"
)

// gitServer serves the repositories below a directory over http, with git's own
// program for that. before may answer a request in its place.
func gitServer(t *testing.T, root string, before func(http.ResponseWriter, *http.Request) bool) string {
	t.Helper()
	execPath, err := exec.CommandContext(t.Context(), "git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(execPath)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1"},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if before == nil || !before(w, r) {
			backend.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// served makes the repository me/pkg and gives the directory above me, and the
// commit of "one".
func served(t *testing.T) (root, first string) {
	root = t.TempDir()
	first = repository(t, filepath.Join(root, "me/pkg.git"))
	return root, first
}

var pkg = Locator{Author: "me", Repo: "pkg"}

func at(version string) Locator { l := pkg; l.Version = version; return l }

// mainOf gives main.star of a version, or the fault's code.
func mainOf(t *testing.T, g Fetcher, version string) string {
	t.Helper()
	fetched, err := g.Fetch(t.Context(), at(version))
	if err != nil {
		return "failed: " + fetchFault(pkg, err).Error() + " " + fault.From(fetchFault(pkg, err), "").Hint
	}
	text, err := os.ReadFile(filepath.Join(fetched.Dir, "main.star"))
	if err != nil || exists(filepath.Join(fetched.Dir, ".git")) {
		t.Errorf("%v, or git's own files are there", err)
	}
	return string(text)
}

func TestGitOverHTTP(t *testing.T) {
	for _, filters := range []string{"true", "false"} {
		root, first := served(t)
		repo := filepath.Join(root, "me/pkg.git")
		gitIn(t, repo, "config", "uploadpack.allowFilter", filters)
		tree(t, repo, map[string]string{"main.star": "three"})
		gitIn(t, repo, "commit", "--quiet", "-am", "three")
		g := Git{Cache: t.TempDir(), BaseURL: gitServer(t, root, nil)}
		for version, want := range map[string]string{"": "three", "v1": "one", "feature/x": "two", first: "one", first[:7]: "one", first[:12]: "one"} {
			if got := mainOf(t, g, version); got != want {
				t.Errorf("filters %s, version %q: got %q, want %q", filters, version, got, want)
			}
		}
		for _, version := range []string{"0000000", "v2", strings.Repeat("0", 40)} {
			if got := mainOf(t, g, version); !strings.HasPrefix(got, "failed: ") || !strings.Contains(got, version) {
				t.Errorf("filters %s, version %q: got %q", filters, version, got)
			}
		}
	}
}

// A server of git's old protocol gives a commit only where a branch or a tag
// names it: its history is fetched then.
func TestGitWithoutCommitsByHash(t *testing.T) {
	root, first := served(t)
	repo := filepath.Join(root, "me/pkg.git")
	tree(t, repo, map[string]string{"main.star": "three"})
	gitIn(t, repo, "commit", "--quiet", "-am", "three")
	gitIn(t, repo, "tag", "-d", "v1")
	gitIn(t, repo, "config", "--unset", "uploadpack.allowAnySHA1InWant")
	g := Git{Cache: t.TempDir(), BaseURL: gitServer(t, root, nil), Env: []string{
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=protocol.version", "GIT_CONFIG_VALUE_0=0",
	}}
	if got := mainOf(t, g, first); got != "one" {
		t.Errorf("got %q", got)
	}
	if got := mainOf(t, g, strings.Repeat("1", 40)); !strings.Contains(got, "has no commit") {
		t.Errorf("no such commit: got %q", got)
	}
}

func TestGitCredentials(t *testing.T) {
	root, _ := served(t)
	var shown atomic.Value
	url := gitServer(t, root, func(w http.ResponseWriter, r *http.Request) bool {
		user, password, ok := r.BasicAuth()
		if ok && (password == "s3cret" || user == "x-access-token" && password == "t0ken") {
			shown.Store(r.Header.Get("Authorization"))
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	home := t.TempDir()
	if got := mainOf(t, Git{Cache: t.TempDir(), BaseURL: url, Env: []string{"HOME=" + home}}, ""); !strings.Contains(got, "without a prompt") {
		t.Errorf("without credentials: %q", got)
	}
	tree(t, home, map[string]string{
		".gitconfig":       "[credential]\n\thelper = store\n",
		".git-credentials": strings.Replace(url, "://", "://user:s3cret@", 1) + "\n",
	})
	if got := mainOf(t, Git{Cache: t.TempDir(), BaseURL: url, Env: GitEnvironment([]string{"HOME=" + home, "OTHER=x"})}, ""); got != "one" {
		t.Errorf("with the user's credentials: %q", got)
	}
	for _, name := range []string{"GITHUB_TOKEN", "GH_TOKEN"} {
		for token, want := range map[string]string{"t0ken": "one", "wrong": "without a prompt"} {
			env := GitEnvironment([]string{"HOME=" + t.TempDir(), name + "=" + token})
			if got := mainOf(t, Git{Cache: t.TempDir(), BaseURL: url, Env: env}, ""); !strings.Contains(got, want) {
				t.Errorf("with %s=%s: %q", name, token, got)
			}
		}
	}
	var env []string
	for _, v := range GitToken("t0ken") {
		env = append(env, strings.Replace(v, "https://github.com", url, 1))
	}
	if got := mainOf(t, Git{Cache: t.TempDir(), BaseURL: url, Env: append(env, "HOME="+t.TempDir())}, ""); got != "one" {
		t.Errorf("with a token: %q", got)
	}
	if want := "Basic " + base64.StdEncoding.EncodeToString([]byte("x-access-token:t0ken")); shown.Load() != want {
		t.Errorf("the server was shown %q", shown.Load())
	}
}

func TestGitTriesAgain(t *testing.T) {
	root, _ := served(t)
	var failures atomic.Int32
	url := gitServer(t, root, func(w http.ResponseWriter, _ *http.Request) bool {
		if failures.Add(-1) < 0 {
			return false
		}
		w.WriteHeader(http.StatusBadGateway)
		return true
	})
	failures.Store(2)
	g := Git{Cache: t.TempDir(), BaseURL: url, Pause: time.Millisecond}
	if got := mainOf(t, g, ""); got != "one" {
		t.Errorf("after two failures: %q", got)
	}
	failures.Store(3)
	if got := mainOf(t, g, "v1"); !strings.Contains(got, "try again later") {
		t.Errorf("after three failures: %q", got)
	}
}

func TestGitErrorsTellWhatToDo(t *testing.T) {
	for text, want := range map[string]string{
		"fatal: unable to access 'https://github.com/a/b.git/': Could not resolve host: github.com\n":                                                                                                     "--package-mirror",
		"Cloning...\nremote: Repository not found.\nfatal: repository 'https://github.com/a/b.git/' not found\n":                                                                                          "private",
		"fatal: could not read Username for 'https://github.com': terminal prompts disabled\n":                                                                                                            "private",
		"fatal: unable to access 'x': server certificate verification failed. CAfile: none CRLfile: none\n":                                                                                               "http.sslCAInfo",
		"git@github.com: Permission denied (publickey).\nfatal: Could not read from remote repository.\n\nPlease make sure you have…":                                                                     "SSH key",
		"fatal: unable to connect to 127.0.0.1:\n127.0.0.1[0: 127.0.0.1]: errno=Connection refused\n\n":                                                                                                   "--package-mirror",
		"ssh: connect to host github.com port 22: Connection refused\nfatal: Could not read from remote repository.\n\nPlease make sure you have the correct access rights\nand the repository exists.\n": "--package-mirror",
		"Host key verification failed.\nfatal: Could not read from remote repository.\n":                                                                                                                  "ssh -T git@github.com",
		"": "git clone",
	} {
		err := explain(gitError(text, exec.ErrDot))
		if f := fault.From(fetchFault(pkg, err), ""); f.Code != "E0116" || !strings.Contains(f.Hint, want) {
			t.Errorf("%q gives %q, hint %q", text, f.Summary, f.Hint)
		}
	}
}

// What was fetched before runs when the network is gone: a tag or a branch is
// what it was the last time, and that is told; a commit is what it is.
func TestGitOffline(t *testing.T) {
	root, first := served(t)
	silent := make(chan struct{})
	t.Cleanup(func() { close(silent) })
	var gone atomic.Int32
	const answers, refuses, hangs = 0, 1, 2
	url := gitServer(t, root, func(w http.ResponseWriter, r *http.Request) bool {
		switch gone.Load() {
		case refuses:
			w.WriteHeader(http.StatusBadGateway)
			return true
		case hangs:
			select {
			case <-silent:
			case <-r.Context().Done():
			}
			return true
		}
		return false
	})
	g := Git{Cache: t.TempDir(), BaseURL: url, Pause: time.Millisecond, Patience: time.Minute}
	versions := map[string]string{"": "one", "v1": "one", "feature/x": "two", first: "one", strings.ToUpper(first): "one", first[:7]: "one"}
	for version, want := range versions {
		if got := mainOf(t, g, version); got != want {
			t.Fatalf("online, version %q: %q", version, got)
		}
	}
	for _, state := range []int32{refuses, hangs} {
		gone.Store(state)
		g := g
		if state == hangs {
			g.Patience = 100 * time.Millisecond
		}
		for version, want := range versions {
			fetched, err := g.Fetch(t.Context(), at(version))
			text, _ := os.ReadFile(filepath.Join(fetched.Dir, "main.star"))
			if err != nil || string(text) != want {
				t.Errorf("offline (%d), version %q: %q, %v", state, version, text, err)
			}
			if noted := strings.Contains(fetched.Note, "can't be reached"); noted == strings.EqualFold(version, first) {
				t.Errorf("offline (%d), version %q: note %q", state, version, fetched.Note)
			}
		}
	}
	gone.Store(refuses)
	if got := mainOf(t, g, "v2"); !strings.HasPrefix(got, "failed: ") {
		t.Errorf("offline, never fetched: %q", got)
	}

	// What is gone from the repository is gone: that is an answer.
	gone.Store(answers)
	gitIn(t, filepath.Join(root, "me/pkg.git"), "tag", "-d", "v1")
	if got := mainOf(t, g, "v1"); !strings.Contains(got, "no tag or branch") {
		t.Errorf("a tag that was removed: %q", got)
	}
	// And a branch is looked up anew.
	tree(t, filepath.Join(root, "me/pkg.git"), map[string]string{"main.star": "three"})
	gitIn(t, filepath.Join(root, "me/pkg.git"), "commit", "--quiet", "-am", "three")
	if got := mainOf(t, g, ""); got != "three" {
		t.Errorf("a branch that went on: %q", got)
	}
	gone.Store(refuses)
	if got := mainOf(t, g, ""); got != "three" {
		t.Errorf("offline after that: %q", got)
	}
	t.Setenv("PATH", t.TempDir())
	if got := mainOf(t, g, ""); got != "three" {
		t.Errorf("without git: %q", got)
	}
}

// In a hook, git's variables name the user's repository: that is left alone.
func TestGitInAHook(t *testing.T) {
	root, first := served(t)
	mine := t.TempDir()
	repository(t, mine)
	before := gitIn(t, mine, "rev-parse", "HEAD")
	t.Setenv("GIT_DIR", filepath.Join(mine, ".git"))
	t.Setenv("GIT_WORK_TREE", mine)
	t.Setenv("GIT_INDEX_FILE", filepath.Join(mine, ".git/index"))
	g := Git{Cache: t.TempDir(), BaseURL: "file://" + root}
	for version, want := range map[string]string{"feature/x": "two", first[:8]: "one"} {
		if got := mainOf(t, g, version); got != want {
			t.Errorf("%s: %q", version, got)
		}
	}
	os.Unsetenv("GIT_DIR")
	os.Unsetenv("GIT_WORK_TREE")
	os.Unsetenv("GIT_INDEX_FILE")
	if after := gitIn(t, mine, "rev-parse", "HEAD"); after != before || gitIn(t, mine, "status", "--porcelain") != "" {
		t.Errorf("the user's repository was touched: %s, %s", before, after)
	}
}

// Git's errors repeat the address, with the password that is in it.
func TestGitPasswords(t *testing.T) {
	g := Git{Cache: t.TempDir(), BaseURL: "http://me:s3cret@127.0.0.1:9", Pause: time.Millisecond}
	if got := mainOf(t, g, ""); !strings.Contains(got, "127.0.0.1:9/") || strings.Contains(got, "s3cret") {
		t.Errorf("got %q", got)
	}
}

// Clones that nobody asked for in a month go when another one comes, and so does
// what a crash left.
func TestGitTidies(t *testing.T) {
	root, first := served(t)
	g := Git{Cache: t.TempDir(), BaseURL: "file://" + root}
	if got := mainOf(t, g, first); got != "one" {
		t.Fatal(got)
	}
	beside := filepath.Join(g.Cache, "me/pkg")
	old := func(name string, age time.Duration) {
		at := filepath.Join(beside, name)
		if err := os.MkdirAll(at, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(at, time.Now(), time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	forgotten, recent := strings.Repeat("a", 40), strings.Repeat("b", 40)
	old(forgotten, 31*24*time.Hour)
	old(recent, 29*24*time.Hour)
	old(first, 31*24*time.Hour)
	old(".clone-1", 25*time.Hour)
	old(".clone-2", time.Hour)
	if got := mainOf(t, g, first); got != "one" { // in use again
		t.Error(got)
	}
	if got := mainOf(t, g, "feature/x"); got != "two" {
		t.Error(got)
	}
	for name, stays := range map[string]bool{forgotten: false, recent: true, first: true, ".clone-1": false, ".clone-2": true} {
		if exists(filepath.Join(beside, name)) != stays {
			t.Errorf("%s: want it to stay: %v", name, stays)
		}
	}
}

func TestGitWithoutACache(t *testing.T) {
	root, _ := served(t)
	file := filepath.Join(t.TempDir(), "file")
	tree(t, filepath.Dir(file), map[string]string{"file": ""})
	g := Git{Cache: filepath.Join(file, "cache"), BaseURL: "file://" + root}
	if got := mainOf(t, g, ""); !strings.Contains(got, "keep package github.com/me/pkg") || !strings.Contains(got, "XDG_CACHE_HOME") {
		t.Errorf("got %q", got)
	}
}

// A cache may lie in a directory of any name.
func TestBeginningOfACommitIsRemembered(t *testing.T) {
	const commit = "0123456789abcdef0123456789abcdef01234567"
	g := Git{Cache: filepath.Join(t.TempDir(), "a[1]*?")}
	l := Locator{Author: "me", Repo: "work", Version: "0123456"}
	if err := os.MkdirAll(g.place(l, commit), 0o700); err != nil {
		t.Fatal(err)
	}
	if got, _ := g.recall(l); got != commit {
		t.Errorf("got %q, want %q", got, commit)
	}
}
