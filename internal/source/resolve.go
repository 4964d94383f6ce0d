package source

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file resolves locators to files, and reads them.

// Resolve gives the file or directory that a locator stands for in the code of
// a file (starlark spec §6.3). It may fetch a repository. Errors are faults:
// E0113 (no locator), E0114 (not there), E0116 (can't be fetched), E0117 (leads
// out of what the package may read).
func (p *Package) Resolve(ctx context.Context, from File, locator string) (File, error) {
	l, err := p.absolute(from, locator)
	if err != nil {
		return File{}, err
	}
	name := l.ID()
	dir, inside, err := p.place(ctx, l)
	if err != nil {
		return File{}, err
	}
	file := File{Name: name, Dir: dir, Path: inside}
	if _, err := stat(file); err != nil {
		return File{}, p.missing(file, locator, err)
	}
	return file, nil
}

// Within gives a file or directory below a directory that Resolve gave. Errors
// are as those of Resolve.
func (p *Package) Within(dir File, rel string) (File, error) {
	file := File{Name: path.Join(dir.Name, rel), Dir: dir.Dir, Path: path.Join(dir.Path, rel)}
	if _, err := stat(file); err != nil {
		return File{}, p.missing(file, rel, err)
	}
	return file, nil
}

// absolute makes a locator absolute.
func (p *Package) absolute(from File, locator string) (Locator, error) {
	if IsAbsolute(locator) || strings.Contains(locator, "://") {
		l, err := ParseLocator(locator)
		if err == nil && p.owns(l.ID()) && p.owns(from.Name) {
			p.warn("the locator %q names a file of its own package; prefer a relative one, such as %q",
				locator, "/"+l.Path)
		}
		return l, err
	}
	if locator == "" {
		return Locator{}, fault.New("E0113", "the locator is empty")
	}
	base, err := ParseLocator(from.Name)
	if err != nil {
		return Locator{}, fault.New("E0113", "the locator %q is relative, which does not work in a standalone script", locator).
			WithHint("make a package (a directory with a %s), or use a locator such as github.com/<author>/<repo>/<path>", ManifestName)
	}
	if strings.ContainsAny(locator, "\x00\\") {
		return Locator{}, fault.New("E0113", "the locator %q has a character that no path has", locator)
	}
	dir := base.Repository()
	if !strings.HasPrefix(locator, "/") {
		dir = path.Dir(base.ID())
	}
	joined := path.Join(dir, locator)
	if joined != base.Repository() && !strings.HasPrefix(joined, base.Repository()+"/") {
		return Locator{}, fault.New("E0117", "the locator %q leads out of the repository %s", locator, base.Repository())
	}
	return ParseLocator(joined)
}

// owns reports whether a locator id lies in this package.
func (p *Package) owns(id string) bool {
	return !p.IsScript() && (id == p.id || strings.HasPrefix(id, p.id+"/"))
}

// place finds the directory on this machine that holds the locator, and the
// path in it: the longest package id that has a directory or a replacement
// wins; then the repository is fetched.
func (p *Package) place(ctx context.Context, l Locator) (dir, inside string, err error) {
	id := l.ID()
	known := slices.Collect(maps.Keys(p.directories))
	for key := range p.manifest.Replace {
		known = append(known, key)
	}
	key := longestPrefix(id, known)
	if dir, ok := p.directories[key]; ok {
		return dir, relative(id, key), nil
	}
	if key != "" {
		to, err := ParseLocator(p.manifest.Replace[key])
		if err != nil {
			return "", "", err
		}
		l = Locator{Author: to.Author, Repo: to.Repo, Version: to.Version, Path: path.Join(to.Path, relative(id, key))}
	}
	dir, err = p.fetch(ctx, l)
	return dir, l.Path, err
}

func longestPrefix(id string, keys []string) string {
	best := ""
	for _, key := range keys {
		if (id == key || strings.HasPrefix(id, key+"/")) && len(key) > len(best) {
			best = key
		}
	}
	return best
}

func relative(id, key string) string { return strings.TrimPrefix(strings.TrimPrefix(id, key), "/") }

// fetch brings a repository here, once per package and version.
func (p *Package) fetch(ctx context.Context, l Locator) (string, error) {
	key := l.Repository() + "@" + l.Version
	p.mu.Lock()
	dir, ok := p.fetched[key]
	p.mu.Unlock()
	if ok {
		return dir, nil
	}
	if p.fetcher == nil {
		return "", fault.New("E0116", "package %s is not on this machine, and nothing here fetches packages", l.Repository()).
			WithHint("replace it by a local directory in %s", ManifestName)
	}
	dir, err := p.fetcher.Fetch(ctx, l)
	if err != nil {
		return "", fetchFault(l, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fetched[key] = dir
	return dir, nil
}

func fetchFault(l Locator, err error) error {
	var f *fault.Fault
	if errors.As(err, &f) {
		return err
	}
	return fault.New("E0116", "fetch package %s: %w", l.Repository(), err).
		WithHint("does it exist, and are you allowed to read it? git clone https://%s.git", l.Repository())
}

// missing tells why a file can't be used.
func (p *Package) missing(file File, locator string, err error) error {
	if isEscape(err) {
		return fault.New("E0117", "the locator %q leads out of %s", locator, p.Display(file.Name)).
			WithHint("a symbolic link may not point outside its package")
	}
	f := fault.New("E0114", "the locator %q: there is no %s", locator, p.Display(file.Name))
	if near := fault.Nearest(path.Base(file.Path), siblings(file)); near != "" {
		f.WithHint("did you mean %q?", path.Join(path.Dir(locator), near))
	}
	return f
}

// siblings lists the names beside a file that is not there.
func siblings(file File) []string {
	root, err := os.OpenRoot(file.Dir)
	if err != nil {
		return nil
	}
	defer root.Close()
	dir, err := root.Open(filepath.FromSlash(path.Dir(file.Path)))
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(1000)
	return names
}

// ReadCode reads a file as code: its text is kept for excerpts, and its
// repository noted as used.
func (p *Package) ReadCode(file File) (string, error) {
	if file.Name == ScriptID {
		return p.script, nil
	}
	text, err := p.ReadText(file)
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
	opened, err := root.OpenFile(filepath.FromSlash(file.Path), os.O_RDONLY|openNonblock, 0)
	if err != nil {
		return "", p.missing(file, file.Name, err)
	}
	defer opened.Close()
	info, err := opened.Stat()
	switch {
	case err != nil:
		return "", fault.New("E0114", "read %s: %w", p.Display(file.Name), err)
	case info.IsDir():
		return "", fault.New("E0114", "%s is a directory, not a file", p.Display(file.Name))
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
	data, err := root.ReadFile(ManifestName)
	if errors.Is(err, fs.ErrNotExist) {
		return Manifest{}, fault.New("E0110", "%s has no %s", dir, ManifestName).
			WithHint("a package is a directory with a %s that gives its name", ManifestName)
	}
	if err != nil {
		return Manifest{}, fault.New("E0110", "read %s: %w", ManifestName, err)
	}
	return ParseManifest(ManifestName, data)
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
