//go:build !linux

package composer

import (
	"os"
	"path/filepath"
)

// place writes the program to a file of its own.
func place(data []byte) (string, func(), error) {
	dir, err := os.MkdirTemp("", name)
	if err != nil {
		return "", nil, err
	}
	remove := func() { os.RemoveAll(dir) }
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, data, 0o700); err != nil {
		remove()
		return "", nil, err
	}
	return path, remove, nil
}
