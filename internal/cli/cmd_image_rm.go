package cli

import (
	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/api/client"
)

func newImageRm(d *deps) *cobra.Command {
	return &cobra.Command{
		Use: "rm IMAGE...", Aliases: []string{"remove", "delete"}, Args: args(1, -1),
		Short:             "Remove images, and their layers where nothing else uses them",
		Example:           "  lepto image rm postgres:16",
		ValidArgsFunction: completeNames(d, true, imageNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.with(cmd.Context(), func(c *client.Client) error {
				return forAll(args, func(ref string) error {
					if err := c.RemoveImage(cmd.Context(), ref); err != nil {
						return named(ref, err)
					}
					return nil
				})
			})
		},
	}
}
