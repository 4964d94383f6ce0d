package instruction

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/artifact"
	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/plan"
	"github.com/lepto-dev/lepto/internal/source"
)

// uploadFilesArgs are the parameters of plan.upload_files.
type uploadFilesArgs struct {
	_      struct{} `doc:"Makes a files artifact of a file or directory of a package, or of what a URL gives. Gives the artifact's name."`
	Source string   `star:"src,repr" check:"nonempty" doc:"locator of a file or directory, or an http or https URL; of a directory, what is in it is stored"`
	Name   string   `star:"name,?,repr" doc:"the artifact's name; made up if not given"`
}

func buildUploadFiles(c *lang.Call, a *uploadFilesArgs) (plan.Step, starlark.Value, error) {
	step := &uploadFiles{source: a.Source}
	shown := a.Source
	if web := artifact.WebAddress(a.Source); web != nil {
		step.web = web
		shown = artifact.ShownAddress(web)
	} else {
		file, err := c.Locate(a.Source)
		if err != nil {
			return nil, nil, err
		}
		step.file = file
		if step.above, err = c.IgnoredIn(file); err != nil {
			return nil, nil, err
		}
	}
	step.name = c.ArtifactName(a.Name)
	step.call = c.Plan("Uploading file '%s' to files artifact '%s'", shown, step.name)
	return step, starlark.String(step.name), nil
}

// uploadFiles makes an artifact of files of a package, or of a URL.
type uploadFiles struct {
	called
	file   source.File
	above  artifact.Ignore // what its package leaves out
	web    *url.URL        // nil: file is uploaded
	name   string
	source string         // as the script has it
	tree   *artifact.Tree // what the URL gave, once it was asked
}

// Outline shows the artifact.
func (s *uploadFiles) Outline(o *plan.Outline) { o.AddArtifact(s.name, s.source) }

// Effects: it makes the artifact.
func (s *uploadFiles) Effects() plan.Effects {
	return plan.Effects{Writes: []plan.Key{plan.ArtifactKey(s.name)}, Unread: true}
}

// Validate checks that no other step makes the artifact.
func (s *uploadFiles) Validate(f *plan.Forecast) []error { return one(f.AddArtifact(s.name)) }

// Fetch gets what the URL gives: one that gives nothing is to be known before
// anything runs, and what it gives decides what a re-run does.
func (s *uploadFiles) Fetch(ctx context.Context, e *enclave.Enclave, progress func(string)) (func(), error) {
	if s.web == nil {
		return nil, nil
	}
	tree, release, err := e.Stage(ctx, s.name, enclave.StoreOptions{Progress: progress}, func(b *artifact.Builder) error {
		return s.download(ctx, b)
	})
	if err != nil {
		return nil, err
	}
	s.tree = &tree
	return release, nil
}

// Execute stores the files.
func (s *uploadFiles) Execute(ctx context.Context, x *plan.Execution) (plan.Outcome, error) {
	var made enclave.Artifact
	var change enclave.Change
	var err error
	if s.web != nil {
		made, change, err = x.Enclave.StoreStaged(ctx, s.name, *s.tree)
	} else {
		made, change, err = x.Enclave.StoreArtifact(ctx, s.name, enclave.StoreOptions{Progress: x.Progress}, s.copyFiles)
	}
	if err != nil {
		return plan.Outcome{}, err
	}
	return plan.Outcome{Text: fmt.Sprintf(uploadTexts[change], made.Name, made.UUID)}, nil
}

// uploadTexts are the results (starlark spec §2.15).
var uploadTexts = map[enclave.Change]string{
	enclave.Created:   "Files with artifact name '%s' uploaded with artifact UUID '%s'",
	enclave.Updated:   "Files with artifact name '%s' with artifact UUID '%s' updated",
	enclave.Unchanged: "Files with artifact name '%s' resolved with artifact UUID '%s' as content were matching",
}

// copyFiles copies the package's files.
func (s *uploadFiles) copyFiles(b *artifact.Builder) error {
	root, err := os.OpenRoot(s.file.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return b.Copy(root, s.file.Path, s.above)
}

// download stores what the URL gives, as it is.
func (s *uploadFiles) download(ctx context.Context, b *artifact.Builder) error {
	content, err := artifact.Fetch(ctx, s.web)
	if err != nil {
		return err
	}
	defer content.Close()
	return b.File(artifact.WebName(s.web), func(w io.Writer) error {
		_, err := io.Copy(w, content)
		return err
	})
}
