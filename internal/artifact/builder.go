package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/fault"
)

// A Builder makes a tree. It is not for concurrent use. Close it in any case.
type Builder struct {
	store *Store
	work  string
	w     *writer
	// Skipped names what was left out of an archive that may have it.
	Skipped []string
}

// Tree is a tree that is in the store.
type Tree struct {
	Hash  string // 64 hex digits
	Files int    // files and links
	Bytes int64  // of all files
}

// Build begins a tree. progress, which may be nil, is told the bytes written so
// far; it must not block.
func (s *Store) Build(ctx context.Context, progress func(bytes int64)) (*Builder, error) {
	work, err := os.MkdirTemp(s.tmp(), "work-")
	if err != nil {
		return nil, diskFault(fmt.Errorf("new files artifact: %w", err))
	}
	b := &Builder{store: s, work: work}
	dir := filepath.Join(work, "tree")
	root, err := openNew(dir)
	if err != nil {
		return nil, diskFault(errors.Join(fmt.Errorf("new files artifact: %w", err), os.RemoveAll(work)))
	}
	b.w = newWriter(ctx, root, s.limits)
	b.w.progress = progress
	return b, nil
}

func openNew(dir string) (*os.Root, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // whatever the umask
		return nil, err
	}
	return os.OpenRoot(dir)
}

// Close removes what was not committed.
func (b *Builder) Close() error {
	return errors.Join(b.w.root.Close(), os.RemoveAll(b.work))
}

// File writes a file with mode 0644, as write writes it.
func (b *Builder) File(name string, write func(io.Writer) error) error {
	clean, err := CleanPath(name)
	if err != nil {
		return fault.New(codeBadTree, "the path %q %w", name, err)
	}
	if err := b.w.file(clean, 0o644, time.Time{}, write); err != nil {
		return diskFault(fmt.Errorf("write %q: %w", name, err))
	}
	return nil
}

// Copy adds a file or directory of the host, rel in root: of a directory what is
// in it, without what its .kurtosisignore names, or by paths in root what above
// does; a file under its own name. A link that leads out of the directory, or a
// device, is a fault.
func (b *Builder) Copy(root *os.Root, rel string, above Ignore) error {
	err := walk(b.w.ctx, walking{root: root, rel: rel, above: above}, func(e item) error {
		switch {
		case e.info.IsDir():
			return b.w.dir(e.name)
		case e.link != "":
			return b.w.symlink(e.name, e.link)
		}
		in, err := e.open()
		if err != nil {
			return err
		}
		defer in.Close()
		return b.w.copy(e.name, e.info.Mode(), e.info.ModTime(), in)
	})
	return diskFault(err)
}

// Commit gives the tree its place in the store. It stays there at least until
// release, which must be called.
func (b *Builder) Commit() (tree Tree, release func(), err error) {
	if err := b.w.settle(); err != nil {
		return Tree{}, nil, diskFault(fmt.Errorf("files artifact: %w", err))
	}
	tree.Hash = hashOf(b.w.nodes)
	tree.Files, tree.Bytes = b.w.sizes()
	s := b.store
	s.mu.Lock()
	defer s.mu.Unlock()
	err = os.Rename(filepath.Join(b.work, "tree"), s.Dir(tree.Hash))
	if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, unix.ENOTEMPTY) {
		return Tree{}, nil, diskFault(fmt.Errorf("files artifact: %w", err))
	}
	if _, err := os.Lstat(s.Dir(tree.Hash)); err != nil {
		return Tree{}, nil, fmt.Errorf("files artifact: %w", err)
	}
	return tree, s.pin(tree.Hash), nil
}

// diskFault makes an error of a full disk one that a user can act on.
func diskFault(err error) error {
	if err == nil || !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
		return err
	}
	return fault.New(codeDiskFull, "the disk is full: %w", err).
		WithHint("make room: lepto clean, lepto image rm; or put LEPTO_HOME on a larger disk")
}
