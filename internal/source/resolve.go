package source

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file resolves locators to files.

// A Use is what a locator is used for, and so what it may name.
type Use int

const (
	// Anything is whatever a repository holds, file or directory.
	Anything Use = iota
	// OfPackage is what belongs to a package: in a repository of others that is
	// fetched for it, a kurtosis.yml or a compose file must lie beside it or above.
	OfPackage
)

// Resolve gives the file or directory that a locator stands for in the code of
// a file (starlark spec §6.3). It may fetch a repository. Errors are faults:
// E0110 and E0111 (part of no package, or of one that is not right), E0113 (no
// locator), E0114 (not there), E0116 (can't be fetched), E0117 (leads out of
// what the package may read).
func (p *Package) Resolve(ctx context.Context, from File, locator string, use Use) (File, error) {
	l, err := p.absolute(from, locator)
	if err != nil {
		return File{}, err
	}
	found, err := p.place(ctx, from, l)
	if err != nil {
		return File{}, err
	}
	file := File{Name: found.name, Dir: found.dir, Path: found.inside}
	info, err := stat(file)
	if err != nil {
		return File{}, p.missing(file, locator, err)
	}
	if use == OfPackage && found.fresh {
		if err := checkPackageOf(file, found.repository, l.ID()); err != nil {
			return File{}, err
		}
	}
	file.Name = p.nameOf(file, found.version)
	if isPointer(file, info) {
		p.warn("%s is kept in Git LFS, whose files are not fetched: what stands for it here is a pointer of %d bytes", file.Name, info.Size())
	}
	return file, nil
}

