package types

import (
	"errors"
	"fmt"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/lang"
)

// Directory is a directory of a service: files artifacts, or one that persists.
type Directory struct {
	_             struct{} `doc:"A directory of a service: either files artifacts, merged, or one that outlives the service."`
	ArtifactNames []string `star:"artifact_names,?,deep" check:"nonempty-items" doc:"names of files artifacts; where they have a path in common, the last one's file is seen"`
	PersistentKey string   `star:"persistent_key,?" check:"nonempty" doc:"key of a directory of the enclave that outlives the service"`
	Size          *uint64  `star:"size,?" check:"min=1" doc:"megabytes for a persistent directory, where the backend needs a size"`
}

// Validate checks that exactly one source is set.
func (d *Directory) Validate() error {
	named, persistent := d.ArtifactNames != nil, d.PersistentKey != ""
	switch {
	case named && persistent:
		return errors.New("has both artifact_names and persistent_key; give one of them")
	case !named && !persistent:
		return errors.New("needs artifact_names or persistent_key")
	}
	return nil
}

// Files is what is mounted at a path: a Directory, or the name of one artifact.
type Files struct{ Directory Directory }

// Wants names what is taken.
func (*Files) Wants() string { return "artifact name or Directory" }

// UnpackStar reads it.
func (f *Files) UnpackStar(v starlark.Value) error {
	if name, ok := starlark.AsString(v); ok {
		f.Directory.ArtifactNames = []string{name}
		return nil
	}
	if !lang.Is[Directory](v) {
		return fmt.Errorf("must be an artifact's name or a Directory, not %s", lang.Describe(v))
	}
	d, err := lang.As[Directory](v)
	if err != nil {
		return err
	}
	f.Directory = *d
	return nil
}

func (f Files) mount(path string) enclave.FileMount {
	mount := enclave.FileMount{Path: path, Artifacts: f.Directory.ArtifactNames, PersistentKey: f.Directory.PersistentKey}
	if f.Directory.Size != nil {
		mount.SizeMB = *f.Directory.Size
	}
	return mount
}
