package instruction

import (
	"context"
	"fmt"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/plan"
)

// storeServiceFilesArgs are the parameters of plan.store_service_files.
type storeServiceFilesArgs struct {
	_         struct{} `doc:"Copies a file or a directory of a service into a files artifact. Gives the artifact's name."`
	Service   string   `star:"service_name,repr" doc:"the service"`
	Source    string   `star:"src,repr" doc:"path in the service: a file is stored under its own name, of a directory (/d, /d/ or /d/*) what is in it"`
	Name      string   `star:"name,?,repr" doc:"the artifact's name; made up if not given"`
	DependsOn string   `star:"depends_on,?" doc:"a text with values of instructions that must be executed before"`
}

func buildStoreServiceFiles(c *lang.Call, a *storeServiceFilesArgs) (plan.Step, starlark.Value, error) {
	name := c.ArtifactName(a.Name)
	call := c.Plan("Storing files from service '%s' at path '%s' to files artifact with name '%s'", a.Service, a.Source, name)
	return &storeServiceFiles{called{call}, a.Service, a.Source, name, a.DependsOn}, starlark.String(name), nil
}

// storeServiceFiles makes an artifact of what is in a service.
type storeServiceFiles struct {
	called
	service, path string
	name          string
	dependsOn     string
}

// Outline shows the artifact.
func (s *storeServiceFiles) Outline(o *plan.Outline) { o.AddArtifact(s.name, s.path) }

// Effects: it reads the service, as it is after all that was done to it before,
// and makes the artifact.
func (s *storeServiceFiles) Effects() plan.Effects {
	return plan.Effects{
		Reads:  append(plan.ReferenceKeys(s.dependsOn), plan.ServiceKey(s.service)),
		Writes: []plan.Key{plan.ArtifactKey(s.name)},
		Unread: true,
	}
}

// Validate checks that the service is there, and that no other step makes the
// artifact.
func (s *storeServiceFiles) Validate(f *plan.Forecast) []error {
	_, err := f.Service(s.service)
	return append(one(err), one(f.AddArtifact(s.name))...)
}

// Execute copies the files.
func (s *storeServiceFiles) Execute(ctx context.Context, x *plan.Execution) (plan.Outcome, error) {
	made, _, err := x.Enclave.StoreServiceFiles(ctx, s.service, s.path, s.name, enclave.StoreOptions{Progress: x.Progress})
	if err != nil {
		return plan.Outcome{}, err
	}
	return plan.Outcome{Text: fmt.Sprintf(uploadTexts[enclave.Created], made.Name, made.UUID)}, nil
}
