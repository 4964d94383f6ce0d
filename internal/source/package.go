// Package source is where code comes from: scripts, packages on disk, and
// packages in git repositories.
//
// A [Package] is the root of a run: it resolves the locators that code uses to
// a [File], reads files, and never outside the directories that belong to it. A
// [Manifest] is its kurtosis.yml. A [Fetcher] brings repositories of others to
// this machine. Pack and Unpack move a package as an archive.
//
// The package must not know Starlark, nor what files are read for.
package source

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/lepto-dev/lepto/internal/fault"
)

const (
	// ScriptID is the package id, and the file name of positions, of a
	// standalone script (starlark spec §1.3).
	ScriptID = "DEFAULT_PACKAGE_ID_FOR_SCRIPT"
	// DefaultMain is the main file of a package.
	DefaultMain = "main.star"
	// maxSource bounds a file of code or text that a script reads, in bytes.
	maxSource = 64 << 20
)

// A Package is the code of a run: a script, or a directory with a kurtosis.yml.
// Safe for concurrent use.
type Package struct {
	id       string
	manifest Manifest
	main     File
	name     string // of a script, as the user knows it
	script   string

	fetcher     Fetcher
	remote      bool              // came over the network: names no path of this machine
	directories map[string]string // package id to directory on this machine

	mu       sync.Mutex
	fetched  map[string]string // repository[@version] to directory
	texts    map[string]string // source of files read as code, by File.Name
	warnings []string
	used     map[string]bool // repositories of others that code came from
}

// A File is a place that a locator stands for.
type File struct {
	// Name is the absolute locator without version, or ScriptID: the file name
	// in positions, and a module's identity.
	Name string
	// Dir is the directory on this machine whose tree the file belongs to, and
	// Path the place in it: slash-separated, relative. Both empty for a script.
	Dir  string
	Path string
}

// HostPath gives the file's path on this machine.
func (f File) HostPath() string { return filepath.Join(f.Dir, filepath.FromSlash(f.Path)) }

// An Option changes how a Package finds code.
type Option func(*Package)

// WithFetcher sets where packages of others come from. Without one, locators of
// others that no directory stands for are an E0116.
func WithFetcher(f Fetcher) Option { return func(p *Package) { p.fetcher = f } }

// WithDirectory says that the package id is, on this machine, the directory: a
// replaced package that was uploaded along.
func WithDirectory(id, dir string) Option {
	return func(p *Package) { p.directories[id] = dir }
}

// WithoutLocalReplace refuses local paths in replace, other than the
// directories given by WithDirectory: for packages that came over a network,
// which must not reach the files of this machine.
func WithoutLocalReplace() Option { return func(p *Package) { p.remote = true } }

// OpenScript makes a package of a single script. name is how the user knows it,
// for display; relative locators do not work in it.
func OpenScript(name, text string, options ...Option) *Package {
	p := newPackage(options)
	p.id, p.name, p.script = ScriptID, name, text
	p.main = File{Name: ScriptID}
	p.texts[ScriptID] = text
	return p
}

// OpenDir opens a package directory. mainFile is relative to it; empty means
// main.star. Errors are faults of the kurtosis.yml (E0110), or E0112 where the
// main file is missing.
func OpenDir(dir, mainFile string, options ...Option) (*Package, error) {
	p := newPackage(options)
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("package directory: %w", err)
	}
	if p.manifest, err = ReadManifest(dir); err != nil {
		return nil, err
	}
	p.id = p.manifest.Name
	p.directories[p.id] = dir
	p.addRepositoryRoot(dir)
	if err := p.addLocalReplacements(dir); err != nil {
		return nil, err
	}
	return p, p.setMain(dir, mainFile)
}

