package source

import "context"

// This file says what brings packages of others to this machine.

// A Tree is a repository at one version, on this machine. Whoever gets one only
// reads it.
type Tree struct {
	Dir  string // the repository's root
	Note string // what the user should know of it; mostly empty
}

// A Fetcher brings the repository of a locator to this machine, at the locator's
// version. Safe for concurrent use.
type Fetcher interface {
	Fetch(ctx context.Context, l Locator) (Tree, error)
}

// NewFetcher gives the fetcher of this machine: the mirror alone where one is
// set, else git, with variables of an environment over this process's own. What
// is cloned is kept in the cache.
func NewFetcher(mirror, cache string, gitEnv []string) Fetcher {
	if mirror != "" {
		return Mirror{Dir: mirror, Cache: cache}
	}
	return Git{Cache: cache, Env: gitEnv}
}
