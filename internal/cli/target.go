package cli

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/source"
)

// This file finds out what the TARGET of run and plan is.

// The faults of a target.
const (
	CodeNoTarget = "E0806" // nothing that can be run is there
	CodeRemote   = "E0807" // a package that is not on this machine
)

// scriptLimit bounds the size of a script, in bytes.
const scriptLimit = 16 << 20

// A target is what is to be run: a script's text, or a package's directory.
type target struct {
	script, name string // name is the script's path as the user typed it
	dir          string // absolute
}

// resolveTarget reads the TARGET argument: a .star file, a package's directory or
// its kurtosis.yml, or - for a script on stdin.
func resolveTarget(text string, stdin io.Reader) (target, error) {
	if text == "-" {
		return readScript("stdin.star", stdin)
	}
	info, err := os.Stat(text)
	switch {
	case err != nil && source.IsAbsolute(text):
		return target{}, fault.New(CodeRemote, "package %q is not on this machine", text).
			WithHint("clone it and give its directory: git clone https://%s", repository(text))
	case errors.Is(err, fs.ErrNotExist):
		return target{}, fault.New(CodeNoTarget, "%q: no such file or directory", text).
			WithHint("a target is a .star file, or a directory with a kurtosis.yml")
	case err != nil:
		return target{}, fault.New(CodeNoTarget, "target: %w", err)
	case info.IsDir():
		return packageTarget(text)
	case filepath.Base(text) == "kurtosis.yml":
		return packageTarget(filepath.Dir(text))
	case filepath.Ext(text) != ".star":
		return target{}, fault.New(CodeNoTarget, "%q is no script: its name does not end in .star", text)
	}
	file, err := os.Open(text)
	if err != nil {
		return target{}, fault.New(CodeNoTarget, "script: %w", err)
	}
	defer file.Close()
	return readScript(text, file)
}

func packageTarget(dir string) (target, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return target{}, fault.New(CodeNoTarget, "package %q: %w", dir, err)
	}
	return target{dir: abs}, nil
}

func readScript(name string, r io.Reader) (target, error) {
	text, err := io.ReadAll(io.LimitReader(r, scriptLimit+1))
	switch {
	case err != nil:
		return target{}, fault.New(CodeNoTarget, "script %q: %w", name, err)
	case len(text) > scriptLimit:
		return target{}, fault.New(CodeNoTarget, "script %q is larger than %d bytes", name, scriptLimit)
	}
	return target{script: string(text), name: name}, nil
}

// open gives the target as a package, for a plan made by this process.
func (t target) open(mainFile string) (*source.Package, error) {
	if t.dir == "" {
		return source.OpenScript(t.name, t.script), nil
	}
	return source.OpenDir(t.dir, mainFile)
}

// repository gives the part of a locator that git can clone.
func repository(locator string) string {
	locator, _, _ = strings.Cut(locator, "@")
	parts := strings.Split(locator, "/")
	return strings.Join(parts[:min(3, len(parts))], "/")
}
