package memory

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file turns file trees into tars and back.

// pack gives a tar of the path: a directory's entries relative to it, or a
// single file under its base name.
func (f *Files) pack(name string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.find(name)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if n.children == nil {
		err = n.packEntry(w, path.Base(path.Clean("/"+name)))
	} else {
		err = n.packChildren(w, "")
	}
	if err != nil {
		return nil, fmt.Errorf("pack %s: %w", name, err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("pack %s: %w", name, err)
	}
	return buf.Bytes(), nil
}

func (n *node) packChildren(w *tar.Writer, prefix string) error {
	for _, name := range n.names() {
		if err := n.children[name].packEntry(w, prefix+name); err != nil {
			return err
		}
	}
	return nil
}

func (n *node) packEntry(w *tar.Writer, name string) error {
	h := &tar.Header{Name: name, Mode: int64(n.mode.Perm()), Uid: n.uid, Gid: n.gid, ModTime: n.modified}
	switch {
	case n.children != nil:
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	case n.link != "":
		h.Typeflag, h.Linkname = tar.TypeSymlink, n.link
	default:
		h.Typeflag, h.Size = tar.TypeReg, int64(len(n.data))
	}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeReg {
		_, err := w.Write(n.data)
		return err
	}
	return n.packChildren(w, name+"/")
}

// unpack writes a tar's entries below dir. It refuses entries that name, or
// reach through a symlink, something outside dir.
func (f *Files) unpack(dir string, from io.Reader) error {
	if err := f.MkdirAll(dir); err != nil {
		return err
	}
	r := tar.NewReader(from)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("unpack into %s: %w", dir, err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return fmt.Errorf("unpack into %s: %w", dir, err)
		}
		if err := f.unpackEntry(dir, h, data); err != nil {
			return fmt.Errorf("unpack %q into %s: %w", h.Name, dir, err)
		}
	}
}

func (f *Files) unpackEntry(dir string, h *tar.Header, data []byte) error {
	parts, err := localParts(h.Name)
	if err != nil || len(parts) == 0 {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	base, err := f.makeDir(dir)
	if err != nil {
		return err
	}
	parent, err := base.descend(parts[:len(parts)-1])
	if err != nil {
		return err
	}
	name := parts[len(parts)-1]
	n := &node{mode: fs.FileMode(h.Mode).Perm(), uid: h.Uid, gid: h.Gid, modified: h.ModTime}
	switch h.Typeflag {
	case tar.TypeDir:
		if old := parent.children[name]; old != nil && old.children != nil {
			old.mode = fs.ModeDir | n.mode
			return nil
		}
		n.mode |= fs.ModeDir
		n.children = map[string]*node{}
	case tar.TypeSymlink:
		n.mode, n.link = fs.ModeSymlink|0o777, h.Linkname
	case tar.TypeLink:
		if n, err = base.linked(h.Linkname); err != nil {
			return err
		}
	case tar.TypeReg:
		n.data = data
	default:
		return fmt.Errorf("entry of type %q: %w", h.Typeflag, fault.ErrUnsupported)
	}
	parent.children[name] = n
	return nil
}

// localParts splits an entry's name and refuses one that leaves its directory.
func localParts(name string) ([]string, error) {
	var parts []string
	for _, p := range strings.Split(strings.TrimPrefix(name, "/"), "/") {
		switch p {
		case "", ".":
		case "..":
			return nil, fmt.Errorf("leaves the directory: %w", fault.ErrInvalid)
		default:
			parts = append(parts, p)
		}
	}
	return parts, nil
}

// descend goes down real directories only, making those that are missing.
func (n *node) descend(parts []string) (*node, error) {
	for _, p := range parts {
		next := n.children[p]
		switch {
		case next == nil:
			next = newDir()
			n.children[p] = next
		case next.link != "":
			return nil, fmt.Errorf("goes through the symlink %q: %w", p, fault.ErrInvalid)
		case next.children == nil:
			return nil, fmt.Errorf("%q is no directory: %w", p, fault.ErrInvalid)
		}
		n = next
	}
	return n, nil
}

func (n *node) linked(name string) (*node, error) {
	parts, err := localParts(name)
	if err != nil {
		return nil, err
	}
	for _, p := range parts {
		if n = n.children[p]; n == nil {
			return nil, fmt.Errorf("hard link to %q: %w", name, fault.ErrNotFound)
		}
	}
	return n, nil
}
