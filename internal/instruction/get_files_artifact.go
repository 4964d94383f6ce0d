package instruction

import (
	"context"
	"fmt"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/plan"
)

// getFilesArtifactArgs are the parameters of plan.get_files_artifact.
type getFilesArtifactArgs struct {
	_    struct{} `doc:"Gives a files artifact that this plan or an earlier run made. The plan is refused if there is none of that name."`
	Name string   `star:"name,repr" check:"nonempty" doc:"the artifact"`
}

func buildGetFilesArtifact(c *lang.Call, a *getFilesArtifactArgs) (plan.Step, starlark.Value, error) {
	call := c.Plan("Fetching files artifact '%s'", a.Name)
	return &getFilesArtifact{called{call}, a.Name}, starlark.String(a.Name), nil
}

// getFilesArtifact only checks that an artifact is there.
type getFilesArtifact struct {
	called
	name string
}

// Effects: it reads the artifact.
func (s *getFilesArtifact) Effects() plan.Effects {
	return plan.Effects{Reads: []plan.Key{plan.ArtifactKey(s.name)}}
}

// Validate checks that the artifact is there.
func (s *getFilesArtifact) Validate(f *plan.Forecast) []error { return one(f.Artifact(s.name)) }

// Execute tells so.
func (s *getFilesArtifact) Execute(context.Context, *plan.Execution) (plan.Outcome, error) {
	return plan.Outcome{Text: fmt.Sprintf("Fetched files artifact '%s'", s.name)}, nil
}
