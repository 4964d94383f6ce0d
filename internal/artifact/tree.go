package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/fault"
)

// Codes of the faults of archives and trees.
const (
	codeBadArchive = "E0541" // it can't be read, or has what a tree must not have
	codeDiskFull   = "E0542" // no room is left
	codeBadTree    = "E0543" // a directory has what a tree must not have
)

// node is what a tree has at a path.
type node struct {
	kind byte // 'd', 'f' or 'l'
	mode fs.FileMode
	size int64
	sum  string // SHA-256 of the content, or the link's target
}

// A writer makes a tree in a directory. Directories have the mode 0755 and files
// their permissions; owners and special bits are left behind. Paths are clean.
type writer struct {
	ctx    context.Context
	root   *os.Root
	limits Limits
	nodes  map[string]node
	buf    []byte
	since  int64 // bytes written since the disk was looked at
	bytes  int64 // written so far
	// progress, if set, is told of them.
	progress func(bytes int64)
}

func newWriter(ctx context.Context, root *os.Root, limits Limits) *writer {
	return &writer{ctx: ctx, root: root, limits: limits, nodes: map[string]node{}, buf: make([]byte, 256<<10)}
}

// errLayout is wrapped by what a tree can't have.
var errLayout = fault.ErrInvalid

// dir makes a directory with those above it.
func (w *writer) dir(name string) error {
	if name == "." {
		return nil
	}
	switch known, ok := w.nodes[name]; {
	case ok && known.kind == 'd':
		return nil
	case ok:
		return fmt.Errorf("%q is a file, and can't be a directory too: %w", name, errLayout)
	}
	if err := w.dir(path.Dir(name)); err != nil {
		return err
	}
	if err := w.enter(name, node{kind: 'd'}); err != nil {
		return err
	}
	err := w.root.Mkdir(filepath.FromSlash(name), 0o755)
	if errors.Is(err, fs.ErrExist) { // in a directory that was there before
		var info fs.FileInfo
		if info, err = w.root.Lstat(filepath.FromSlash(name)); err == nil && !info.IsDir() {
			err = &fs.PathError{Op: "mkdir", Path: name, Err: unix.ENOTDIR}
		}
	}
	return err
}

// enter counts an entry.
func (w *writer) enter(name string, n node) error {
	if cause := context.Cause(w.ctx); cause != nil {
		return cause
	}
	if len(w.nodes) >= w.limits.Entries {
		return fmt.Errorf("more than %d files: %w", w.limits.Entries, errLayout)
	}
	w.nodes[name] = n
	return nil
}

