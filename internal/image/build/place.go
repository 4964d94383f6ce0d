package build

import (
	"archive/tar"
	"fmt"
	"io"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/image"
)

// placer puts files at their place in a new layer. It knows what is below, so
// that a symlink there is followed, and a directory there keeps its attributes.
type placer struct {
	below *view
	to    *items
}

func (s *stageBuild) placer() *placer {
	return &placer{below: viewOf(s.layers), to: newItems(s.docker.time)}
}

// owner says who owns copied files. The zero value is root.
type owner struct{ uid, gid int }

// dir gives the canonical name of a directory that is to be written to: symlinks
// on the way are those of the layers below.
func (p *placer) dir(name string) (string, error) {
	canonical, err := p.below.canonical(name)
	if err != nil {
		return "", err
	}
	there, err := p.below.find(canonical, true)
	if err != nil {
		return "", err
	}
	if there != nil && !there.isDir() {
		return "", fmt.Errorf("/%s: %w", canonical, errNotDirectory)
	}
	return canonical, nil
}

// ancestors adds a directory and those above it: with the attributes they have
// below, for the topmost layer's are the ones that count, or as new ones.
func (p *placer) ancestors(name string, who owner) error {
	if name == "" || name == "." || p.to.has(name) {
		return nil
	}
	if err := p.ancestors(path.Dir(name), who); err != nil {
		return err
	}
	h, err := p.existing(name)
	if err != nil {
		return err
	}
	if h == nil {
		h = &tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755, Uid: who.uid, Gid: who.gid}
	}
	return p.add(h, nil)
}

// existing gives the header of a directory that is below; nil if there is none.
func (p *placer) existing(name string) (*tar.Header, error) {
	there, err := p.below.find(name, false)
	if err != nil || there == nil {
		return nil, err
	}
	if !there.isDir() {
		return nil, fmt.Errorf("/%s: %w", name, errNotDirectory)
	}
	return image.HeaderOf(there.real, name, &there.stat)
}

// add adds an entry whose parents are there.
func (p *placer) add(h *tar.Header, open func() (io.ReadCloser, error)) error {
	if strings.HasPrefix(path.Base(h.Name), ".wh.") {
		return fault.New("E0417", "%q can't be in an image: names that start with .wh. mark removed files", h.Name).
			WithHint("rename the file, or leave it out with .dockerignore")
	}
	p.to.add(h, open)
	return nil
}

// copier copies files of a source to their place.
type copier struct {
	*placer
	from     *view
	open     func(*node) (io.ReadCloser, error)
	owner    *owner                           // nil: as in the source
	mode     *chmod                           // nil: as in the source
	excluded func(name string, dir bool) bool // by --exclude; names are relative to top
	top      string                           // the directory that is copied
	plain    bool                             // the source's extended attributes stay behind
	spoken   *ignored
}

// header gives the header for a copy of n.
func (c *copier) header(n *node, name string) (*tar.Header, error) {
	h, err := image.HeaderOf(n.real, name, &n.stat)
	if err != nil {
		return nil, err
	}
	if c.owner != nil {
		h.Uid, h.Gid = c.owner.uid, c.owner.gid
	}
	c.mode.apply(h)
	if c.plain {
		h.PAXRecords = nil
	}
	return h, nil
}

func (c *copier) who() owner {
	if c.owner != nil {
		return *c.owner
	}
	return owner{}
}

// file copies one file, which is no directory.
func (c *copier) file(n *node, name string) error {
	if n.kind() == unix.S_IFSOCK {
		return nil // of no use without its process
	}
	if err := c.ancestors(path.Dir(name), c.who()); err != nil {
		return err
	}
	h, err := c.header(n, name)
	if err != nil {
		return err
	}
	if h.Typeflag != tar.TypeReg {
		return c.add(h, nil)
	}
	return c.add(h, func() (io.ReadCloser, error) { return c.open(n) })
}

// tree copies what is in a directory into the directory with the canonical name.
func (c *copier) tree(n *node, name string) error {
	names, err := c.from.names(n)
	if err != nil {
		return err
	}
	for _, base := range names {
		if err := c.entry(n, base, name); err != nil {
			return err
		}
	}
	return nil
}

// entry copies one entry of a directory.
func (c *copier) entry(in *node, base, to string) error {
	n, err := c.from.child(in, base)
	if err != nil || n == nil || c.excluded != nil && c.excluded(strings.TrimPrefix(strings.TrimPrefix(n.name, c.top), "/"), n.isDir()) {
		return err
	}
	name := path.Join(to, base)
	if !n.isDir() {
		return c.file(n, name)
	}
	if name, err = c.dir(name); err != nil {
		return err
	}
	before := len(c.to.list)
	if err := c.directory(n, name); err != nil {
		return err
	}
	if err := c.tree(n, name); err != nil {
		return err
	}
	if c.spoken.hides(n.name) && len(c.to.list) == before+1 {
		c.to.drop() // it was only looked into for exceptions, and there are none
	}
	return nil
}

// target adds the directory whose content is copied: it stays as it is below. A
// new one is a plain directory, whatever the source is.
func (c *copier) target(name string) error {
	if name == "" || c.to.has(name) {
		return nil
	}
	if err := c.ancestors(path.Dir(name), c.who()); err != nil {
		return err
	}
	h, err := c.existing(name)
	if err != nil {
		return err
	}
	if h == nil {
		h = &tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755, Uid: c.who().uid, Gid: c.who().gid}
		c.mode.apply(h)
	}
	return c.add(h, nil)
}

// directory adds a directory as it is in the source, also where there is one.
func (c *copier) directory(n *node, name string) error {
	h, err := c.header(n, name)
	if err != nil {
		return err
	}
	return c.add(h, nil)
}
