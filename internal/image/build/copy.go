package build

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/lepto-dev/lepto/internal/fault"
)

// copy does COPY.
func (s *stageBuild) copy(ctx context.Context, cmd *instructions.CopyCommand) error {
	c, err := s.copier(ctx, cmd.From, cmd.Chown, cmd.Chmod, cmd.ExcludePatterns)
	if err != nil {
		return err
	}
	to, err := s.destination(c, cmd.SourcesAndDest)
	if err != nil {
		return err
	}
	for _, pattern := range cmd.SourcePaths {
		if cmd.Parents {
			if err := c.withParents(pattern, to); err != nil {
				return err
			}
			continue
		}
		matches, err := c.match(pattern)
		if err != nil {
			return err
		}
		for _, m := range matches {
			if err := c.copyTo(m, to); err != nil {
				return err
			}
		}
	}
	if err := c.inline(cmd.SourceContents, to); err != nil {
		return err
	}
	return s.layerOf(ctx, c.to)
}

// copier makes a copier from a stage or image, or from the context if from is "".
func (s *stageBuild) copier(ctx context.Context, from, chown, chmod string, exclude []string) (*copier, error) {
	c := &copier{placer: s.placer()}
	var err error
	if c.owner, err = ownerOf(c.below, chown); err != nil {
		return nil, err
	}
	if chmod != "" {
		if c.mode, err = parseMode(chmod); err != nil {
			return nil, err
		}
	}
	if c.excluded, err = hiddenBy(exclude); err != nil {
		return nil, fault.New("E0415", "--exclude: %w", err)
	}
	if from == "" {
		c.from, c.open, c.plain, c.spoken = s.files.view, s.files.open, true, s.files.ignored
		if c.owner == nil {
			c.owner = &owner{} // who owns the files outside means nothing inside
		}
		return c, nil
	}
	made, err := s.source(ctx, s.index, from)
	if err != nil {
		return nil, err
	}
	c.from, c.open = viewOf(made.layers), openFrom
	return c, nil
}

// destination is where files are copied to.
type destination struct {
	name string // canonical
	dir  bool   // it is, or becomes, a directory that takes them under their own names
}

func (s *stageBuild) destination(c *copier, what instructions.SourcesAndDest) (destination, error) {
	var to destination
	to.dir = strings.HasSuffix(what.DestPath, "/") || slices.Contains([]string{".", ".."}, path.Base(what.DestPath))
	if !to.dir && len(what.SourcePaths)+len(what.SourceContents) > 1 {
		return to, fault.New("E0415", "%q must end with / to take several sources", what.DestPath)
	}
	var err error
	if to.name, err = c.below.canonical(cleanPath(s.absolute(what.DestPath))); err != nil {
		return to, err
	}
	there, err := c.below.find(to.name, true)
	if err != nil {
		return to, err
	}
	if there != nil {
		if to.dir && !there.isDir() {
			return to, fmt.Errorf("/%s: %w", to.name, errNotDirectory)
		}
		to.dir = there.isDir()
	}
	return to, nil
}

// found is a source that a pattern named.
type found struct {
	*node
	base string // its last part as named, before symlinks were followed
}

// copyTo copies a file, or what is in a directory.
func (c *copier) copyTo(m found, to destination) error {
	switch {
	case m.isDir():
		name, err := c.dir(to.name)
		if err != nil {
			return err
		}
		c.top = m.name
		if err := c.target(name); err != nil {
			return err
		}
		return c.tree(m.node, name)
	case to.dir:
		return c.file(m.node, path.Join(to.name, m.base))
	}
	return c.file(m.node, to.name)
}

// inline adds the files of here-documents.
func (c *copier) inline(contents []instructions.SourceContent, to destination) error {
	for _, doc := range contents {
		name := to.name
		if to.dir {
			name = path.Join(name, doc.Path)
		}
		if err := c.bytes(name, []byte(doc.Data), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// bytes adds a file with the given content.
func (c *copier) bytes(name string, content []byte, mode int64) error {
	if err := c.ancestors(path.Dir(name), c.who()); err != nil {
		return err
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Uid: c.who().uid, Gid: c.who().gid, Size: int64(len(content))}
	c.mode.apply(h)
	return c.add(h, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
}

// match finds the sources that a pattern names. A pattern with wildcards may name
// none, as in COPY go.sum* ./
func (c *copier) match(pattern string) ([]found, error) {
	name := cleanPath(pattern)
	if !strings.ContainsAny(name, `*?[\`) {
		n, err := c.from.find(name, true)
		if err != nil {
			return nil, fault.New("E0417", "%q: %w", pattern, err)
		}
		if n == nil { // one that is named is never excluded, only what is in it
			return nil, c.missing(pattern, name)
		}
		return []found{{n, path.Base(name)}}, nil
	}
	if _, err := path.Match(name, ""); err != nil {
		return nil, fault.New("E0415", "pattern %q is not valid", pattern)
	}
	root, err := c.from.root()
	if err != nil {
		return nil, err
	}
	return c.glob(root, parts(name))
}

// glob finds what matches the parts of a pattern below a directory.
func (c *copier) glob(in *node, pattern []string) ([]found, error) {
	names, err := c.from.names(in)
	if err != nil {
		return nil, err
	}
	var out []found
	for _, base := range names {
		if ok, _ := path.Match(pattern[0], base); !ok {
			continue
		}
		n, err := c.from.find(path.Join(in.name, base), true)
		if err != nil {
			return nil, err
		}
		if n == nil || c.excluded != nil && c.excluded(base, n.isDir()) {
			continue
		}
		switch {
		case len(pattern) == 1:
			out = append(out, found{n, base})
		case n.isDir():
			more, err := c.glob(n, pattern[1:])
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
		}
	}
	return out, nil
}

// missing says why a source can't be copied.
func (c *copier) missing(pattern, name string) error {
	if !c.plain {
		return fault.New("E0417", "%q is not in the stage or image it is copied from", pattern).WithHint("check the path, which starts at the root of that stage")
	}
	f := fault.New("E0417", "%q is not in the build context", pattern).
		WithHint("paths are relative to the build context, and nothing outside it can be copied")
	bare := &view{layers: c.from.layers}
	if n, err := bare.find(name, true); err == nil && n != nil {
		return f.WithHint("the file is there, but .dockerignore leaves it out")
	}
	if n, err := bare.find(name, false); err == nil && n != nil && n.isLink() {
		return f.WithHint("it is a symlink to something that is not in the build context")
	}
	return f
}
