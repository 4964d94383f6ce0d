package main

import (
	"fmt"
	"io"
	"path"
	"strings"
)

// An archive writes the cpio format that the kernel unpacks as its first root
// ("newc": Documentation/driver-api/early-userspace/buffer-format.rst).
type archive struct {
	w     io.Writer
	err   error
	inode int
	dirs  map[string]bool
}

func newArchive(w io.Writer) *archive { return &archive{w: w, dirs: map[string]bool{}} }

const (
	typeDir     = 0o040000
	typeFile    = 0o100000
	typeSymlink = 0o120000
)

// file adds a file, and the directories above it.
func (a *archive) file(name string, mode uint32, data []byte) {
	a.dir(path.Dir(name))
	a.entry(name, typeFile|mode, data)
}

func (a *archive) symlink(name, target string) {
	a.dir(path.Dir(name))
	a.entry(name, typeSymlink|0o777, []byte(target))
}

func (a *archive) dir(name string) {
	if name == "/" || name == "." || a.dirs[name] {
		return
	}
	a.dir(path.Dir(name))
	a.dirs[name] = true
	a.entry(name, typeDir|0o755, nil)
}

// close ends the archive and gives the first error of all.
func (a *archive) close() error {
	a.entry("TRAILER!!!", 0, nil)
	return a.err
}

// entry writes one: thirteen numbers of eight digits after the magic one, the
// name and the data, both padded to four bytes.
func (a *archive) entry(name string, mode uint32, data []byte) {
	name = strings.TrimPrefix(name, "/")
	a.inode++
	var header strings.Builder
	header.WriteString("070701")
	for _, n := range []int{a.inode, int(mode), 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0} {
		fmt.Fprintf(&header, "%08X", n)
	}
	header.WriteString(name + "\x00")
	a.write([]byte(header.String()))
	a.write(data)
}

func (a *archive) write(data []byte) {
	if a.err == nil {
		_, a.err = a.w.Write(data)
	}
	if pad := -len(data) & 3; pad > 0 && a.err == nil {
		_, a.err = a.w.Write(make([]byte, pad))
	}
}
