package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/api/client"
	"github.com/lepto-dev/lepto/internal/backend"
)

type imagePullOptions struct{ output choice }

func newImagePull(d *deps) *cobra.Command {
	var o imagePullOptions
	cmd := &cobra.Command{
		Use: "pull IMAGE...", Args: args(1, -1),
		Short:   "Pull images from their registry, or bring them up to date",
		Example: "  lepto image pull postgres:16",
		RunE:    func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), d, args) },
	}
	addOutput(cmd, &o.output)
	return cmd
}

func (o *imagePullOptions) run(ctx context.Context, d *deps, refs []string) error {
	return d.with(ctx, func(c *client.Client) error {
		return forAll(refs, func(ref string) error {
			line := d.statusLine()
			info, err := c.PullImage(ctx, backend.ImageRequest{Ref: ref, Policy: backend.PullAlways}, line.Progress)
			line.Close()
			if err != nil {
				return named(ref, err)
			}
			return d.imageResult(info, o.output)
		})
	})
}
