package source

import (
	"path"
	"strings"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file defines locators: the text by which code names other code or files.

// host is the only host that absolute locators name.
const host = "github.com"

// A Locator is an absolute locator: github.com/<author>/<repo>[/<path>][@<version>].
type Locator struct {
	Author  string
	Repo    string
	Path    string // in the repository; slash-separated, clean, relative; may be empty
	Version string // tag, branch or commit; empty: the default branch
}

// Repository gives github.com/<author>/<repo>.
func (l Locator) Repository() string { return host + "/" + l.Author + "/" + l.Repo }

// ID gives the locator without its version: what a module or package is known by.
func (l Locator) ID() string { return path.Join(l.Repository(), l.Path) }

// String gives the locator with its version.
func (l Locator) String() string {
	if l.Version == "" {
		return l.ID()
	}
	return l.ID() + "@" + l.Version
}

// IsAbsolute reports whether the text is meant as an absolute locator.
func IsAbsolute(text string) bool {
	head, _, _ := strings.Cut(text, "/")
	return strings.EqualFold(head, host)
}

// ParseLocator reads an absolute locator (starlark spec §6.2). Everything after
// the first "@" is the version, but a last segment of it that looks like a file
// belongs to the path: github.com/a/b@1.2/dir/main.star.
func ParseLocator(text string) (Locator, error) {
	bad := func(why string) (Locator, error) {
		return Locator{}, fault.New("E0113", "locator %q: %s", text, why).
			WithHint("a locator has the form github.com/<author>/<repo>[/<path>][@<version>], without a scheme")
	}
	if strings.Contains(text, "://") {
		return bad("has a scheme")
	}
	if strings.ContainsAny(text, "\x00\\\n\r") {
		return bad("has a character that no path has")
	}
	if !IsAbsolute(text) {
		return bad("does not begin with " + host + "/")
	}
	where, version, _ := strings.Cut(text, "@")
	version, file := splitVersion(version)
	// Rooted before it is cleaned, so that ".." can't climb above the host.
	_, rest, _ := strings.Cut(where, "/")
	segments := strings.Split(strings.TrimPrefix(path.Clean("/"+rest), "/"), "/")
	if len(segments) < 2 || segments[0] == "" || segments[1] == "" {
		return bad("names no repository")
	}
	inside := path.Join(append(segments[2:], file)...)
	inside = strings.TrimPrefix(path.Clean("/"+inside), "/")
	if strings.HasPrefix(segments[0], "-") || strings.HasPrefix(version, "-") {
		return bad("has a part that begins with a dash")
	}
	return Locator{Author: segments[0], Repo: strings.TrimSuffix(segments[1], ".git"), Path: inside, Version: version}, nil
}

// splitVersion takes a trailing path off the text after "@": in a/b@1.2/x.star
// the last segment with a dot is a file, and so is all between it and the
// version.
func splitVersion(text string) (version, file string) {
	first, rest, more := strings.Cut(text, "/")
	if !more || !strings.Contains(path.Base(rest), ".") {
		return text, "" // also versions such as feature/x
	}
	if isVersionLike(path.Base(rest)) {
		return text, "" // release/1.2: a version, not a file
	}
	return first, rest
}

// isVersionLike reports whether a segment is digits and dots, perhaps after a
// "v": a version rather than a file name.
func isVersionLike(s string) bool {
	s = strings.TrimPrefix(s, "v")
	return s != "" && strings.Trim(s, "0123456789.") == ""
}
