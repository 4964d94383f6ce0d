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

// CodeNoTarget is the fault of a target that is nothing that can be run.
const CodeNoTarget = "E0806"

// scriptLimit bounds the size of a script, in bytes.
const scriptLimit = 16 << 20

// stdinName is the name of a script that is read from stdin.
const stdinName = "stdin.star"

// A target is what is to be run: a script's text, a package's directory or its
// locator.
type target struct {
	script, name string // name is the script's path as the user typed it
	dir          string // absolute
	locator      string // of a package in a repository
}

func (t target) isScript() bool { return t.dir == "" && t.locator == "" }

// resolveTarget reads the TARGET argument: a .star file, a package's directory or
// its kurtosis.yml, a locator of a package in a repository, or - for a script on
// stdin.
func resolveTarget(text string, stdin io.Reader) (target, error) {
	if text == "-" {
		return readScript(stdinName, stdin)
	}
	if source.IsAbsolute(text) || strings.Contains(text, "://") {
		_, err := source.ParseLocator(text)
		return target{locator: text}, err
	}
	info, err := os.Stat(text)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f := fault.New(CodeNoTarget, "%q: no such file or directory", text)
		if hint := source.AddressHint(text); hint != "" {
			return target{}, f.WithHint("%s", hint)
		}
		return target{}, f.WithHint("a target is a .star file, a directory with a kurtosis.yml, or github.com/<author>/<repo>")
	case err != nil:
		return target{}, fault.New(CodeNoTarget, "target: %w", err)
	case info.IsDir():
		return packageTarget(text)
	case filepath.Base(text) == "kurtosis.yml":
		return packageTarget(filepath.Dir(text))
	case filepath.Ext(text) != ".star":
		f := fault.New(CodeNoTarget, "%q is no script: its name does not end in .star", text)
		if ext := filepath.Ext(text); ext == ".yml" || ext == ".yaml" {
			f.WithHint("to run a compose file, give its directory: lepto run %s --main-file %s", filepath.Dir(text), filepath.Base(text))
		}
		return target{}, f
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
