package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/source"
)

// This file compares the plans of public packages with recorded ones, of which
// hashes are kept only: the packages themselves are not ours to keep.

// A PackageCase is one line of a file of packages.
type PackageCase struct {
	Package  string   `json:"package"`   // github.com/<author>/<repo>
	Commit   string   `json:"commit"`    // of it
	Subdir   string   `json:"subdir"`    // of the repository, where the package lies
	ArgsFile string   `json:"args_file"` // from the repository's root
	MainFile string   `json:"main_file"`
	Imports  []string `json:"imports"` // what else was there: <author>/<repo>[@<commit>], perhaps with a remark

	Status       string      `json:"status"`
	Instructions [][4]string `json:"instructions"` // name, position, hash of the call's text, hash of its description
	Output       string      `json:"output"`       // hash
	PlanYAML     string      `json:"plan_yaml"`    // hash
	Error        string      `json:"error"`
}

func (c PackageCase) name() string {
	name := path.Join(strings.TrimPrefix(c.Package, "github.com/"), c.Subdir)
	if c.ArgsFile != "" {
		name += " " + c.ArgsFile
	}
	return name
}

// comparePackages compares all packages of a file and prints what differs.
func comparePackages(ctx context.Context, out io.Writer, file, packages string) error {
	if packages == "" {
		return errors.New("PACKAGES_DIR names no directory: lay the packages out there as github.com/<author>/<repo>[@<commit>]")
	}
	cases, err := readLines[PackageCase](file)
	if err != nil {
		return err
	}
	passed, failed := 0, 0
	for _, c := range cases {
		if problems := c.problems(ctx, packages); len(problems) > 0 {
			failed++
			fmt.Fprintf(out, "FAIL %s\n\t%s\n", c.name(), strings.Join(problems, "\n\t"))
			continue
		}
		passed++
	}
	fmt.Fprintf(out, "%d passed, %d failed\n", passed, failed)
	if failed > 0 {
		return fmt.Errorf("%s: %d of %d packages fail", file, failed, len(cases))
	}
	return nil
}

// recorded is a mirror that has what was there when a package was recorded.
type recorded struct {
	mirror  source.Mirror
	imports []string
}

// Fetch gives a package that was there.
func (r recorded) Fetch(ctx context.Context, l source.Locator) (source.Tree, error) {
	if !slices.ContainsFunc(r.imports, func(name string) bool {
		name, remark, _ := strings.Cut(name, " ")
		if strings.Contains(remark, "MISSING") {
			return false
		}
		name, _, _ = strings.Cut(name, "@")
		return strings.EqualFold(name, l.Author+"/"+l.Repo)
	}) {
		return source.Tree{}, fault.New("E0116", "package %s was not there when this was recorded", l.Repository())
	}
	return r.mirror.Fetch(ctx, l)
}

// answer interprets and validates the package, as it lies in the directory of
// packages.
func (c PackageCase) answer(ctx context.Context, packages string) (Answer, error) {
	mirror := source.Mirror{Dir: packages}
	l, err := source.ParseLocator(c.Package + "@" + c.Commit)
	if err != nil {
		return Answer{}, err
	}
	tree, err := mirror.Fetch(ctx, l)
	if err != nil {
		return Answer{}, err
	}
	var in Input
	if c.ArgsFile != "" {
		text, err := os.ReadFile(filepath.Join(tree.Dir, filepath.FromSlash(c.ArgsFile)))
		if err != nil {
			return Answer{}, err
		}
		in.Args = string(text)
	}
	// The directory of the package was sent, nothing else of its repository.
	pkg, err := source.OpenDir(filepath.Join(tree.Dir, filepath.FromSlash(c.Subdir)), c.MainFile,
		source.WithFetcher(recorded{mirror, c.Imports}))
	w, worldErr := newWorld(in)
	if worldErr != nil {
		return Answer{}, worldErr
	}
	return newAsker().answer(ctx, in, w, pkg, err), nil
}

// problems tells how lepto's answer differs from the recorded one.
func (c PackageCase) problems(ctx context.Context, packages string) []string {
	got, err := c.answer(ctx, packages)
	if err != nil {
		return []string{err.Error()}
	}
	if got.Status != c.Status {
		return []string{fmt.Sprintf("status %s, recorded %s", got.Status, c.Status),
			"recorded error: " + indent(c.Error), "lepto's error: " + indent(got.Error+strings.Join(got.Errors, "\n"))}
	}
	if got.Status != statusOK {
		return nil
	}
	return c.compare(got)
}

// The kinds of text that are hashed, in this order.
func (c PackageCase) compare(got Answer) []string {
	var problems []string
	var r renumbering
	for i, step := range got.Plan.Steps {
		call := step.Call()
		text, description := r.text(call.Text), r.text(call.Description)
		r.text(got.Plan.Returned[call.ID]) // its numbers count
		if i >= len(c.Instructions) {
			problems = append(problems, fmt.Sprintf("instruction %d: %s %s is not recorded", i+1, call.At(), text))
			continue
		}
		want := c.Instructions[i]
		for _, part := range []struct{ what, got, hash, want string }{
			{"name", call.Name, call.Name, want[0]},
			{"position", call.At().String(), call.At().String(), want[1]},
			{"call", text, hash(text), want[2]},
			{"description", description, hash(description), want[3]},
		} {
			if part.hash != part.want {
				problems = append(problems, fmt.Sprintf("instruction %d, %s %s: the %s differs: %s", i+1, want[0], want[1], part.what, part.got))
			}
		}
	}
	if n := len(got.Plan.Steps); n < len(c.Instructions) {
		problems = append(problems, fmt.Sprintf("%d instructions, recorded %d", n, len(c.Instructions)))
	}
	if text := r.text(got.Plan.Output); hash(text) != c.Output {
		problems = append(problems, "the output differs: "+indent(text))
	}
	if text := r.text(got.PlanYAML); hash(text) != c.PlanYAML {
		problems = append(problems, "the plan YAML differs:\n\t"+indent(text))
	}
	const most = 10
	if len(problems) > most && os.Getenv("CONFORMANCE_ALL") == "" {
		problems = append(problems[:most], fmt.Sprintf("and %d more (CONFORMANCE_ALL=1 shows all)", len(problems)-most))
	}
	return problems
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])[:16]
}

func indent(text string) string { return strings.ReplaceAll(text, "\n", "\n\t") }
