package ui

import (
	"fmt"
	"io"
	"path"
	"strings"
)

// This file draws a tree of files.

// A Tree is files and directories, added in order of their paths.
type Tree struct{ root branch }

// branch is a directory or file of a Tree.
type branch struct {
	name  string
	size  uint64
	isDir bool
	below []*branch
}

// Add adds a path; one that ends in "/" is a directory.
func (t *Tree) Add(name string, size uint64) {
	at := &t.root
	parts := strings.Split(strings.Trim(name, "/"), "/")
	for i, part := range parts {
		last := i == len(parts)-1
		at = at.child(part, !last || strings.HasSuffix(name, "/"))
		if last {
			at.size = size
		}
	}
}

// child finds or makes an entry. Paths come sorted, so it can only be the last.
func (b *branch) child(name string, isDir bool) *branch {
	if n := len(b.below); n > 0 && b.below[n-1].name == name {
		return b.below[n-1]
	}
	b.below = append(b.below, &branch{name: name, isDir: isDir})
	return b.below[len(b.below)-1]
}

// Write draws the tree.
func (t *Tree) Write(w io.Writer, s Style) error {
	var out strings.Builder
	t.root.write(&out, s, "")
	_, err := io.WriteString(w, out.String())
	return err
}

func (b *branch) write(out *strings.Builder, s Style, indent string) {
	for i, child := range b.below {
		fork, next := "├── ", "│   "
		if i == len(b.below)-1 {
			fork, next = "└── ", "    "
		}
		text := fmt.Sprintf("%s [%s]", child.name, Size(child.size))
		if child.isDir {
			text = s.Cyan(path.Base(child.name))
		}
		out.WriteString(indent + fork + text + "\n")
		child.write(out, s, indent+next)
	}
}

// Size gives a number of bytes in four to six cells: " 512", "1.5K", "2.0G".
func Size(bytes uint64) string {
	if bytes < 1024 {
		return fmt.Sprintf("%4d", bytes)
	}
	value := float64(bytes)
	for _, unit := range "KMGTP" {
		if value /= 1024; value < 1024 || unit == 'P' {
			return fmt.Sprintf("%.1f%c", value, unit)
		}
	}
	return ""
}
