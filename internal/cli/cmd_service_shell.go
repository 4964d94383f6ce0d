package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/api/client"
	"github.com/lepto-dev/lepto/internal/backend"
)

type serviceShellOptions struct{ user string }

func newServiceShell(d *deps) *cobra.Command {
	var o serviceShellOptions
	cmd := &cobra.Command{
		Use: "shell ENCLAVE SERVICE", Aliases: []string{"sh"}, Args: args(2, 2),
		Short:             "Open a shell in a service: bash if it has one, else sh",
		Example:           "  lepto service shell winter-forest db",
		ValidArgsFunction: completeNames(d, false, enclaveNames, serviceNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), d, args[0], args[1])
		},
	}
	cmd.Flags().StringVarP(&o.user, "user", "u", "", "run as this user: uid[:gid] or name[:group]")
	return cmd
}

// findShell becomes the best shell there is.
const findShell = `if command -v bash >/dev/null 2>&1; then exec bash; else exec sh; fi`

func (o *serviceShellOptions) run(ctx context.Context, d *deps, enclave, service string) error {
	spec := backend.ExecSpec{Args: []string{"sh", "-c", findShell}, User: o.user}
	return d.with(ctx, func(c *client.Client) error {
		if d.term.InTTY {
			return d.execTerminal(ctx, c, enclave, service, spec)
		}
		// A script is piped in: a shell without a terminal reads it.
		spec.Stdin = d.term.In
		spec.Stdout = serviceWriter(d.term.Out, d.term.OutTTY)
		spec.Stderr = serviceWriter(d.term.Err, d.term.ErrTTY)
		code, err := c.Exec(ctx, enclave, service, spec, nil)
		if err != nil {
			return err
		}
		return silent(code)
	})
}
