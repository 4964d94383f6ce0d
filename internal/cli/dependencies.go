//go:build !front

package cli

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/lepto-dev/lepto/internal/api/client"
	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/source"
	"github.com/lepto-dev/lepto/internal/ui"
)

// This file tells what a script or package needs from elsewhere, and brings it
// here: run --dependencies [--pull].

// CodeNoCopy is the fault of a package that can't be copied beside this one.
const CodeNoCopy = "E0815"

// dependenciesJSON is the document of run --dependencies -o json.
type dependenciesJSON struct {
	Images   []string `json:"images"`
	Packages []string `json:"packages"`
}

// showDependencies lists images and packages, and runs nothing.
func (o *runOptions) showDependencies(ctx context.Context, d *deps, what target, argsJSON string) error {
	planned, pkg := o.plan(ctx, d, what, argsJSON)
	if len(planned.Problems) > 0 {
		transcript := ui.NewTranscript(d.term, ui.Description)
		for _, event := range planEvents(planned, time.Now().UTC()) {
			if event.Error != nil {
				if err := d.print("%s", strings.TrimSpace(transcript.Text(event))); err != nil {
					return err
				}
			}
		}
		return silent(exitFailure)
	}
	images := map[string]enclave.Image{}
	for _, image := range planned.Images {
		images[image.Ref] = image
	}
	doc := dependenciesJSON{Images: emptyNotNull(slices.Sorted(maps.Keys(images))), Packages: emptyNotNull(planned.Plan.Packages)}
	if err := o.writeDependencies(d, doc); err != nil || !o.pull {
		return err
	}
	return errors.Join(pullImages(ctx, d, images), copyPackages(d, pkg.Fetched()))
}

func (o *runOptions) writeDependencies(d *deps, doc dependenciesJSON) error {
	if o.output.json() {
		return d.json(doc)
	}
	lines := append([]string{"Images:"}, indented(doc.Images)...)
	lines = append(append(lines, "Packages:"), indented(doc.Packages)...)
	return d.print("%s", strings.Join(lines, "\n"))
}

func indented(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = " " + name
	}
	return out
}

// pullImages brings images here that are not built.
func pullImages(ctx context.Context, d *deps, images map[string]enclave.Image) error {
	return d.with(ctx, func(c *client.Client) error {
		return forAll(slices.Sorted(maps.Keys(images)), func(ref string) error {
			image := images[ref]
			if image.Build != nil {
				return nil
			}
			line := d.statusLine()
			defer line.Close()
			_, err := c.PullImage(ctx, backend.ImageRequest{
				Ref: ref, Policy: backend.PullMissing, Registry: image.Registry, Username: image.Username, Password: image.Password,
			}, line.Progress)
			if err != nil {
				return named(ref, err)
			}
			return nil
		})
	})
}

// copyPackages puts packages of others beside the working directory, and has the
// kurtosis.yml there replace them, unless it replaces something already.
func copyPackages(d *deps, trees map[string]string) error {
	if _, err := source.ReadManifest("."); err != nil || len(trees) == 0 {
		return err
	}
	var block strings.Builder
	block.WriteString("replace:\n")
	for _, repository := range slices.Sorted(maps.Keys(trees)) {
		beside := path.Join("..", path.Base(repository))
		if err := copyPackage(d, trees[repository], beside); err != nil {
			return fault.New(CodeNoCopy, "copy package %s to %s: %w", repository, beside, err)
		}
		block.WriteString("  " + repository + ": " + beside + "\n")
	}
	text, err := os.ReadFile(source.ManifestName)
	if err != nil {
		return fault.New(CodeNoCopy, "%w", err)
	}
	rest := emptyReplace.ReplaceAllString(strings.TrimRight(string(text), "\n")+"\n", "")
	if strings.HasPrefix(rest, "replace:") || strings.Contains(rest, "\nreplace:") {
		d.say("%s replaces packages already. To use the copies, add to it:\n%s", source.ManifestName, block.String())
		return nil
	}
	if err := os.WriteFile(source.ManifestName, []byte(rest+block.String()), 0o644); err != nil {
		return fault.New(CodeNoCopy, "%w", err)
	}
	return nil
}

// emptyReplace is a replace of kurtosis.yml that replaces nothing.
var emptyReplace = regexp.MustCompile(`(?m)^replace:[ \t]*(\{[ \t]*\}|~|null)[ \t]*\n`)

func copyPackage(d *deps, from, to string) error {
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		d.say("%s is there already and stays as it is", to)
		return err
	}
	return os.CopyFS(filepath.FromSlash(to), os.DirFS(from))
}
