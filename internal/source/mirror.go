package source

import (
	"context"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file finds packages in a directory of this machine, for hosts that reach
// no network.

// MirrorVariable is the environment variable that names a package mirror.
const MirrorVariable = "LEPTO_PACKAGE_MIRROR"

// Mirror is a Fetcher that finds repositories in a local directory and asks no
// network. A repository lies at github.com/<author>/<repo>@<version>, which is
// that version, or at github.com/<author>/<repo>, which stands for any version
// that is not there on its own; if that is a git repository (a work tree, or a
// bare one, also under <repo>.git) the version is taken from it where it has it.
type Mirror struct {
	Dir   string
	Cache string // where versions are checked out from git repositories
}

// Fetch gives the directory of the exact version if it is there, else the one
// without version.
func (m Mirror) Fetch(ctx context.Context, l Locator) (Tree, error) {
	at := func(name string) string { return m.at(l.Author, name) }
	if l.Version != "" {
		if dir := at(l.Repo + "@" + l.Version); isDir(dir) {
			return Tree{Dir: dir}, nil
		}
		if dirs := m.beginning(l); isShort(l.Version) && len(dirs) == 1 {
			return Tree{Dir: dirs[0]}, nil
		}
	}
	for _, dir := range []string{at(l.Repo), at(l.Repo + ".git")} {
		if isDir(dir) {
			return m.versionOf(ctx, l, dir)
		}
	}
	if !isDir(m.Dir) {
		return Tree{}, fault.New("E0116", "the package mirror %s is no directory", m.Dir)
	}
	f := fault.New("E0116", "package %s is not in the package mirror %s", l.Repository(), m.Dir)
	l.Version = ""
	if others := m.beginning(l); len(others) > 0 {
		for i, dir := range others {
			_, others[i], _ = strings.Cut(filepath.Base(dir), "@")
		}
		return Tree{}, f.WithHint("the mirror has only versions of it: %s", strings.Join(others[:min(10, len(others))], ", "))
	}
	return Tree{}, f.WithHint("put a copy of it into %s", filepath.Join(m.Dir, filepath.FromSlash(l.Repository())))
}

// beginning gives the directories of versions of a repository that begin as that
// of the locator does.
func (m Mirror) beginning(l Locator) []string {
	entries, _ := os.ReadDir(filepath.Join(m.Dir, host, l.Author))
	var found []string
	for _, entry := range entries {
		name, version, is := strings.Cut(entry.Name(), "@")
		if is && strings.EqualFold(name, l.Repo) && strings.HasPrefix(version, l.Version) {
			found = append(found, filepath.Join(m.Dir, host, l.Author, entry.Name()))
		}
	}
	return found
}

// at gives a place in the mirror, of an owner and a repository, with a version
// perhaps. As on GitHub, lower and upper case are the same: where nothing is called
// exactly so, what is but for that counts.
func (m Mirror) at(author, repo string) string {
	top := filepath.Join(m.Dir, host)
	exact := filepath.Join(top, author, filepath.FromSlash(repo))
	if isDir(exact) {
		return exact
	}
	first, rest, _ := strings.Cut(repo, "/") // a version may have slashes
	found := filepath.Join(folded(folded(top, author), first), filepath.FromSlash(rest))
	if isDir(found) {
		return found
	}
	return exact
}

// folded gives the entry of a directory that is called so, but for case; not that
// of a version, which has its own.
func folded(dir, name string) string {
	entries, _ := os.ReadDir(dir)
	plain, version, _ := strings.Cut(name, "@")
	for _, entry := range entries {
		if is, at, _ := strings.Cut(entry.Name(), "@"); at == version && strings.EqualFold(is, plain) {
			return filepath.Join(dir, entry.Name())
		}
	}
	return filepath.Join(dir, name)
}

// versionOf gives the version from a directory that has none in its name.
func (m Mirror) versionOf(ctx context.Context, l Locator, dir string) (Tree, error) {
	bare := isBare(dir)
	if l.Version == "" && !bare {
		return Tree{Dir: dir}, nil
	}
	if bare || isRepository(dir) {
		tree, err := m.checkout(ctx, l, dir)
		if bare || err == nil || !errors.Is(err, errNoVersion) {
			return tree, err
		}
	}
	return Tree{Dir: dir, Note: "the package mirror has no version " + l.Version + " of " + l.Repository() + "; its copy without a version is used"}, nil
}

// trusting is the configuration with which git reads a mirror. The mirror may
// belong to another user, whom whoever named it trusts; git would refuse.
const trusting = "[safe]\n\tdirectory = *\n"

// checkout gives a version from a git repository of the mirror.
func (m Mirror) checkout(ctx context.Context, l Locator, dir string) (Tree, error) {
	if err := os.MkdirAll(m.Cache, 0o700); err != nil {
		return Tree{}, err
	}
	config := filepath.Join(m.Cache, "mirror.gitconfig")
	if old, err := os.ReadFile(config); err != nil || string(old) != trusting {
		if err := os.WriteFile(config, []byte(trusting), 0o600); err != nil {
			return Tree{}, err
		}
	}
	url := "file://" + (&url.URL{Path: dir}).EscapedPath()
	tree, err := Git{Cache: m.Cache, url: url, config: config}.Fetch(ctx, l)
	var f *fault.Fault
	if err == nil || errors.As(err, &f) || context.Cause(ctx) != nil {
		return tree, err
	}
	return tree, fault.New("E0116", "package %s, in the package mirror: %w", l.Repository(), err).
		WithHint("is the repository whole, and no partial clone? git -C %s fsck", dir)
}

func isDir(dir string) bool {
	info, err := os.Stat(dir)
	return err == nil && info.IsDir()
}

// isRepository reports whether a directory is the work tree of a repository.
func isRepository(dir string) bool { return exists(filepath.Join(dir, ".git", "HEAD")) }

// isBare reports whether a directory is a repository without a work tree.
func isBare(dir string) bool {
	return exists(filepath.Join(dir, "HEAD")) && isDir(filepath.Join(dir, "objects")) && isDir(filepath.Join(dir, "refs"))
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