// place makes room for a file or link.
func (w *writer) place(name string) error {
	if err := w.dir(path.Dir(name)); err != nil {
		return err
	}
	if known, ok := w.nodes[name]; ok && known.kind == 'd' {
		return fmt.Errorf("%q is a directory, and can't be a file too: %w", name, errLayout)
	}
	err := w.root.Remove(filepath.FromSlash(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// copy writes a file with the content of a reader.
func (w *writer) copy(name string, mode fs.FileMode, modified time.Time, content io.Reader) error {
	return w.file(name, mode, modified, func(out io.Writer) error {
		_, err := io.CopyBuffer(out, struct{ io.Reader }{content}, w.buf)
		return err
	})
}

// file writes a file as fill does.
func (w *writer) file(name string, mode fs.FileMode, modified time.Time, fill func(io.Writer) error) error {
	if err := w.place(name); err != nil {
		return err
	}
	mode = mode.Perm()
	out, err := w.root.OpenFile(filepath.FromSlash(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	content := &meter{w: w, file: out, sum: sha256.New()}
	err = fill(content)
	if err == nil {
		err = out.Chmod(mode)
	}
	if err == nil {
		err = settle(out, startWrite)
	}
	err = errors.Join(err, out.Close())
	if err == nil && !modified.IsZero() {
		err = w.root.Chtimes(filepath.FromSlash(name), modified, modified)
	}
	if err != nil {
		return err
	}
	return w.enter(name, node{kind: 'f', mode: mode, size: content.size, sum: hex.EncodeToString(content.sum.Sum(nil))})
}

// diskInterval is how many bytes are written between two looks at the disk.
const diskInterval = 16 << 20

// meter writes the content of a file, as long as there is room and the context
// lasts.
type meter struct {
	w    *writer
	file io.Writer
	sum  hash.Hash
	size int64
}

// Write writes and counts.
func (m *meter) Write(p []byte) (int, error) {
	if err := m.w.before(int64(len(p))); err != nil {
		return 0, err
	}
	n, err := m.file.Write(p)
	m.sum.Write(p[:n])
	m.size += int64(n)
	return n, err
}

// before is asked before bytes are written.
func (w *writer) before(n int64) error {
	if cause := context.Cause(w.ctx); cause != nil {
		return cause
	}
	w.since += n
	if w.bytes == 0 || w.since >= diskInterval {
		w.since = 0
		if err := w.room(); err != nil {
			return err
		}
	}
	w.bytes += n
	if w.progress != nil {
		w.progress(w.bytes)
	}
	return nil
}

// room checks that the disk has more left than others are to have.
func (w *writer) room() error {
	var fs unix.Statfs_t
	if err := unix.Statfs(w.root.Name(), &fs); err != nil {
		return fmt.Errorf("free space of %s: %w", w.root.Name(), err)
	}
	kept := w.limits.Free
	if kept == 0 {
		kept = min(defaultFree, int64(fs.Blocks)*fs.Bsize/50)
	}
	if free := int64(fs.Bavail) * fs.Bsize; free < kept {
		return fmt.Errorf("%d MiB are left, which are kept for others: %w", free>>20, unix.ENOSPC)
	}
	return nil
}

// symlink makes a symbolic link, unless it leads out of the tree.
func (w *writer) symlink(name, target string) error {
	if leadsOut(name, target) {
		return fmt.Errorf("the link %q leads out of the tree, to %q: %w", name, target, errLayout)
	}
	if err := w.place(name); err != nil {
		return err
	}
	if err := w.root.Symlink(target, filepath.FromSlash(name)); err != nil {
		return err
	}
	return w.enter(name, node{kind: 'l', sum: target})
}

// leadsOut reports whether a link's target is outside of the tree, read as text.
// A chain of links that leads out in spite of it is harmless here: whoever reads
// a tree on this host does so through an os.Root.
func leadsOut(name, target string) bool {
	if path.IsAbs(target) || target == "" {
		return true
	}
	at := path.Join(path.Dir(name), target)
	return at == ".." || strings.HasPrefix(at, "../")
}

// hardlink makes a file that is another one of the tree.
func (w *writer) hardlink(name, target string) error {
	clean, err := CleanPath(target)
	if err != nil {
		return fmt.Errorf("the link %q, to %q, %w: %w", name, target, err, errLayout)
	}
	known, ok := w.nodes[clean]
	if !ok || known.kind == 'd' {
		return fmt.Errorf("the link %q is to %q, which is no file before it: %w", name, target, errLayout)
	}
	if clean == name {
		return nil
	}
	if err := w.place(name); err != nil {
		return err
	}
	if err := w.root.Link(filepath.FromSlash(clean), filepath.FromSlash(name)); err != nil {
		return err
	}
	return w.enter(name, known)
}

// sizes gives the number of files and links, and the bytes of the files.
func (w *writer) sizes() (files int, bytes int64) {
	for _, n := range w.nodes {
		if n.kind != 'd' {
			files++
			bytes += n.size
		}
	}
	return files, bytes
}

// hashOf gives a tree's name: it depends on paths, permissions, contents and
// targets of links, and on nothing else.
func hashOf(nodes map[string]node) string {
	h := sha256.New()
	h.Write([]byte("lepto files artifact 1\n"))
	for _, name := range slices.Sorted(maps.Keys(nodes)) {
		nodes[name].writeTo(h, name)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (n node) writeTo(h hash.Hash, name string) {
	fmt.Fprintf(h, "%c %o %q %q\n", n.kind, n.mode, name, n.sum)
}
