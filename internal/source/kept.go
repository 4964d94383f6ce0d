package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file remembers which commit a tag or a branch named last, for machines
// that are offline now and then.

// askTimeout bounds the question which commit a tag or branch names, where the
// answer of an earlier run would do: a network that swallows packets takes
// minutes to fail.
const askTimeout = 20 * time.Second

// memory gives the file that holds the commit of a version.
func (g Git) memory(l Locator) string {
	name := url.PathEscape(l.Version) // which may have slashes
	if name == "" {
		name = ".default" // no version begins with a dot
	}
	return filepath.Join(g.Cache, l.Author, l.Repo, "refs", name)
}

// remember notes the commit of a version that was fetched. That it could not is
// no reason to fail.
func (g Git) remember(l Locator, commit string) {
	file := g.memory(l)
	if isCommit(l.Version) || g.url != "" || os.MkdirAll(filepath.Dir(file), 0o700) != nil {
		return
	}
	next, err := os.CreateTemp(filepath.Dir(file), ".next-*")
	if err != nil {
		return
	}
	_, err = next.WriteString(commit + "\n")
	if err = errors.Join(err, next.Close()); err == nil {
		err = os.Rename(next.Name(), file)
	}
	if err != nil {
		_ = os.Remove(next.Name())
	}
}

// recall gives the commit that a version named when it was last fetched, if that
// commit is still here, and when that was. A short hash is known by a commit, too.
func (g Git) recall(l Locator) (commit string, when time.Time) {
	if g.url != "" {
		return "", time.Time{}
	}
	file := g.memory(l)
	if data, err := os.ReadFile(file); err == nil {
		commit = strings.TrimSpace(string(data))
	} else if isShort(l.Version) {
		repository := g.place(l, "")
		if found, _ := fs.Glob(os.DirFS(repository), l.Version+"*"); len(found) == 1 {
			file, commit = filepath.Join(repository, found[0]), found[0]
		}
	}
	info, err := os.Stat(file)
	if err != nil || !isCommit(commit) || !isDir(g.place(l, commit)) {
		return "", time.Time{}
	}
	return commit, info.ModTime()
}

// ask asks the remote for the commit of a version: not for long where an answer
// is remembered.
func (g Git) ask(ctx context.Context, l Locator) (string, error) {
	if commit, _ := g.recall(l); commit != "" {
		limit := g.Patience
		if limit <= 0 {
			limit = askTimeout
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer in %s: %w", limit, errUnreachable))
		defer cancel()
	}
	return g.commit(ctx, l)
}

// errUnreachable is an error of a network without an answer.
var errUnreachable = errors.New("the network does not answer")

// isUnreachable reports whether an error says nothing about the repository, only
// that there was no way to ask for it.
func isUnreachable(err error) bool {
	if errors.Is(err, errUnreachable) || errors.Is(err, fault.ErrTimeout) {
		return true
	}
	r := reasonOf(err)
	return r != nil && r.unreachable || errors.Is(err, errNoGit)
}

// asBefore gives a version as it was fetched before, where the remote can't be
// reached now, with a note of that.
func (g Git) asBefore(l Locator, cause error) (Tree, bool) {
	if !isUnreachable(cause) {
		return Tree{}, false
	}
	commit, when := g.recall(l)
	if commit == "" {
		return Tree{}, false
	}
	touch(g.place(l, commit))
	return Tree{Dir: g.place(l, commit), Note: fmt.Sprintf("%s can't be reached (%s): %s is used as it was fetched last, %s, commit %.7s",
		l.Repository(), cause, spoken(l), when.UTC().Format("2006-01-02 15:04 UTC"), commit)}, true
}

func spoken(l Locator) string {
	if l.Version == "" {
		return "its default branch"
	}
	return fmt.Sprintf("version %q", l.Version)
}
