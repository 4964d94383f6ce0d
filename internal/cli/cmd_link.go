package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/api/client"
	"github.com/lepto-dev/lepto/internal/link"
)

func newLink(d *deps) *cobra.Command {
	return newGroup("link", "Show and change the connections between subnetworks", []string{"links"},
		newLinkLs(d), newLinkSet(d), newLinkRm(d), newLinkMove(d), newLinkHeal(d))
}

func newLinkRm(d *deps) *cobra.Command {
	direction := oneOf(string(link.Both), string(link.Forward), string(link.Backward))
	cmd := &cobra.Command{
		Use: "rm ENCLAVE SUBNETWORK SUBNETWORK", Aliases: []string{"remove"}, Args: args(3, 3),
		Short: "Take back what was set for two subnetworks",
		Long: "Take back what was set for two subnetworks: the default connection holds between\n" +
			"them again. It is no error if nothing was set.",
		Example:           "  lepto link rm winter-forest east west",
		ValidArgsFunction: completeNames(d, false, enclaveNames, subnetworkNames, subnetworkNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.with(cmd.Context(), func(c *client.Client) error {
				return d.removeLink(cmd.Context(), c, args[0], link.Pair{args[1], args[2]}, link.Direction(direction.String()))
			})
		},
	}
	addDirection(cmd, &direction)
	return cmd
}

func (d *deps) removeLink(ctx context.Context, c *client.Client, enclave string, pair link.Pair, direction link.Direction) error {
	before, err := c.Links(ctx, enclave)
	if err != nil {
		return err
	}
	if err := c.RemoveLink(ctx, enclave, pair, direction); err != nil {
		return err
	}
	if _, changed := before.Table.Remove(pair, direction); !changed {
		d.warn("nothing was set between subnetworks %q and %q", pair[0], pair[1])
	}
	return nil
}

func newLinkHeal(d *deps) *cobra.Command {
	return &cobra.Command{
		Use: "heal ENCLAVE", Args: args(1, 1),
		Short:             "Let everything pass again, and end schedules of faults",
		Example:           "  lepto link heal winter-forest",
		ValidArgsFunction: completeNames(d, false, enclaveNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.with(cmd.Context(), func(c *client.Client) error { return c.HealLinks(cmd.Context(), args[0]) })
		},
	}
}

func newLinkMove(d *deps) *cobra.Command {
	return &cobra.Command{
		Use: "move ENCLAVE SERVICE SUBNETWORK", Aliases: []string{"mv"}, Args: args(3, 3),
		Short:             "Put a service into another subnetwork while it runs",
		Example:           "  lepto link move winter-forest db west",
		ValidArgsFunction: completeNames(d, false, enclaveNames, serviceNames, subnetworkNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.with(cmd.Context(), func(c *client.Client) error {
				return c.MoveService(cmd.Context(), args[0], args[1], args[2])
			})
		},
	}
}

func addDirection(cmd *cobra.Command, direction *choice) {
	cmd.Flags().Var(direction, "direction", "forward: only packets from the first subnetwork to the second; backward: from the second to the first")
	addChoiceCompletion(cmd, "direction", direction.words)
}

// addLinkSeed adds the flags of enclaves that have subnetworks, which all have.
func addLinkSeed(cmd *cobra.Command, seed *uint64) {
	cmd.Flags().Uint64Var(seed, "link-seed", 0, "which packets connections lose and delay, for a new enclave; 0: another at each time")
	cmd.Flags().Bool("with-subnetworks", false, "accepted and ignored: every enclave has them")
	_ = cmd.Flags().MarkHidden("with-subnetworks")
}
