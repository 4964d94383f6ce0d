package artifact

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file reads directories of the host.

// item is a file, directory or link that walk comes to.
type item struct {
	name string // in the tree
	info fs.FileInfo
	link string // of a link, where it leads
	root *os.Root
	rel  string // in root
}

func (e item) open() (*os.File, error) { return e.root.Open(filepath.FromSlash(e.rel)) }

// walking says what to walk through.
type walking struct {
	root   *os.Root
	rel    string // a file or directory in it
	as     string // the name of a file in the tree; its own if empty
	stored bool   // it is a tree of a store: nothing is left out
	above  Ignore // what is left out besides, by its path in root
}

// walk visits what an artifact of a file or directory has, in order of paths. It
// never leaves the root, and follows no link but those on the way to rel.
func walk(ctx context.Context, from walking, visit func(item) error) error {
	root, rel := from.root, cmp.Or(from.rel, ".")
	info, err := root.Stat(filepath.FromSlash(rel))
	if err != nil {
		return err
	}
	if !info.IsDir() {
		e := item{name: cmp.Or(from.as, path.Base(rel)), info: info, root: root, rel: rel}
		if !info.Mode().IsRegular() {
			return special(e.name, info)
		}
		return visit(e)
	}
	top, err := root.OpenRoot(filepath.FromSlash(rel))
	if err != nil {
		return err
	}
	defer top.Close()
	var ignored Ignore
	if !from.stored {
		if ignored, err = ReadIgnore(top); err != nil {
			return err
		}
	}
	return fs.WalkDir(top.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case context.Cause(ctx) != nil:
			return context.Cause(ctx)
		case name == ".":
			return nil
		case ignored.Match(name, entry.IsDir()), from.above.Match(path.Join(rel, name), entry.IsDir()):
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		return visitEntry(top, name, entry, visit)
	})
}

func visitEntry(top *os.Root, name string, entry fs.DirEntry, visit func(item) error) error {
	info, err := entry.Info()
	if err != nil {
		return err
	}
	e := item{name: name, info: info, root: top, rel: name}
	switch {
	case info.IsDir(), info.Mode().IsRegular():
		return visit(e)
	case info.Mode()&fs.ModeSymlink == 0:
		return special(name, info)
	}
	if e.link, err = top.Readlink(filepath.FromSlash(name)); err != nil {
		return err
	}
	if leadsOut(name, e.link) {
		return fault.New(codeBadTree, "the link %q leads out of the directory, to %q", name, e.link).
			WithHint("a files artifact holds links between its own files only: copy what it points to, or name it in %s", IgnoreName)
	}
	return visit(e)
}

func special(name string, info fs.FileInfo) error {
	return fault.New(codeBadTree, "%q is no file, directory or link (%s)", name, info.Mode()).
		WithHint("name it in %s", IgnoreName)
}

// Digest gives the hash that the tree of a file or directory of the host would
// have, as Builder.Copy makes it, and makes none.
func Digest(ctx context.Context, root *os.Root, rel string, above Ignore) (string, error) {
	nodes := map[string]node{}
	err := walk(ctx, walking{root: root, rel: rel, above: above}, func(e item) error {
		switch {
		case e.info.IsDir():
			nodes[e.name] = node{kind: 'd'}
			return nil
		case e.link != "":
			nodes[e.name] = node{kind: 'l', sum: e.link}
			return nil
		}
		in, err := e.open()
		if err != nil {
			return err
		}
		defer in.Close()
		h := sha256.New()
		if _, err := io.Copy(h, cancellable{ctx, in}); err != nil {
			return err
		}
		nodes[e.name] = node{kind: 'f', mode: e.info.Mode().Perm(), sum: hex.EncodeToString(h.Sum(nil))}
		return nil
	})
	return hashOf(nodes), err
}
