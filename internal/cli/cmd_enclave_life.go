package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/api/client"
)

// This file holds enclave stop and enclave start: the same shape.

func newEnclaveStop(d *deps) *cobra.Command {
	return &cobra.Command{
		Use: "stop ENCLAVE...", Args: args(1, -1),
		Short:             "Stop enclaves with their services; data stays",
		Example:           "  lepto enclave stop winter-forest",
		ValidArgsFunction: completeNames(d, true, enclaveNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			d.say("Stopping enclaves...")
			err := d.each(cmd.Context(), args, (*client.Client).StopEnclave)
			if err == nil {
				d.say("Enclaves stopped successfully")
			}
			return err
		},
	}
}

func newEnclaveStart(d *deps) *cobra.Command {
	return &cobra.Command{
		Use: "start ENCLAVE...", Args: args(1, -1),
		Short:             "Start stopped enclaves with the services that ran in them",
		Example:           "  lepto enclave start winter-forest",
		ValidArgsFunction: completeNames(d, true, enclaveNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			d.say("Starting enclaves...")
			err := d.each(cmd.Context(), args, (*client.Client).StartEnclave)
			if err == nil {
				d.say("Enclaves started successfully")
			}
			return err
		},
	}
}

// each does something to each enclave, all of them, whatever fails.
func (d *deps) each(ctx context.Context, enclaves []string, do func(*client.Client, context.Context, string) error) error {
	return d.with(ctx, func(c *client.Client) error {
		return forAll(enclaves, func(enclave string) error {
			if err := do(c, ctx, enclave); err != nil {
				return named(enclave, err)
			}
			return nil
		})
	})
}
