package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/api/client"
)

// This file holds files storeservice and storeweb: the same shape.

func newFilesStoreService(d *deps) *cobra.Command {
	return storeCommand(d, &cobra.Command{
		Use: "storeservice ENCLAVE SERVICE PATH", Args: args(3, 3),
		Short: "Make a files artifact of a file or directory of a service",
		Long: "Make a files artifact of a file or directory of a service: of a directory what is\n" +
			"in it. Links that lead out of it, and devices, are left out.",
		Example:           "  lepto files storeservice winter-forest db /var/lib/data --name data",
		ValidArgsFunction: completeNames(d, false, enclaveNames, serviceNames),
	}, "Files with artifact name '%s' uploaded with artifact UUID '%s'", "",
		func(ctx context.Context, c *client.Client, name string, args []string) (string, error) {
			return c.StoreServiceArtifact(ctx, args[0], name, args[1], args[2])
		})
}

func newFilesStoreWeb(d *deps) *cobra.Command {
	return storeCommand(d, &cobra.Command{
		Use: "storeweb ENCLAVE URL", Args: args(2, 2),
		Short: "Make a files artifact of what a URL gives",
		Long: "Make a files artifact of what a URL gives: of an archive (a tar, plain or\n" +
			"compressed) what is in it, of anything else a file.",
		Example:           "  lepto files storeweb winter-forest https://example.org/data.tgz --name data",
		ValidArgsFunction: completeNames(d, false, enclaveNames),
	}, "Files package '%s' stored with UUID: %s", fmt.Sprintf("cli-stored-artifact-%d", time.Now().Unix()),
		func(ctx context.Context, c *client.Client, name string, args []string) (string, error) {
			return c.StoreWebArtifact(ctx, args[0], name, args[1])
		})
}

// storeCommand completes a command that has the engine store something.
// otherwise is the name where none is given; empty: the engine makes one up.
func storeCommand(d *deps, cmd *cobra.Command, talk, otherwise string,
	store func(ctx context.Context, c *client.Client, name string, args []string) (uuid string, err error)) *cobra.Command {
	var name string
	var output choice
	cmd.Flags().StringVar(&name, "name", "", "the artifact's name; made up if empty")
	addOutput(cmd, &output)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return d.with(cmd.Context(), func(c *client.Client) error {
			made := stored{Name: name}
			if made.Name == "" {
				made.Name = otherwise
			}
			var err error
			if made.UUID, err = store(cmd.Context(), c, made.Name, args); err != nil {
				return err
			}
			if made.Name == "" {
				if made.Name, err = artifactName(cmd.Context(), c, args[0], made.UUID); err != nil {
					return err
				}
			}
			return d.storedResult(output, made, talk)
		})
	}
	return cmd
}

// artifactName gives the name of an artifact.
func artifactName(ctx context.Context, c *client.Client, enclave, uuid string) (string, error) {
	e, err := c.Enclave(ctx, enclave)
	for _, a := range e.Artifacts {
		if a.UUID == uuid {
			return a.Name, nil
		}
	}
	return "", err // removed meanwhile, if there is no error
}
