package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/api/client"
	"github.com/lepto-dev/lepto/internal/api/view"
	"github.com/lepto-dev/lepto/internal/fault"
)

// CodeRunning is the fault of removing a running enclave without --force.
const CodeRunning = "E0801"

type enclaveRmOptions struct{ force, all bool }

func newEnclaveRm(d *deps) *cobra.Command {
	var o enclaveRmOptions
	cmd := &cobra.Command{
		Use: "rm ENCLAVE...", Aliases: []string{"remove", "delete"}, Args: args(0, -1),
		Short:             "Destroy enclaves and everything in them",
		Example:           "  lepto enclave rm --force winter-forest\n  lepto enclave rm -f --all",
		ValidArgsFunction: completeNames(d, true, enclaveNames),
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), d, args) },
	}
	o.addFlags(cmd)
	return cmd
}

func (o *enclaveRmOptions) addFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&o.force, "force", "f", false, "also enclaves that run")
	cmd.Flags().BoolVarP(&o.all, "all", "a", false, "all enclaves")
}

func (o *enclaveRmOptions) run(ctx context.Context, d *deps, names []string) error {
	if o.all == (len(names) > 0) {
		return usagef("give either enclaves or --all")
	}
	return d.with(ctx, func(c *client.Client) error {
		if o.all {
			list, err := c.Enclaves(ctx)
			if err != nil {
				return err
			}
			for _, e := range list {
				names = append(names, e.UUID)
			}
		}
		d.say("Destroying enclaves...")
		err := forAll(names, func(name string) error { return o.remove(ctx, c, name) })
		if err == nil {
			d.say("Enclaves successfully destroyed")
		}
		return err
	})
}

func (o *enclaveRmOptions) remove(ctx context.Context, c *client.Client, name string) error {
	if !o.force {
		e, err := c.Enclave(ctx, name)
		switch {
		case err != nil:
			return named(name, err)
		case e.Status == view.Running:
			return fault.New(CodeRunning, "enclave %q is running", e.Name).
				WithHint("stop it first, or remove it with --force: lepto enclave rm --force %s", e.Name)
		}
	}
	if err := c.DestroyEnclave(ctx, name); err != nil {
		return named(name, err)
	}
	return nil
}
