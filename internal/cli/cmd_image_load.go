package cli

import (
	"context"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/api/client"
	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// CodeNoFile is the fault of a file of the command line that can't be read.
const CodeNoFile = "E0805"

type imageLoadOptions struct{ output choice }

func newImageLoad(d *deps) *cobra.Command {
	var o imageLoadOptions
	cmd := &cobra.Command{
		Use: "load FILE", Args: args(1, 1),
		Short:   "Load images from a tar: of docker save, or an OCI layout; - is stdin",
		Example: "  docker save postgres:16 | lepto image load -",
		RunE:    func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), d, args[0]) },
	}
	addOutput(cmd, &o.output)
	return cmd
}

func (o *imageLoadOptions) run(ctx context.Context, d *deps, path string) error {
	in := io.NopCloser(d.term.In)
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return fault.New(CodeNoFile, "load images: %w", err)
		}
		in = file
	}
	defer in.Close()
	return d.with(ctx, func(c *client.Client) error {
		loaded, err := c.LoadImage(ctx, in)
		if err != nil {
			return err
		}
		if o.output.json() {
			return d.json(emptyNotNull(loaded))
		}
		for _, i := range loaded {
			if err := d.print("%s", i.Ref); err != nil {
				return err
			}
		}
		return nil
	})
}

// imageResult shows the image that a command gave.
func (d *deps) imageResult(i backend.ImageInfo, output choice) error {
	if i.Warning != "" {
		d.warn("%s", i.Warning)
	}
	if output.json() {
		return d.json(i)
	}
	return d.print("%s", i.Ref)
}
