package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/api/client"
	"github.com/lepto-dev/lepto/internal/ui"
)

type imageLsOptions struct {
	digests bool
	output  choice
}

func newImageLs(d *deps) *cobra.Command {
	var o imageLsOptions
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Args: args(0, 0),
		Short:   "List the engine's images",
		Example: "  lepto image ls",
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), d) },
	}
	cmd.Flags().BoolVar(&o.digests, "digests", false, "show image ids in full")
	addOutput(cmd, &o.output)
	return cmd
}

func (o *imageLsOptions) run(ctx context.Context, d *deps) error {
	return d.with(ctx, func(c *client.Client) error {
		list, err := c.Images(ctx)
		if err != nil {
			return err
		}
		if o.output.json() {
			return d.json(emptyNotNull(list))
		}
		table := ui.Table{Header: []string{"Image", "ID", "Platform", "Size", "Created"}}
		for _, i := range list {
			id := strings.TrimPrefix(i.Digest, "sha256:")
			if !o.digests && len(id) > 12 {
				id = id[:12]
			}
			table.Add(d.clean(i.Ref), id, d.clean(i.Architecture), ui.Bytes(i.SizeBytes), timeText(i.Created))
		}
		return table.Write(d.term.Out, d.term.OutStyle)
	})
}
