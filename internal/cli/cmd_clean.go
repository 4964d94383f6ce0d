package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/api/client"
)

type cleanOptions struct {
	all    bool
	output choice
}

func newClean(d *deps) *cobra.Command {
	var o cleanOptions
	cmd := &cobra.Command{
		Use: "clean", Aliases: []string{"prune"}, Args: args(0, 0),
		Short:   "Remove stopped and empty enclaves; with --all, running ones too",
		Example: "  lepto clean -a",
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), d) },
	}
	cmd.Flags().BoolVarP(&o.all, "all", "a", false, "also enclaves that run")
	addOutput(cmd, &o.output)
	return cmd
}

func (o *cleanOptions) run(ctx context.Context, d *deps) error {
	return d.with(ctx, func(c *client.Client) error {
		d.say("Cleaning enclaves...")
		removed, err := c.Clean(ctx, o.all)
		slices.SortFunc(removed, func(a, b client.Removed) int { return strings.Compare(a.UUID, b.UUID) })
		if o.output.json() {
			if jsonErr := d.json(emptyNotNull(removed)); err == nil {
				err = jsonErr
			}
			return err
		}
		if len(removed) > 0 {
			d.say("Successfully removed the following enclaves:")
		}
		for _, r := range removed {
			if err := d.print("%s\t%s", r.UUID, r.Name); err != nil {
				return err
			}
		}
		if err == nil {
			d.say("Successfully cleaned enclaves")
		}
		return err
	})
}
