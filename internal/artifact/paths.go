package artifact

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// CleanPath gives a path in an artifact: relative, slash-separated, without "."
// and "..". A leading "/" stands for the artifact's root. A path that leads out
// of it, or names nothing in it, is an error, which says what the path does.
func CleanPath(name string) (string, error) {
	if strings.ContainsRune(name, 0) {
		return "", errors.New("has a character that no path has")
	}
	clean := path.Clean(strings.TrimLeft(name, "/"))
	switch {
	case clean == ".":
		return "", errors.New("names no file in the artifact")
	case clean == ".." || strings.HasPrefix(clean, "../"):
		return "", errors.New("leads out of the artifact")
	}
	return clean, nil
}

// Paths are the paths of files that are to be in one artifact, to what they are:
// true for a file, false for a directory above one.
type Paths map[string]bool

// Add cleans the path of a file and checks that it fits with those before it: no
// path is twice a file, or file and directory.
func (p Paths) Add(name string) (string, error) {
	clean, err := CleanPath(name)
	if err != nil {
		return "", err
	}
	if isFile, known := p[clean]; known {
		if isFile {
			return "", errors.New("is named twice")
		}
		return "", errors.New("is a directory, because of a file in it")
	}
	for dir := path.Dir(clean); dir != "."; dir = path.Dir(dir) {
		if p[dir] {
			return "", fmt.Errorf("leads through %q, which is a file", dir)
		}
		p[dir] = false
	}
	p[clean] = true
	return clean, nil
}
