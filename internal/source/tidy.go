package source

import (
	"os"
	"path/filepath"
	"strings"
	"time"
)

// This file keeps the cache of clones from growing without end.

const (
	keepClone   = 30 * 24 * time.Hour // since it was last asked for
	keepAttempt = 24 * time.Hour      // of a clone that a crash left half made
)

// touch notes that a clone is in use.
func touch(dir string) {
	now := time.Now()
	_ = os.Chtimes(dir, now, now)
}

// tidy removes clones of a repository that nobody asked for in a long time, and
// what crashes left. What can't be removed is tried again with the next clone.
func (g Git) tidy(l Locator) {
	beside := filepath.Join(g.Cache, l.Author, l.Repo)
	entries, _ := os.ReadDir(beside)
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !entry.IsDir() {
			continue
		}
		name, age := entry.Name(), time.Since(info.ModTime())
		attempt := strings.HasPrefix(name, ".clone-")
		at := filepath.Join(beside, name)
		switch {
		case attempt && age > keepAttempt:
			_ = os.RemoveAll(at)
		case isCommit(name) && age > keepClone:
			// Renamed first, so that a directory that is there is whole.
			gone := filepath.Join(beside, ".clone-"+name)
			if os.Rename(at, gone) == nil {
				_ = os.RemoveAll(gone)
			}
		}
	}
}
