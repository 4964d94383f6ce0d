package artifact

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
)

// IgnoreName is the file that lists what is left out when its directory is
// packed or uploaded.
const IgnoreName = ".kurtosisignore"

// Ignore is a list of patterns, as of path.Match: one with an inner "/" matches
// a whole path, any other a name anywhere; one that ends in "/" only
// directories.
type Ignore []string

// ReadIgnore reads the patterns of a directory; none where it has no such file.
func ReadIgnore(root *os.Root) (Ignore, error) {
	data, err := root.ReadFile(IgnoreName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list Ignore
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if _, err := path.Match(line, ""); err != nil {
			return nil, fmt.Errorf("%s: pattern %q: %w", IgnoreName, line, err)
		}
		list = append(list, line)
	}
	return list, nil
}

// Match reports whether a path is left out. Of a directory that is, so is all
// that is in it.
func (i Ignore) Match(name string, isDir bool) bool {
	for _, pattern := range i {
		plain, onlyDirs := strings.CutSuffix(pattern, "/")
		if onlyDirs && !isDir {
			continue
		}
		against := path.Base(name)
		if strings.Contains(plain, "/") {
			plain, against = strings.TrimPrefix(plain, "/"), name
		}
		if ok, _ := path.Match(plain, against); ok {
			return true
		}
	}
	return false
}
