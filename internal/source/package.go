// Package source is where code comes from: scripts, packages on disk, and
// packages in git repositories.
//
// A [Package] is the root of a run: it resolves the locators that code uses to
// a [File], reads files, and never outside the directories that belong to it. A
// [Manifest] is its kurtosis.yml. A [Fetcher] brings repositories of others to
// this machine. Unpack takes in a package that a client sent.
//
// The package must not know Starlark, nor what files are read for.
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
	compose     bool               // its code is a compose file; it has no manifest
	composeID   string             // its id then
	version     string             // of what came over the network
	remote      bool               // came over the network: names no path of this machine
	directories map[string]string  // package id to directory on this machine
	sent        map[string]string  // directories that came along, by package id
	inPlace     map[string]bool    // directories of packages that are read where they lie
	replaced    map[string]Locator // package id to what takes its place

	mu       sync.Mutex
	names    map[string]string // path on this machine by File.Name
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

// WithSent says that a directory was sent along with the package: it stands for
// the package id where the manifest replaces that by a path.
func WithSent(id, dir string) Option {
	return func(p *Package) { p.sent[id] = dir }
}

// WithoutLocalReplace takes local paths in replace for nothing unless they stay in
// the package's own tree, or are given by WithSent: for packages that came
// over a network, which must not reach the files of this machine.
func WithoutLocalReplace() Option { return func(p *Package) { p.remote = true } }

// WithComposeID sets the id of a package that is a compose file; ComposeID if not
// given.
func WithComposeID(id string) Option { return func(p *Package) { p.composeID = id } }

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
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fault.New("E0110", "open package %s: %w", dir, err)
	}
	defer root.Close()
	p.manifest, err = readManifest(root, "")
	p.id = p.manifest.Name
	if isMissing(err) {
		p.id = p.composeID
		mainFile, err = p.asCompose(root, "", mainFile, err)
		if isMissing(err) {
			err = noManifest(dir, "")
		}
	}
	if err != nil {
		return nil, err
	}
	p.directories[p.id] = dir
	p.inPlace[dir] = true
	p.addRepositoryRoot(dir)
	if err := p.addReplacements(dir, ""); err != nil {
		return nil, err
	}
	return p, p.setMain(dir, "", mainFile)
}

// OpenRemote fetches the package that an absolute locator names, and opens it. A
// locator of a file of code names the package that holds it, and its main file.
func OpenRemote(ctx context.Context, locator, mainFile string, fetcher Fetcher, options ...Option) (*Package, error) {
	l, err := ParseLocator(locator)
	if err != nil {
		return nil, err
	}
	tree, err := fetcher.Fetch(ctx, l)
	if other, ok := l.otherwise(); ok && errors.Is(err, errNoVersion) {
		if there, otherErr := fetcher.Fetch(ctx, other); otherErr == nil {
			l, tree, err = other, there, nil
		}
	}
	if err != nil {
		return nil, fetchFault(l, err)
	}
	root, err := os.OpenRoot(tree.Dir)
	if err != nil {
		return nil, fault.New("E0116", "package %s: %w", l.ID(), err)
	}
	defer root.Close()
	dir := strings.TrimSuffix(strings.TrimSuffix(l.Path, ManifestName), "/")
	if strings.HasSuffix(dir, ".star") && mainFile == "" {
		dir, mainFile = holder(root, dir)
	}
	p := newPackage(append(options, WithFetcher(fetcher), WithoutLocalReplace()))
	if mainFile, err = p.openIn(root, l, dir, mainFile); err != nil {
		return nil, err
	}
	p.version = l.Version
	if tree.Note != "" {
		p.warn("%s", tree.Note)
	}
	if err := p.addReplacements(tree.Dir, dir); err != nil {
		return nil, err
	}
	return p, p.setMain(tree.Dir, dir, mainFile)
}

// holder gives the directory of the package that holds a file, and the file's
// path in it.
func holder(root *os.Root, file string) (dir, inside string) {
	for dir = path.Dir(file); ; dir = path.Dir(dir) {
		if dir == "." {
			return "", file
		}
		if _, err := root.Stat(filepath.FromSlash(path.Join(dir, ManifestName))); err == nil {
			return dir, relative(file, dir)
		}
	}
}

// openIn reads the manifest of a package in a repository, and gives its main file
// where it is a compose file.
func (p *Package) openIn(root *os.Root, l Locator, dir, mainFile string) (string, error) {
	id := path.Join(l.Repository(), dir)
	var err error
	p.manifest, err = readManifest(root, dir)
	if isMissing(err) {
		p.manifest.Name = id
		mainFile, err = p.asCompose(root, dir, mainFile, err)
	}
	switch {
	case isEscape(err):
		return "", fault.New("E0117", "the locator %q leads out of its repository", l)
	case isMissing(err):
		return "", noManifest(id, l.String())
	case err != nil:
		return "", err
	case !strings.EqualFold(p.manifest.Name, id):
		return "", fault.New("E0111", "package %s calls itself %q in its %s", id, p.manifest.Name, ManifestName).
			WithHint("name: %s", id)
	}
	own, err := ParseLocator(p.manifest.Name)
	p.id = own.ID()
	p.directories[own.Repository()] = root.Name()
	return mainFile, err
}

// asCompose makes the package one that is a compose file, where the directory has
// one, and gives its main file; without one, the error stays.
func (p *Package) asCompose(root *os.Root, dir, mainFile string, err error) (string, error) {
	found := composeFile(root, dir)
	if found == "" {
		return mainFile, err
	}
	p.compose = true
	if mainFile == "" {
		mainFile = found
	}
	return mainFile, nil
}

func newPackage(options []Option) *Package {
	p := &Package{
		composeID:   ComposeID,
		directories: map[string]string{},
		sent:        map[string]string{},
		inPlace:     map[string]bool{},
		replaced:    map[string]Locator{},
		names:       map[string]string{},
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

func (p *Package) setMain(root, sub, mainFile string) error {
	if mainFile == "" {
		mainFile = DefaultMain
	}
	inside := strings.TrimPrefix(path.Clean("/"+filepath.ToSlash(mainFile)), "/")
	p.main = File{Name: path.Join(p.id, inside), Dir: root, Path: path.Join(sub, inside)}
	if info, err := stat(p.main); isEscape(err) {
		return fault.New("E0117", "the main file %q of package %s leads out of it", inside, p.id).
			WithHint("a symbolic link may not point outside its package")
	} else if err != nil || info.IsDir() {
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

// Fetched gives, for each repository of others that code was read from and that
// was fetched, its directory on this machine: of its versions the default one, if it was, or
// the first by name.
func (p *Package) Fetched() map[string]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(p.fetched)) {
		repository, _, _ := strings.Cut(key, "@")
		if _, known := out[repository]; !known && p.used[repository] {
			out[repository] = p.fetched[key]
		}
	}
	return out
}

func (p *Package) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Contains(p.warnings, text) {
		p.warnings = append(p.warnings, text)
	}
}
