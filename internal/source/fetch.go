package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/lepto-dev/lepto/internal/fault"
)

// A Fetcher brings the repository of a locator to this machine and gives its
// directory: the repository's root, at the locator's version, which the caller
// only reads. Safe for concurrent use.
type Fetcher interface {
	Fetch(ctx context.Context, l Locator) (dir string, err error)
}

// Mirror is a Fetcher that finds repositories in a local directory, laid out as
// github.com/<author>/<repo>[@<version>].
type Mirror struct{ Dir string }

// Fetch gives the directory of the exact version if it is there, else the one
// without version.
func (m Mirror) Fetch(_ context.Context, l Locator) (string, error) {
	for _, name := range []string{l.Repository() + "@" + l.Version, l.Repository()} {
		dir := filepath.Join(m.Dir, filepath.FromSlash(name))
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return dir, nil
		}
	}
	return "", fmt.Errorf("mirror %s: %w", m.Dir, fault.ErrNotFound)
}

// Git is a Fetcher that uses the git program, so that the user's own
// credentials and proxies are used. Clones are shallow and kept by commit; a
// branch is looked up anew each time.
type Git struct {
	Cache   string        // directory of the clones; made when needed
	BaseURL string        // https://github.com if empty
	Timeout time.Duration // of a whole Fetch; 5 minutes if 0
}

// isCommit reports whether text is the full hash of a commit.
func isCommit(text string) bool {
	return len(text) == 40 && strings.Trim(text, "0123456789abcdef") == ""
}

// Fetch finds the commit of the version and clones it unless it is here.
func (g Git) Fetch(ctx context.Context, l Locator) (string, error) {
	timeout := g.Timeout
	if timeout <= 0 {
		timeout = 5 * time.Minute
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("git took longer than %s: %w", timeout, fault.ErrTimeout))
	defer cancel()

	commit, err := g.commit(ctx, l)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(g.Cache, l.Author, l.Repo, commit)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	return dir, g.clone(ctx, l, commit, dir)
}

func (g Git) url(l Locator) string {
	base := g.BaseURL
	if base == "" {
		base = "https://" + host
	}
	return base + "/" + l.Author + "/" + l.Repo + ".git"
}

// commit asks the remote for the commit of a version: a tag, else a branch, else
// the commit itself (starlark spec §6.4).
func (g Git) commit(ctx context.Context, l Locator) (string, error) {
	if isCommit(l.Version) {
		return l.Version, nil
	}
	want := []string{"HEAD"}
	if l.Version != "" {
		tag, branch := "refs/tags/"+l.Version, "refs/heads/"+l.Version
		want = []string{tag + "^{}", tag, branch}
	}
	out, err := g.run(ctx, "", append([]string{"ls-remote", "--", g.url(l)}, want...)...)
	if err != nil {
		return "", err
	}
	refs := map[string]string{}
	for line := range strings.Lines(out) {
		if hash, ref, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok && isCommit(hash) {
			refs[ref] = hash
		}
	}
	for _, ref := range want {
		if hash, ok := refs[ref]; ok {
			return hash, nil
		}
	}
	if l.Version == "" {
		return "", errors.New("the repository is empty")
	}
	return "", fault.New("E0116", "package %s has no tag or branch %q", l.Repository(), l.Version).
		WithHint("a commit is named by its full 40 digits")
}

// clone fetches one commit beside its place and moves it there, so that a
// directory that exists is whole.
func (g Git) clone(ctx context.Context, l Locator, commit, dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".clone-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	steps := [][]string{
		{"init", "--quiet"},
		{"fetch", "--quiet", "--depth", "1", "--", g.url(l), commit},
		{"-c", "advice.detachedHead=false", "checkout", "--quiet", "FETCH_HEAD"},
	}
	for _, args := range steps {
		if _, err := g.run(ctx, tmp, args...); err != nil {
			return err
		}
	}
	err = os.Rename(tmp, dir)
	if _, there := os.Stat(dir); there == nil {
		return nil // also if another Fetch was faster
	}
	return err
}

// run runs git without any prompt. Its error carries what git said.
func (g Git) run(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0", "GIT_LFS_SKIP_SMUDGE=1", "LC_ALL=C",
		"GIT_ASKPASS=", "SSH_ASKPASS=", "GIT_SSH_COMMAND=ssh -oBatchMode=yes")
	cmd.WaitDelay = 5 * time.Second // a helper that keeps the pipe open must not hang us
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	switch {
	case err == nil:
		return stdout.String(), nil
	case context.Cause(ctx) != nil:
		return "", context.Cause(ctx)
	case errors.Is(err, exec.ErrNotFound):
		return "", fault.New("E0116", "the program git, which fetches packages, is not installed").
			WithHint("apt-get install git")
	}
	said := strings.TrimSpace(stderr.String())
	if i := strings.LastIndex(said, "\n"); i >= 0 {
		said = said[i+1:]
	}
	if said == "" {
		return "", fmt.Errorf("git: %w", err)
	}
	return "", fmt.Errorf("git: %s", said)
}
