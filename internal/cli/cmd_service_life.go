package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/api/client"
)

// This file holds service stop, start and rm: the same shape.

func newServiceStop(d *deps) *cobra.Command {
	return serviceCommand(d, &cobra.Command{
		Use: "stop ENCLAVE SERVICE...", Short: "Stop services; their files, logs and addresses stay",
		Example: "  lepto service stop winter-forest db",
	}, "Stopping service '%s'", (*client.Client).StopService)
}

func newServiceStart(d *deps) *cobra.Command {
	return serviceCommand(d, &cobra.Command{
		Use: "start ENCLAVE SERVICE...", Short: "Start stopped services again",
		Example: "  lepto service start winter-forest db",
	}, "Starting service '%s'", (*client.Client).StartService)
}

func newServiceRm(d *deps) *cobra.Command {
	return serviceCommand(d, &cobra.Command{
		Use: "rm ENCLAVE SERVICE...", Aliases: []string{"remove", "delete"},
		Short:   "Remove services with their files and logs",
		Example: "  lepto service rm winter-forest db",
	}, "Removing service '%s'", (*client.Client).RemoveService)
}

// serviceCommand completes a command that does one thing to each service named.
func serviceCommand(d *deps, cmd *cobra.Command, talk string, do func(*client.Client, context.Context, string, string) error) *cobra.Command {
	cmd.Args = args(2, -1)
	cmd.ValidArgsFunction = completeNames(d, true, enclaveNames, serviceNames)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return d.with(cmd.Context(), func(c *client.Client) error {
			return forAll(args[1:], func(service string) error {
				d.say(talk, service)
				if err := do(c, cmd.Context(), args[0], service); err != nil {
					return named(service, err)
				}
				return nil
			})
		})
	}
	return cmd
}
