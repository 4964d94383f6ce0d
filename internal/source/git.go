package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file fetches repositories with the git program.

// Git is a Fetcher that uses the git program, so that the user's own
// credentials, keys and proxies are used. Clones are shallow and kept by commit;
// a tag or a branch is looked up anew each time, and is what it was the last time
// where the network can't be reached.
type Git struct {
	Cache    string        // directory of the clones; made when needed
	BaseURL  string        // https://github.com if empty
	Timeout  time.Duration // of a whole Fetch; 5 minutes if 0
	Patience time.Duration // for an answer that an earlier one can stand in for; 20 s if 0
	Env      []string      // of git, over this process's own: see GitEnvironment
	Pause    time.Duration // before a try after a network's failure, doubled each time; 1 s if 0

	url    string // of the one repository that it knows, in place of BaseURL
	config string // git's configuration file, in place of the user's and the system's
}

// errNoVersion says that a repository has no such tag, branch or commit.
var errNoVersion = errors.New("no such version")

// isCommit reports whether text is the full hash of a commit.
func isCommit(text string) bool {
	return len(text) == 40 && isHex(text)
}

// isShort reports whether text can be the beginning of a commit's hash.
func isShort(text string) bool {
	const least = 4 // git's own bound
	return len(text) >= least && len(text) < 40 && isHex(text)
}

func isHex(text string) bool { return strings.Trim(text, "0123456789abcdef") == "" }

// Fetch finds the commit of the version and clones it unless it is here.
func (g Git) Fetch(ctx context.Context, l Locator) (Tree, error) {
	timeout := g.Timeout
	if timeout <= 0 {
		timeout = 5 * time.Minute
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("git took longer than %s: %w", timeout, fault.ErrTimeout))
	defer cancel()

	if hash := strings.ToLower(l.Version); isCommit(hash) {
		l.Version = hash
	}
	tree, err := g.fetch(ctx, l)
	if err != nil {
		if before, ok := g.asBefore(l, err); ok {
			return before, nil
		}
	}
	return tree, err
}

func (g Git) fetch(ctx context.Context, l Locator) (Tree, error) {
	commit, err := g.ask(ctx, l)
	if err != nil {
		return Tree{}, err
	}
	tree := Tree{Dir: g.place(l, commit)}
	if !isDir(tree.Dir) {
		if err = g.clone(ctx, l, commit, tree.Dir); err == nil {
			g.tidy(l)
		}
	}
	if err == nil {
		touch(tree.Dir)
		g.remember(l, commit)
	}
	return tree, err
}

// place gives the directory of a commit.
func (g Git) place(l Locator, commit string) string {
	return filepath.Join(g.Cache, l.Author, l.Repo, commit)
}

func (g Git) remote(l Locator) string {
	if g.url != "" {
		return g.url
	}
	return g.base() + "/" + l.Author + "/" + l.Repo + ".git"
}

func (g Git) base() string { return cmp.Or(g.BaseURL, "https://"+host) }

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
	out, err := g.online(ctx, "", append([]string{"ls-remote", "--", g.remote(l)}, want...)...)
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
	switch {
	case l.Version == "":
		return "", errors.New("the repository is empty")
	case isShort(l.Version):
		if commit, _ := g.recall(l); strings.HasPrefix(commit, l.Version) {
			return commit, nil
		}
		return g.expand(ctx, l)
	}
	return "", noVersion(l, "has no tag or branch %q", l.Version)
}

func noVersion(l Locator, format string, args ...any) error {
	f := fault.New("E0116", "package %s %s", l.Repository(), fmt.Sprintf(format, args...))
	return marked{f.WithHint("git ls-remote https://%s.git lists what there is", l.Repository()), errNoVersion}
}

// expand gives the commit that a short hash stands for. Only the history knows:
// it is fetched without trees and files, where the remote can leave them out.
func (g Git) expand(ctx context.Context, l Locator) (string, error) {
	dir, err := g.temporary(l)
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	if err := g.history(ctx, l, dir, "tree:0"); err != nil {
		return "", err
	}
	out, err := g.run(ctx, dir, "rev-parse", "--quiet", "--verify", "--end-of-options", l.Version+"^{commit}")
	if err != nil {
		return "", noVersion(l, "has no tag, branch or commit %q, or several such commits", l.Version)
	}
	return strings.TrimSpace(out), nil
}

// history fetches all commits of all branches and tags.
func (g Git) history(ctx context.Context, l Locator, dir, filter string) error {
	if _, err := g.run(ctx, dir, "init", "--quiet"); err != nil {
		return err
	}
	_, err := g.online(ctx, dir, "fetch", "--quiet", "--filter="+filter, "--", g.remote(l), "+refs/heads/*:refs/heads/of/*", "+refs/tags/*:refs/tags/*")
	return err
}

// temporary makes a directory beside the clones of a repository.
func (g Git) temporary(l Locator) (string, error) {
	beside := filepath.Join(g.Cache, l.Author, l.Repo)
	err := os.MkdirAll(beside, 0o700)
	if err == nil {
		var dir string
		if dir, err = os.MkdirTemp(beside, ".clone-"); err == nil {
			return dir, nil
		}
	}
	return "", fault.New("E0116", "keep package %s: %w", l.Repository(), err).
		WithHint("packages are kept in %s, which must be writable; for lepto plan, XDG_CACHE_HOME names another place", g.Cache)
}

// clone fetches one commit beside its place and moves it there, so that a
// directory that exists is whole.
func (g Git) clone(ctx context.Context, l Locator, commit, dir string) error {
	tmp, err := g.temporary(l)
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := g.checkout(ctx, l, commit, tmp); err != nil {
		return err
	}
	// What git keeps for itself is no part of the package: it would be uploaded
	// with it, and knows the address that was asked, with a password perhaps.
	if err := os.RemoveAll(filepath.Join(tmp, ".git")); err != nil {
		return err
	}
	err = os.Rename(tmp, dir)
	if _, there := os.Stat(dir); there == nil {
		return nil // also if another Fetch was faster
	}
	return err
}

// checkout fetches a commit into an empty directory. A remote that gives only
// what its branches and tags name has to give their history.
func (g Git) checkout(ctx context.Context, l Locator, commit, dir string) error {
	if _, err := g.run(ctx, dir, "init", "--quiet"); err != nil {
		return err
	}
	_, err := g.online(ctx, dir, "fetch", "--quiet", "--depth", "1", "--", g.remote(l), commit)
	if err != nil && context.Cause(ctx) == nil && isRefusal(err) {
		err = g.history(ctx, l, dir, "blob:none")
		if _, missing := g.run(ctx, dir, "rev-parse", "--quiet", "--verify", commit+"^{commit}"); err == nil && missing != nil {
			err = noVersion(l, "has no commit %s", commit)
		}
	}
	if err == nil {
		_, err = g.online(ctx, dir, "-c", "advice.detachedHead=false", "checkout", "--quiet", commit)
	}
	return err
}

// isRefusal reports whether a remote did not give a commit that it was asked for
// by its hash.
func isRefusal(err error) bool {
	text := err.Error()
	return slices.ContainsFunc([]string{"not our ref", "unadvertised object", "no such remote ref", "couldn't find remote ref"},
		func(part string) bool { return strings.Contains(text, part) })
}