// OpenRemote fetches the package that an absolute locator names, and opens it.
func OpenRemote(ctx context.Context, locator, mainFile string, fetcher Fetcher, options ...Option) (*Package, error) {
	l, err := ParseLocator(locator)
	if err != nil {
		return nil, err
	}
	repo, err := fetcher.Fetch(ctx, l)
	if err != nil {
		return nil, fetchFault(l, err)
	}
	dir := filepath.Join(repo, filepath.FromSlash(l.Path))
	options = append(options, WithFetcher(fetcher), WithoutLocalReplace(), WithDirectory(l.Repository(), repo))
	p, err := OpenDir(dir, mainFile, options...)
	if err != nil {
		return nil, err
	}
	if !strings.EqualFold(p.id, l.ID()) {
		return nil, fault.New("E0111", "package %s calls itself %q in its %s", l.ID(), p.id, ManifestName).
			WithHint("name: %s", l.ID())
	}
	return p, nil
}

func newPackage(options []Option) *Package {
	p := &Package{
		directories: map[string]string{},
		fetched:     map[string]string{},
		texts:       map[string]string{},
		used:        map[string]bool{},
	}
	for _, option := range options {
		option(p)
	}
	return p
}

// addRepositoryRoot lets "/" locators of a package in a sub-directory reach the
// rest of its repository, where the directory really lies in that repository.
func (p *Package) addRepositoryRoot(dir string) {
	l, err := ParseLocator(p.id)
	if err != nil || l.Path == "" {
		return
	}
	root, inside := strings.CutSuffix(filepath.ToSlash(dir), "/"+l.Path)
	if !inside || root == "" {
		return
	}
	if _, err := os.Lstat(filepath.Join(filepath.FromSlash(root), ".git")); err != nil {
		return
	}
	if _, known := p.directories[l.Repository()]; !known {
		p.directories[l.Repository()] = filepath.FromSlash(root)
	}
}

func (p *Package) addLocalReplacements(dir string) error {
	for id, value := range p.manifest.Replace {
		if !isLocalPath(value) {
			continue
		}
		if _, given := p.directories[id]; given {
			continue
		}
		if p.remote {
			return fault.New("E0114", "package %s replaces %s by the path %q, which is not on this machine", p.id, id, value).
				WithHint("run the package from a local directory, or replace %s by a locator", id)
		}
		target := filepath.FromSlash(value)
		if !filepath.IsAbs(target) {
			target = filepath.Join(dir, target)
		}
		if info, err := os.Stat(target); err != nil || !info.IsDir() {
			return fault.New("E0114", "package %s replaces %s by %q: no such directory", p.id, id, value)
		}
		p.directories[id] = target
	}
	return nil
}

func (p *Package) setMain(dir, mainFile string) error {
	if mainFile == "" {
		mainFile = DefaultMain
	}
	inside := strings.TrimPrefix(path.Clean("/"+filepath.ToSlash(mainFile)), "/")
	p.main = File{Name: path.Join(p.id, inside), Dir: dir, Path: inside}
	if info, err := stat(p.main); err != nil || info.IsDir() {
		return fault.New("E0112", "package %s has no main file %q", p.id, inside).
			WithHint("a package to run needs a %s, or the name of another main file", DefaultMain)
	}
	return nil
}

// ID gives the package id: its name in kurtosis.yml, or ScriptID.
func (p *Package) ID() string { return p.id }

// IsScript reports whether it is a single script.
func (p *Package) IsScript() bool { return p.id == ScriptID }

// Manifest gives the kurtosis.yml; zero for a script.
func (p *Package) Manifest() Manifest { return p.manifest }

// Main gives the main file.
func (p *Package) Main() File { return p.main }

// Display gives a file name of a position as the user knows it: the script's own
// name, a path relative to the package's root, or the locator.
func (p *Package) Display(file string) string {
	if file == ScriptID && p.IsScript() {
		return p.name
	}
	if rest, ok := strings.CutPrefix(file, p.id+"/"); ok {
		return rest
	}
	return file
}

// Source gives the text of a file that was read as code, for excerpts.
func (p *Package) Source(file string) (string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	text, ok := p.texts[file]
	return text, ok
}

// Warnings lists what was noticed while locators were resolved, without repeats.
func (p *Package) Warnings() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.warnings)
}

// Used lists the repositories of others that code was read from, sorted.
func (p *Package) Used() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var ids []string
	for id := range p.used {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func (p *Package) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Contains(p.warnings, text) {
		p.warnings = append(p.warnings, text)
	}
}
