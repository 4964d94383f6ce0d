package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/api/client"
)

type enclaveAddOptions struct {
	name       string
	production bool
	linkSeed   uint64
	output     choice
}

func newEnclaveAdd(d *deps) *cobra.Command {
	var o enclaveAddOptions
	cmd := &cobra.Command{
		Use: "add", Aliases: []string{"create", "new"}, Args: args(0, 0),
		Short:   "Create an empty enclave",
		Example: "  lepto enclave add --name staging",
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), d) },
	}
	o.addFlags(cmd)
	return cmd
}

func (o *enclaveAddOptions) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&o.name, "name", "n", "", "its name; one is made up if empty")
	flags.BoolVarP(&o.production, "production", "p", false, "restart services that end")
	addLinkSeed(cmd, &o.linkSeed)
	addOutput(cmd, &o.output)
	flags.StringP("api-container-log-level", "l", "", "accepted and ignored")
	flags.StringP("api-container-version", "a", "", "accepted and ignored")
	_ = flags.MarkHidden("api-container-log-level")
	_ = flags.MarkHidden("api-container-version")
}

func (o *enclaveAddOptions) run(ctx context.Context, d *deps) error {
	return d.with(ctx, func(c *client.Client) error {
		d.say("Creating new enclave...")
		e, err := c.Create(ctx, client.CreateSpec{Name: o.name, Production: o.production, LinkSeed: o.linkSeed})
		if err != nil {
			return err
		}
		if o.output.json() {
			return d.json(e)
		}
		d.spotlight("Created enclave: " + e.Name)
		return nil
	})
}
