package source

import (
	"context"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/lepto-dev/lepto/internal/source/composer"
)

// This file knows compose files: they are code, once turned into Starlark, and a
// directory that has one and no kurtosis.yml is a package (starlark spec §6.9).

// ComposeID is the id of a package on disk that has a compose file and no
// kurtosis.yml.
const ComposeID = host + "/NOTIONAL_USER/USER_UPLOADED_COMPOSE_PACKAGE"

// composeNames are the names of compose files, in the order in which they are
// looked for.
var composeNames = []string{
	"compose.yml", "compose.yaml", "docker-compose.yml", "docker-compose.yaml", "docker_compose.yml", "docker_compose.yaml",
}

// composeFile gives the name of the compose file in a directory below a root;
// empty if there is none.
func composeFile(root *os.Root, dir string) string {
	for _, name := range composeNames {
		if info, err := root.Stat(filepath.FromSlash(path.Join(dir, name))); err == nil && info.Mode().IsRegular() {
			return name
		}
	}
	return ""
}

// isCompose reports whether a file of code is a compose file: by its name, or as
// the main file of a package that is one.
func (p *Package) isCompose(file File) bool {
	return slices.Contains(composeNames, path.Base(file.Path)) || p.compose && file == p.main
}

// code gives the text of a file of code.
func (p *Package) code(ctx context.Context, file File) (string, error) {
	if p.isCompose(file) {
		text, remarks, err := composer.Starlark(ctx, file.Dir, file.Path)
		of := ""
		if l, locatorErr := ParseLocator(file.Name); locatorErr == nil && !p.owns(file.Name) {
			of = l.Repository() + "/" // of another package
		}
		for _, remark := range remarks {
			p.warn("%s%s", of, remark)
		}
		return text, err
	}
	return p.ReadText(file)
}
