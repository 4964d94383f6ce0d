package source

import (
	"path"
	"strings"
	"unicode"

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

	// tail is what of Path followed the version: github.com/a/b@v/tail.x, which
	// may as well be meant as a version v/tail.x.
	tail string
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
	l, why := parse(text)
	if why == "" {
		return l, nil
	}
	f := fault.New("E0113", "locator %q: %s", text, why)
	if hint := AddressHint(text); hint != "" {
		return Locator{}, f.WithHint("%s", hint)
	}
	return Locator{}, f.WithHint("a locator has the form github.com/<author>/<repo>[/<path>][@<version>], without a scheme")
}

// parse reads an absolute locator, or tells why it is none.
func parse(text string) (l Locator, why string) {
	if strings.Contains(text, "://") {
		return Locator{}, "has a scheme"
	}
	if strings.ContainsAny(text, "\x00\\\n\r") {
		return Locator{}, "has a character that no path has"
	}
	if !IsAbsolute(text) {
		return Locator{}, "does not begin with " + host + "/"
	}
	where, version, _ := strings.Cut(text, "@")
	version, file := splitVersion(version)
	// Rooted before it is cleaned, so that ".." can't climb above the host.
	_, rest, _ := strings.Cut(where, "/")
	segments := strings.Split(strings.TrimPrefix(path.Clean("/"+rest), "/"), "/")
	if len(segments) < 2 || segments[0] == "" || segments[1] == "" {
		return Locator{}, "names no repository"
	}
	inside := path.Join(append(segments[2:], file)...)
	inside = strings.TrimPrefix(path.Clean("/"+inside), "/")
	l = Locator{Author: segments[0], Repo: strings.TrimSuffix(segments[1], ".git"), Path: inside, Version: version, tail: file}
	if !isName(l.Author) || !isName(l.Repo) {
		return Locator{}, "has a name that " + host + " does not allow"
	}
	if version != "" && !isVersion(version) {
		return Locator{}, "has a version that is no tag, branch or commit"
	}
	return l, ""
}

// isName reports whether a text can be the name of an owner or a repository:
// such names are folders too, in the cache and in mirrors.
func isName(s string) bool {
	return strings.Trim(s, nameCharacters) == "" && strings.Trim(s, ".") != "" && s[0] != '-'
}

const nameCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."

// isVersion reports whether git could know a text as a reference or a commit
// (git-check-ref-format(1)); what it refuses would be an option, or a path.
func isVersion(s string) bool {
	if s[0] == '-' || strings.Contains(s, "..") || strings.Contains(s, "@{") || strings.ContainsAny(s, " ~^:?*[") {
		return false
	}
	for segment := range strings.SplitSeq(s, "/") {
		if segment == "" || segment[0] == '.' || strings.HasSuffix(segment, ".lock") {
			return false
		}
	}
	return strings.IndexFunc(s, unicode.IsControl) < 0
}

// otherwise gives the locator with what follows the version taken as a part of
// it, where there is such: a branch may be called feature/a.b.
func (l Locator) otherwise() (Locator, bool) {
	version := l.Version + "/" + l.tail
	if l.tail == "" || !isVersion(version) {
		return l, false
	}
	l.Path = strings.TrimSuffix(strings.TrimSuffix(l.Path, l.tail), "/")
	l.Version, l.tail = version, ""
	return l, true
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
