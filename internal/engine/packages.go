package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/source"
)

// This file keeps the packages that clients upload, per enclave, and opens
// packages for runs.

// CodeBadPackage is the code of a package that can't be opened.
const CodeBadPackage = "E0708"

// Spool is a directory for files on their way in. It is emptied at every start.
func (e *Engine) Spool() string { return filepath.Join(e.config.Home, "tmp") }

// packageDir gives the folder of an uploaded package. Ids are of any form and
// length, so their hash is the name, and the id itself lies in the folder. Each
// upload makes a folder in it, named in the file "current" once it is whole.
func (e *Engine) packageDir(in *enclave.Enclave, id string) string {
	sum := sha256.Sum256([]byte(id))
	return filepath.Join(e.packagesOf(in.UUID()), hex.EncodeToString(sum[:16]))
}

// StorePackage unpacks an uploaded package's archive, replacing the one of that
// id in the enclave, in one step.
func (e *Engine) StorePackage(ctx context.Context, in *enclave.Enclave, id string, archive io.Reader) error {
	if id == "" {
		return fmt.Errorf("uploaded package: it has no id: %w", fault.ErrInvalid)
	}
	dir := e.packageDir(in, id)
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "id"), []byte(id), 0o600)
	}
	room, roomErr := Room(dir)
	err = errors.Join(err, roomErr)
	var fresh string
	if err == nil {
		fresh, err = os.MkdirTemp(dir, "tree-")
	}
	if err != nil {
		return fmt.Errorf("uploaded package %q: %w", id, err)
	}
	err = source.Unpack(ctx, archive, fresh, room)
	if err == nil {
		err = e.switchTo(in, dir, filepath.Base(fresh))
	}
	if err != nil {
		return errors.Join(fault.From(fmt.Errorf("uploaded package %q: %w", id, err), CodeBadPackage), os.RemoveAll(fresh))
	}
	return nil
}

// switchTo makes an unpacked tree the package's, and removes the others unless a
// run may still read one.
func (e *Engine) switchTo(in *enclave.Enclave, dir, tree string) error {
	e.packages.Lock()
	defer e.packages.Unlock()
	next := filepath.Join(dir, "next")
	if err := os.WriteFile(next, []byte(tree), 0o600); err != nil {
		return err
	}
	if err := os.Rename(next, filepath.Join(dir, "current")); err != nil {
		return err
	}
	if len(e.runner.Live(in.UUID())) > 0 {
		return nil
	}
	old, err := fs.Glob(os.DirFS(dir), "tree-*")
	for _, name := range old {
		if name != tree {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, name)))
		}
	}
	return err
}

// UploadedPackage opens a package that was uploaded to the enclave. Clients upload
// along what its manifest replaces by a path; other packages that were uploaded
// there have no part in it.
func (e *Engine) UploadedPackage(in *enclave.Enclave, id, mainFile string, from Origin) (*source.Package, error) {
	fetcher, err := e.fetcher(from)
	if err != nil {
		return nil, err
	}
	e.packages.Lock()
	defer e.packages.Unlock()
	uploaded, err := uploads(e.packagesOf(in.UUID()))
	if err != nil {
		return nil, fmt.Errorf("uploaded packages: %w", err)
	}
	dir, ok := uploaded[id]
	if !ok {
		f := fault.New(CodeBadPackage, "package %q has not been uploaded to enclave %q", id, in.Name())
		f.Cause = fault.ErrNotFound
		return nil, f
	}
	options := []source.Option{source.WithoutLocalReplace(), source.WithFetcher(fetcher), source.WithComposeID(id)}
	for otherID, other := range uploaded {
		if otherID != id {
			options = append(options, source.WithSent(otherID, other))
		}
	}
	return source.OpenDir(dir, mainFile, options...)
}

// uploads gives the trees of uploaded packages by id.
func uploads(folder string) (map[string]string, error) {
	found := map[string]string{}
	entries, err := os.ReadDir(folder)
	if errors.Is(err, os.ErrNotExist) {
		return found, nil
	}
	for _, entry := range entries {
		dir := filepath.Join(folder, entry.Name())
		id, idErr := os.ReadFile(filepath.Join(dir, "id"))
		tree, treeErr := os.ReadFile(filepath.Join(dir, "current"))
		if idErr == nil && treeErr == nil { // else it never arrived whole
			found[string(id)] = filepath.Join(dir, string(tree))
		}
	}
	return found, err
}

// LocalPackage opens a package in a directory of this host.
func (e *Engine) LocalPackage(dir, mainFile string, from Origin) (*source.Package, error) {
	if !filepath.IsAbs(dir) {
		return nil, fault.New(CodeBadPackage, "package directory %q is not absolute: %w", dir, fault.ErrInvalid)
	}
	fetcher, err := e.fetcher(from)
	if err != nil {
		return nil, err
	}
	return source.OpenDir(dir, mainFile, source.WithFetcher(fetcher))
}

// ScriptPackage makes a package of a lone script.
func (e *Engine) ScriptPackage(name, text string, from Origin) (*source.Package, error) {
	fetcher, err := e.fetcher(from)
	if err != nil {
		return nil, err
	}
	return source.OpenScript(name, text, source.WithFetcher(fetcher)), nil
}

// RemotePackage fetches a package and opens it. A token, if there is one, is for
// GitHub.
func (e *Engine) RemotePackage(ctx context.Context, locator, mainFile, token string, from Origin) (*source.Package, error) {
	if token != "" {
		from.GitEnv = append(from.GitEnv, source.GitToken(token)...)
	}
	fetcher, err := e.fetcher(from)
	if err != nil {
		return nil, err
	}
	return source.OpenRemote(ctx, locator, mainFile, fetcher)
}

// Origin says where a run's packages of others come from.
type Origin struct {
	// Mirror is a directory, absolute; the one in this engine's environment if
	// empty. With neither, git fetches packages.
	Mirror string
	GitEnv []string // variables over this engine's own, for git
}

func (e *Engine) fetcher(from Origin) (source.Fetcher, error) {
	mirror := from.Mirror
	if mirror == "" {
		mirror = os.Getenv(source.MirrorVariable)
	}
	if mirror != "" && !filepath.IsAbs(mirror) {
		return nil, fault.New(CodeBadPackage, "package mirror %q is not absolute: %w", mirror, fault.ErrInvalid)
	}
	return source.NewFetcher(mirror, filepath.Join(e.config.Home, "git"), source.GitEnvironment(from.GitEnv)), nil
}
