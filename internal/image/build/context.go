package build

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/fault"
)

// maxText bounds a Dockerfile and a .dockerignore, in bytes.
const maxText = 4 << 20

// buildContext is the directory that a build may read. Content is opened through
// an os.Root: the directory is a user's, the builder may be root, and a symlink
// that is swapped in meanwhile must not lead out.
type buildContext struct {
	*view
	dir     string
	root    *os.Root
	ignored *ignored // nil: nothing is
}

func openContext(dir string) (*buildContext, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fault.New("E0415", "build context %q can't be opened: %w", dir, err).
			WithHint("the context is the directory with the Dockerfile and what it copies")
	}
	return &buildContext{dir: dir, root: root, view: &view{layers: []string{dir}}}, nil
}

// readText reads a small file of the context.
func (c *buildContext) readText(name string) ([]byte, error) {
	f, err := c.root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file", name)
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if len(raw) > maxText {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxText)
	}
	return raw, err
}

// ignore hides what the ignore file says: DOCKERFILE.dockerignore beside the
// Dockerfile, or .dockerignore.
func (c *buildContext) ignore(dockerfile string) error {
	for _, name := range []string{dockerfile + ".dockerignore", ".dockerignore"} {
		raw, err := c.readText(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fault.New("E0415", "%s: %w", name, err)
		}
		patterns, err := ignorefile.ReadAll(bytes.NewReader(raw))
		if err != nil {
			return fault.New("E0415", "%s: %w", name, err)
		}
		if c.ignored, err = newIgnored(patterns); err != nil {
			return fault.New("E0415", "%s: %w", name, err)
		}
		if c.ignored != nil {
			c.hidden = c.ignored.test
		}
		return nil
	}
	return nil
}

// ignored tells what an ignore file speaks of.
type ignored struct {
	mu      sync.Mutex // the matcher compiles its patterns when they are first used
	matcher *patternmatcher.PatternMatcher
}

// hides reports whether a path is ignored, whatever is below it.
func (i *ignored) hides(name string) bool {
	if i == nil {
		return false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	hidden, err := i.matcher.MatchesOrParentMatches(filepath.FromSlash(name))
	return err == nil && hidden
}

// hiddenBy gives the test for patterns of an ignore file. A directory is hidden
// only if nothing below it can be an exception.
func hiddenBy(patterns []string) (func(name string, dir bool) bool, error) {
	i, err := newIgnored(patterns)
	if i == nil {
		return nil, err
	}
	return i.test, nil
}

func newIgnored(patterns []string) (*ignored, error) {
	if len(patterns) == 0 {
		return nil, nil
	}
	matcher, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, err
	}
	return &ignored{matcher: matcher}, nil
}

func (i *ignored) test(name string, dir bool) bool {
	return !(dir && i.matcher.Exclusions()) && i.hides(name)
}

// open opens a regular file of the context.
func (c *buildContext) open(n *node) (io.ReadCloser, error) {
	f, err := c.root.OpenFile(n.name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("build context: %w", err)
	}
	return f, nil
}

// openFrom opens a regular file of a view whose layers nobody changes.
func openFrom(n *node) (io.ReadCloser, error) { return os.Open(n.real) }

// cleanPath makes a path of a Dockerfile relative to the root it is meant in; what
// climbs out stays at the root.
func cleanPath(name string) string { return path.Clean("/" + filepath.ToSlash(name))[1:] }
