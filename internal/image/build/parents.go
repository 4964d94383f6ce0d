package build

import (
	"path"
	"strings"

	"github.com/moby/patternmatcher"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file does COPY --parents: sources keep the directories they are in, those
// after "/./" where the name has that.

// withParents copies what a pattern names.
func (c *copier) withParents(pattern string, to destination) error {
	base, rest := "", pattern
	if before, after, pivot := strings.Cut(pattern, "/./"); pivot {
		base, rest = before, after
	}
	top, err := c.from.find(cleanPath(base), true)
	if err != nil {
		return fault.New("E0417", "%q: %w", pattern, err)
	}
	matcher, invalid := patternmatcher.New([]string{cleanPath(rest)})
	if invalid != nil || cleanPath(rest) == "" {
		return fault.New("E0415", "pattern %q is not valid", pattern)
	}
	if top == nil || !top.isDir() {
		return c.missing(pattern, cleanPath(base))
	}
	name, err := c.dir(to.name)
	if err == nil {
		err = c.target(name)
	}
	if err != nil {
		return err
	}
	c.top = top.name
	found, err := c.matching(top, "", name, matcher)
	if err == nil && !found && !strings.ContainsAny(rest, `*?[\`) {
		err = c.missing(pattern, path.Join(cleanPath(base), cleanPath(rest)))
	}
	return err
}

// matching copies what matches below a directory, and tells whether anything does.
// Directories on the way come along.
func (c *copier) matching(in *node, rel, to string, matcher *patternmatcher.PatternMatcher) (found bool, err error) {
	names, err := c.from.names(in)
	if err != nil {
		return false, err
	}
	for _, base := range names {
		n, err := c.from.child(in, base)
		if err != nil {
			return found, err
		}
		name := path.Join(rel, base)
		if n == nil || c.excluded != nil && c.excluded(name, n.isDir()) {
			continue
		}
		here, err := matcher.MatchesOrParentMatches(name)
		switch {
		case err != nil:
			return found, err
		case n.isDir():
			here, err = c.matchingDir(n, name, path.Join(to, base), here, matcher)
		case here:
			err = c.file(n, path.Join(to, base))
		}
		if err != nil {
			return found, err
		}
		found = found || here
	}
	return found, nil
}

// matchingDir copies a directory: all of it if it matches itself, else what
// matches in it, and nothing if nothing does.
func (c *copier) matchingDir(n *node, rel, to string, all bool, matcher *patternmatcher.PatternMatcher) (bool, error) {
	name, err := c.dir(to)
	if err != nil {
		return false, err
	}
	before := len(c.to.list)
	if err := c.directory(n, name); err != nil {
		return false, err
	}
	if all {
		return true, c.tree(n, name)
	}
	found, err := c.matching(n, rel, name, matcher)
	if !found && len(c.to.list) == before+1 {
		c.to.drop()
	}
	return found, err
}
