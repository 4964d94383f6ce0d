package cli

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/api/client"
	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

type imageBuildOptions struct {
	tag, dockerfile, target string
	buildArgs               []string
	noCache                 bool
	output                  choice
}

func newImageBuild(d *deps) *cobra.Command {
	var o imageBuildOptions
	cmd := &cobra.Command{
		Use: "build DIR", Args: args(1, 1),
		Short:   "Build an image from a Dockerfile",
		Example: "  lepto image build --tag my-api:dev ./api",
		RunE:    func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), d, args[0]) },
	}
	o.addFlags(cmd)
	return cmd
}

func (o *imageBuildOptions) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&o.tag, "tag", "t", "", "the image's name (required)")
	flags.StringVarP(&o.dockerfile, "file", "f", "", "the Dockerfile; DIR/Dockerfile if empty")
	flags.StringVar(&o.target, "target", "", "the stage to build; the last one if empty")
	flags.StringArrayVar(&o.buildArgs, "build-arg", nil, "set an ARG: KEY=VALUE")
	flags.BoolVar(&o.noCache, "no-cache", false, "do not use layers built before")
	addOutput(cmd, &o.output)
}

func (o *imageBuildOptions) run(ctx context.Context, d *deps, dir string) error {
	spec, err := o.spec(d, dir)
	if err != nil {
		return err
	}
	return d.with(ctx, func(c *client.Client) error {
		line := d.statusLine()
		info, err := c.BuildImage(ctx, spec, line.Progress)
		line.Close()
		if err != nil {
			return err
		}
		return d.imageResult(info, o.output)
	})
}

func (o *imageBuildOptions) spec(d *deps, dir string) (backend.BuildSpec, error) {
	spec := backend.BuildSpec{Tag: o.tag, Target: o.target, NoCache: o.noCache}
	if o.tag == "" {
		return spec, usagef("--tag is required")
	}
	var err error
	if spec.ContextDir, err = filepath.Abs(dir); err != nil {
		return spec, fault.New(CodeNoFile, "build %s: %w", dir, err)
	}
	if o.dockerfile != "" {
		// As docker has it, the flag's path is relative to where the user is.
		file, err := filepath.Abs(o.dockerfile)
		if err != nil {
			return spec, fault.New(CodeNoFile, "build %s: %w", dir, err)
		}
		inside, err := filepath.Rel(spec.ContextDir, file)
		if err != nil || strings.HasPrefix(inside, "..") {
			return spec, usagef("--file: %s is outside of %s", o.dockerfile, dir)
		}
		spec.Dockerfile = inside
	}
	spec.Args, err = keyValues("--build-arg", o.buildArgs, d.getenv)
	return spec, err
}
