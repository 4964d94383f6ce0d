package types

import (
	"fmt"
	"path"
	"path/filepath"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/lang"
)

// This file defines the image of a service in all its forms.

// ImageSpec is an image with credentials of its registry.
type ImageSpec struct {
	_        struct{} `doc:"An image of a registry that asks for credentials."`
	Image    string   `star:"image" check:"nonempty" doc:"the image's reference"`
	Registry string   `star:"registry,?" check:"nonempty" doc:"the registry's address"`
	Username string   `star:"username,?" check:"nonempty" doc:"who logs in there"`
	Password string   `star:"password,?,secret" check:"nonempty" doc:"with what"`
}

// ImageBuildSpec is an image to be built from a Dockerfile.
type ImageBuildSpec struct {
	_          struct{}          `doc:"An image to be built from a Dockerfile of the package."`
	ImageName  string            `star:"image_name" check:"nonempty" doc:"the name the image gets"`
	ContextDir string            `star:"build_context_dir" check:"nonempty" doc:"locator of the directory to build in"`
	BuildFile  string            `star:"build_file,?" check:"nonempty" doc:"path of the Dockerfile in it; the directory that holds it is what the build sees"`
	Target     string            `star:"target_stage,?" check:"nonempty" doc:"the stage to build; the last if not given"`
	Args       map[string]string `star:"build_args,?" doc:"values of the Dockerfile's ARGs"`
}

// NixBuildSpec is an image to be built with Nix.
type NixBuildSpec struct {
	_          struct{} `doc:"An image to be built with Nix. Plans may have it, but no backend builds it."`
	FlakeDir   string   `star:"flake_location_dir" check:"nonempty" doc:"directory of the flake.nix, in the context"`
	ContextDir string   `star:"build_context_dir" check:"nonempty" doc:"locator of the directory to build in"`
	ImageName  string   `star:"image_name" check:"nonempty" doc:"the name the image gets"`
	Output     string   `star:"flake_output,?" check:"nonempty" doc:"the flake's output"`
}

// Image is the image of a service, in one of its forms.
type Image struct {
	Ref   string
	Spec  *ImageSpec
	Build *ImageBuildSpec
	Nix   *NixBuildSpec
}

// Wants names what is taken.
func (*Image) Wants() string { return "string, ImageSpec, ImageBuildSpec or NixBuildSpec" }

// UnpackStar reads it.
func (i *Image) UnpackStar(v starlark.Value) (err error) {
	if ref, ok := starlark.AsString(v); ok {
		i.Ref = ref
		return nil
	}
	switch {
	case lang.Is[ImageSpec](v):
		i.Spec, err = lang.As[ImageSpec](v)
	case lang.Is[ImageBuildSpec](v):
		i.Build, err = lang.As[ImageBuildSpec](v)
	case lang.Is[NixBuildSpec](v):
		i.Nix, err = lang.As[NixBuildSpec](v)
	default:
		err = fmt.Errorf("must be an image's reference or an image spec, not %s", lang.Describe(v))
	}
	return err
}

// Name gives the image's reference, or the name that a build gives it.
func (i Image) Name() string {
	switch {
	case i.Spec != nil:
		return i.Spec.Image
	case i.Build != nil:
		return i.Build.ImageName
	case i.Nix != nil:
		return i.Nix.ImageName
	}
	return i.Ref
}

// Resolve gives the image as the enclave is asked for it. The directory of a
// build is located, in the code of the call.
func (i Image) Resolve(c *lang.Call) (enclave.Image, error) {
	switch {
	case i.Spec != nil:
		return enclave.Image{
			Ref: i.Spec.Image, Registry: i.Spec.Registry,
			Username: i.Spec.Username, Password: backend.Secret(i.Spec.Password),
		}, nil
	case i.Build != nil:
		build, err := i.Build.resolve(c)
		return enclave.Image{Ref: i.Build.ImageName, Build: build}, err
	case i.Nix != nil:
		return i.Nix.resolve(c)
	}
	return enclave.Image{Ref: i.Ref}, nil
}

// defaultBuildFile is the Dockerfile's path where none is given.
const defaultBuildFile = "Dockerfile"

// resolve locates the Dockerfile. The directory that holds it is the context
// (starlark spec §3.6).
func (b *ImageBuildSpec) resolve(c *lang.Call) (*enclave.Build, error) {
	dir, err := c.LocateInPackage(b.ContextDir)
	if err != nil {
		return nil, err
	}
	file := b.BuildFile
	if file == "" {
		file = defaultBuildFile
	}
	located, err := c.LocateIn(dir, file)
	if err != nil {
		return nil, fault.New("E0114", "image %q: the build context %q has no build file %q", b.ImageName, b.ContextDir, file).
			WithHint("build_file is relative to build_context_dir")
	}
	return &enclave.Build{
		Locator:    b.ContextDir,
		ContextDir: filepath.Dir(located.HostPath()),
		Dockerfile: filepath.Base(located.HostPath()),
		Target:     b.Target,
		Args:       b.Args,
	}, nil
}

// resolve locates the flake. What it gives is refused in validation: no backend
// builds it.
func (n *NixBuildSpec) resolve(c *lang.Call) (enclave.Image, error) {
	if c.InScript() {
		return enclave.Image{}, fault.New("E0213", "the image %q asks for a build with Nix, which a standalone script can't", n.ImageName).
			WithHint("make a package of it: a directory with a kurtosis.yml")
	}
	dir, err := c.Locate(n.ContextDir)
	if err != nil {
		return enclave.Image{}, err
	}
	const flake = "flake.nix"
	if _, err := c.LocateIn(dir, path.Join(n.FlakeDir, flake)); err != nil {
		return enclave.Image{}, fault.New("E0114", "image %q: the directory %q of the build context %q has no %s", n.ImageName, n.FlakeDir, n.ContextDir, flake)
	}
	return enclave.Image{Ref: n.ImageName, Nix: true}, nil
}