// nameOf gives the file's name: its locator without version, and with it where
// another version of the file has that name already.
func (p *Package) nameOf(file File, version string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	name, at := file.Name, file.HostPath()
	if known, taken := p.names[name]; taken && known != at {
		if version == "" {
			version = "HEAD"
		}
		name += "@" + version
	}
	p.names[name] = at
	return name
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

// found is where a locator leads.
type found struct {
	name        string // the file's locator without version: of what took its package's place, if that was a repository
	dir, inside string // the directory on this machine, and the path in it
	repository  string // github.com/<author>/<repo> that dir is a copy of
	version     string
	fresh       bool // the repository was fetched for this locator
}

// place finds the directory on this machine that holds the locator, and the
// path in it: the longest package id that has a directory or a replacement
// wins; then the repository of the file that names it, if it is the same one;
// then the repository is fetched.
func (p *Package) place(ctx context.Context, from File, l Locator) (found, error) {
	id := l.ID()
	known := slices.AppendSeq(slices.Collect(maps.Keys(p.directories)), maps.Keys(p.replaced))
	key := longestPrefix(id, known)
	if dir, ok := p.directories[key]; ok {
		if _, replaced := p.manifest.Replace[key]; l.Version != "" && l.Version != p.version && !replaced {
			p.warn("the version of %q counts for nothing: %s is the package that is run", l, key)
		}
		return found{name: id, dir: dir, inside: relative(id, key)}, nil
	}
	if key == "" && l.Version == "" && from.isIn(l.Repository()) {
		of, err := ParseLocator(from.Name)
		return found{name: id, dir: from.Dir, inside: l.Path, version: of.Version}, err
	}
	if to, ok := p.replaced[key]; ok {
		l = Locator{Author: to.Author, Repo: to.Repo, Version: to.Version, Path: path.Join(to.Path, relative(id, key))}
	}
	dir, fresh, err := p.fetch(ctx, l)
	if other, ok := l.otherwise(); ok && errors.Is(err, errNoVersion) {
		if there, first, otherErr := p.fetch(ctx, other); otherErr == nil {
			l, dir, fresh, err = other, there, first, nil
		}
	}
	return found{name: l.ID(), dir: dir, inside: l.Path, repository: l.Repository(), version: l.Version, fresh: fresh}, err
}

// isIn reports whether the file lies in a copy of the whole repository.
func (f File) isIn(repository string) bool {
	l, err := ParseLocator(f.Name)
	return err == nil && f.Dir != "" && l.Repository() == repository && l.Path == f.Path
}

// checkPackageOf checks that a file of a repository of others belongs to a
// package, which calls itself by the place where it lies: in the repository, or
// by the id that a replacement stands for.
func checkPackageOf(file File, repository, id string) error {
	root, err := os.OpenRoot(file.Dir)
	if err != nil {
		return fault.New("E0114", "open %s: %w", repository, err)
	}
	defer root.Close()
	for dir, at := file.Path, id; ; {
		m, err := readManifest(root, dir)
		switch {
		case err == nil:
			if where := path.Join(repository, dir); !strings.EqualFold(m.Name, where) && !strings.EqualFold(m.Name, at) {
				return fault.New("E0111", "package %s calls itself %q in its %s", where, m.Name, ManifestName).
					WithHint("name: %s", where)
			}
			return nil
		case !isMissing(err):
			return fmt.Errorf("package %s: %w", path.Join(repository, dir), err)
		case composeFile(root, dir) != "":
			return nil
		case dir == "" || dir == ".":
			return fault.New("E0110", "%s belongs to no package: there is no %s beside it or above, in %s", id, ManifestName, repository).
				WithHint("only upload_files takes files of a repository that is no package")
		}
		dir, at = path.Dir(dir), path.Dir(at)
	}
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

// fetch brings a repository here, once per package and version; fresh tells
// whether it was not here before.
func (p *Package) fetch(ctx context.Context, l Locator) (dir string, fresh bool, err error) {
	key := l.Repository() + "@" + l.Version
	p.mu.Lock()
	dir, ok := p.fetched[key]
	p.mu.Unlock()
	if ok {
		return dir, false, nil
	}
	if p.fetcher == nil {
		return "", false, fault.New("E0116", "package %s is not on this machine, and nothing here fetches packages", l.Repository()).
			WithHint("replace it by a local directory in %s", ManifestName)
	}
	tree, err := p.fetcher.Fetch(ctx, l)
	if err != nil {
		return "", false, fetchFault(l, err)
	}
	if tree.Note != "" {
		p.warn("%s", tree.Note)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fetched[key] = tree.Dir
	return tree.Dir, true, nil
}

func fetchFault(l Locator, err error) error {
	var f *fault.Fault
	if errors.As(err, &f) {
		return err
	}
	f = fault.New("E0116", "fetch package %s: %w", l.Repository(), err)
	if e := (explained{}); errors.As(err, &e) {
		return f.WithHint("%s", e.hint)
	}
	return f.WithHint("does it exist, and are you allowed to read it? git clone https://%s.git", l.Repository())
}

// missing tells why a file can't be used.
func (p *Package) missing(file File, locator string, err error) error {
	if isEscape(err) {
		return fault.New("E0117", "the locator %q leads out of %s", locator, p.Display(file.Name)).
			WithHint("a symbolic link may not point outside its package")
	}
	f := fault.New("E0114", "the locator %q: there is no %s", locator, p.Display(file.Name))
	if hint := AddressHint(locator); hint != "" {
		return f.WithHint("%s", hint)
	}
	if inSubmodule(file) {
		return f.WithHint("it would lie in a git submodule, and those are not fetched")
	}
	if near := fault.Nearest(path.Base(file.Path), siblings(file)); near != "" {
		f.WithHint("did you mean %q?", path.Join(path.Dir(locator), near))
	}
	return f
}

// inSubmodule reports whether a file that is not there would lie in a submodule of
// a repository: all that is left of one is an empty directory.
func inSubmodule(file File) bool {
	root, err := os.OpenRoot(file.Dir)
	if err != nil {
		return false
	}
	defer root.Close()
	modules, err := readRegular(root, ".gitmodules", maxManifest)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(modules)) {
		key, at, _ := strings.Cut(strings.TrimSpace(line), "=")
		at = strings.Trim(at, ` "`)
		if strings.TrimSpace(key) == "path" && at != "" && (file.Path == at || strings.HasPrefix(file.Path, at+"/")) {
			return true
		}
	}
	return false
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
