package source

import (
	"path"
	"path/filepath"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file takes packages in place of others, as a kurtosis.yml says.

// addReplacements takes what the manifest replaces, of a package that lies at a
// path below a directory.
func (p *Package) addReplacements(root, sub string) error {
	for id, value := range p.manifest.Replace {
		var err error
		sent, wasSent := p.sent[id]
		switch {
		case wasSent && isLocalPath(value):
			p.directories[id] = sent
		case !isLocalPath(value):
			p.replaced[id], err = ParseLocator(value)
		case p.remote:
			p.addInside(root, sub, id, value)
		default:
			err = p.addDirectory(root, id, value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// addDirectory takes a directory of this machine in place of a package.
func (p *Package) addDirectory(root, id, value string) error {
	target := filepath.FromSlash(value)
	if !filepath.IsAbs(target) {
		target = filepath.Join(root, target)
	}
	if !isDir(target) {
		return fault.New("E0114", "package %s replaces %s by %q: no such directory", p.id, id, value)
	}
	p.directories[id] = target
	p.inPlace[target] = true
	return nil
}

// addInside takes a directory of the package's own tree in place of another
// package. Any other path is one of its author's machine; the package itself is
// used then.
func (p *Package) addInside(root, sub, id, value string) {
	file := File{Dir: root, Path: path.Join(sub, value)}
	if info, err := stat(file); err == nil && info.IsDir() && !path.IsAbs(value) {
		p.directories[id] = file.HostPath()
		return
	}
	p.warn("package %s replaces %s by the path %q, which is not here; %s itself is used", p.id, id, value, id)
}
