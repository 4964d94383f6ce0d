package source

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file reads files, and never outside of their trees.

// ReadCode reads a file as code, a compose file as the program that it stands for:
// its text is kept for excerpts, and its repository noted as used.
func (p *Package) ReadCode(ctx context.Context, file File) (string, error) {
	if file.Name == ScriptID {
		return p.script, nil
	}
	text, err := p.code(ctx, file)
	if err != nil {
		return "", err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.texts[file.Name] = text
	if l, err := ParseLocator(file.Name); err == nil {
		if own, err := ParseLocator(p.id); err != nil || own.Repository() != l.Repository() {
			p.used[l.Repository()] = true
		}
	}
	return text, nil
}

// ReadText reads a file. A directory, or a file larger than 64 MiB, is an error.
func (p *Package) ReadText(file File) (string, error) {
	if file.Name == ScriptID {
		return p.script, nil
	}
	root, err := os.OpenRoot(file.Dir)
	if err != nil {
		return "", fault.New("E0114", "read %s: %w", p.Display(file.Name), err)
	}
	defer root.Close()
	opened, err := root.OpenFile(filepath.FromSlash(cmp.Or(file.Path, ".")), os.O_RDONLY|openNonblock, 0)
	if err != nil {
		return "", p.missing(file, file.Name, err)
	}
	defer opened.Close()
	info, err := opened.Stat()
	switch {
	case err != nil:
		return "", fault.New("E0114", "read %s: %w", p.Display(file.Name), err)
	case info.IsDir():
		f := fault.New("E0114", "%s is a directory, not a file", p.Display(file.Name))
		if _, err := root.Stat(filepath.FromSlash(path.Join(file.Path, DefaultMain))); err == nil {
			f.WithHint("name a file in it: %s", path.Join(p.Display(file.Name), DefaultMain))
		}
		return "", f
	case !info.Mode().IsRegular():
		return "", fault.New("E0114", "%s is not a regular file", p.Display(file.Name))
	}
	data, err := io.ReadAll(io.LimitReader(opened, maxSource+1))
	if err != nil {
		return "", fault.New("E0114", "read %s: %w", p.Display(file.Name), err)
	}
	if len(data) > maxSource {
		return "", fault.New("E0114", "%s is larger than %d MiB", p.Display(file.Name), maxSource>>20)
	}
	return string(data), nil
}

// ReadManifest reads the kurtosis.yml of a directory.
func ReadManifest(dir string) (Manifest, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Manifest{}, fault.New("E0110", "open package %s: %w", dir, err)
	}
	defer root.Close()
	m, err := readManifest(root, "")
	if isMissing(err) {
		return Manifest{}, noManifest(dir, "")
	}
	return m, err
}

// noManifest is the fault of a directory that is no package; locator is what named
// it, if one did.
func noManifest(dir, locator string) error {
	f := fault.New("E0110", "%s has no %s", dir, ManifestName)
	if hint := AddressHint(locator); hint != "" {
		return f.WithHint("%s", hint)
	}
	return f.WithHint("a package is a directory with a %s that gives its name, or with a compose.yml", ManifestName)
}

// isMissing reports whether readManifest found none.
func isMissing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// readManifest reads the kurtosis.yml of a directory below a root. Where there is
// none the error is fs.ErrNotExist, or ENOTDIR.
func readManifest(root *os.Root, dir string) (Manifest, error) {
	name := path.Join(dir, ManifestName)
	data, err := readRegular(root, name, maxManifest)
	if err != nil {
		f := fault.New("E0110", "read %s: %w", name, err)
		return Manifest{}, f
	}
	return ParseManifest(ManifestName, data)
}

// readRegular reads a regular file below a root, one byte more than the limit at
// most.
func readRegular(root *os.Root, name string, limit int64) ([]byte, error) {
	opened, err := root.OpenFile(filepath.FromSlash(name), os.O_RDONLY|openNonblock, 0)
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	info, err := opened.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	return io.ReadAll(io.LimitReader(opened, limit+1))
}

// stat looks at a file without leaving its tree.
func stat(file File) (fs.FileInfo, error) {
	root, err := os.OpenRoot(file.Dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if file.Path == "" {
		return root.Stat(".")
	}
	return root.Stat(filepath.FromSlash(file.Path))
}

// isEscape reports whether os.Root refused a path that leads out of it. The
// package os has no sentinel for it, only this text.
func isEscape(err error) bool {
	return err != nil && strings.Contains(err.Error(), "escapes from parent")
}

// isPointer reports whether a file is what git has in place of one that Git LFS
// keeps (https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md).
func isPointer(file File, info fs.FileInfo) bool {
	const begins, most = "version https://git-lfs.github.com/spec/", 1024
	if !info.Mode().IsRegular() || info.Size() >= most || info.Size() < int64(len(begins)) {
		return false
	}
	root, err := os.OpenRoot(file.Dir)
	if err != nil {
		return false
	}
	defer root.Close()
	data, err := readRegular(root, file.Path, most)
	return err == nil && strings.HasPrefix(string(data), begins)
}
