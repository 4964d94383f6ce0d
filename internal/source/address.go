package source

import (
	"net/url"
	"path"
	"strings"
)

// This file knows the addresses that people paste where a locator is asked for.

// fromAddress gives the locator that an address of a repository stands for: one
// of a browser, such as https://github.com/me/pkg/tree/main/dir, or one that git
// clones, such as git@github.com:me/pkg.git. It is empty for any other text.
func fromAddress(text string) string {
	where := text
	if rest, ok := strings.CutPrefix(where, "git@"); ok && !strings.Contains(where, "://") {
		where = "ssh://git@" + strings.Replace(rest, ":", "/", 1)
	}
	if !strings.Contains(where, "://") {
		where = "https://" + where
	}
	u, err := url.Parse(where)
	if err != nil || !strings.EqualFold(strings.TrimPrefix(u.Hostname(), "www."), host) {
		return ""
	}
	segments := strings.Split(strings.Trim(path.Clean(u.Path), "/"), "/")
	if len(segments) < 2 {
		return ""
	}
	l := Locator{Author: segments[0], Repo: strings.TrimSuffix(segments[1], ".git")}
	if rest := segments[2:]; len(rest) > 1 && isPage(rest[0]) {
		l.Version, l.Path = rest[1], path.Join(rest[2:]...)
	} else {
		l.Path = path.Join(rest...)
	}
	meant := l.String()
	if _, why := parse(meant); why != "" || meant == text {
		return ""
	}
	return meant
}

// isPage reports whether a segment after the repository names a kind of page, and
// a version follows.
func isPage(segment string) bool {
	return segment == "tree" || segment == "blob" || segment == "raw" || segment == "commit"
}

// otherHosts are hosts of repositories that no locator names.
var otherHosts = []string{"gitlab.com", "bitbucket.org", "codeberg.org", "git.sr.ht", "gitea.com", "dev.azure.com"}

// isElsewhere reports whether a text names a repository of a host other than
// GitHub.
func isElsewhere(text string) bool {
	_, after, found := strings.Cut(text, "://")
	if !found {
		after = text
	}
	after = strings.TrimPrefix(strings.TrimPrefix(after, "git@"), "www.")
	for _, name := range otherHosts {
		if rest, ok := strings.CutPrefix(strings.ToLower(after), name); ok && (rest == "" || rest[0] == '/' || rest[0] == ':') {
			return true
		}
	}
	return false
}

// elsewhereHint says what to do about a repository of another host.
const elsewhereHint = "locators name repositories of " + host + " alone: clone it and run its directory, replace a package by that in " +
	ManifestName + ", or have git rewrite addresses (url.<base>.insteadOf)"

// AddressHint gives what to write in place of a text that is an address, and no
// locator; "" for any other text.
func AddressHint(text string) string {
	if meant := fromAddress(text); meant != "" {
		return "write it as " + meant
	}
	if isElsewhere(text) {
		return elsewhereHint
	}
	return ""
}
