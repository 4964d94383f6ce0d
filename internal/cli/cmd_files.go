package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/api/client"
	"github.com/lepto-dev/lepto/internal/ui"
)

// newFiles makes lepto files.
func newFiles(d *deps) *cobra.Command {
	return newGroup("files", "Manage files artifacts of an enclave", nil,
		newFilesUpload(d), newFilesDownload(d), newFilesLs(d), newFilesInspect(d), newFilesRm(d),
		newFilesStoreService(d), newFilesStoreWeb(d), newFilesRenderTemplate(d))
}

// stored is what the commands that make an artifact give as JSON.
type stored struct {
	Name string `json:"name"`
	UUID string `json:"uuid"`
}

// storedResult tells of an artifact that was made.
func (d *deps) storedResult(output choice, made stored, talk string) error {
	if output.json() {
		return d.json(made)
	}
	d.say(talk, made.Name, made.UUID)
	return nil
}

// newFilesLs makes lepto files ls.
func newFilesLs(d *deps) *cobra.Command {
	var output choice
	var fullUUIDs bool
	cmd := &cobra.Command{
		Use: "ls ENCLAVE", Aliases: []string{"list"}, Args: args(1, 1),
		Short:             "List the files artifacts of an enclave",
		Example:           "  lepto files ls winter-forest",
		ValidArgsFunction: completeNames(d, false, enclaveNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.with(cmd.Context(), func(c *client.Client) error {
				e, err := c.Enclave(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				if output.json() {
					return d.json(emptyNotNull(e.Artifacts))
				}
				table := ui.Table{Header: []string{"UUID", "Name", "Files", "Size"}}
				for _, a := range e.Artifacts {
					table.Add(uuidText(a.UUID, a.ShortUUID, fullUUIDs), d.clean(a.Name), fmt.Sprint(a.Files), ui.Size(uint64(a.Bytes)))
				}
				return table.Write(d.term.Out, d.term.OutStyle)
			})
		},
	}
	addFullUUIDs(cmd, &fullUUIDs)
	addOutput(cmd, &output)
	return cmd
}

// newFilesRm makes lepto files rm.
func newFilesRm(d *deps) *cobra.Command {
	return &cobra.Command{
		Use: "rm ENCLAVE ARTIFACT...", Aliases: []string{"remove", "delete"}, Args: args(2, -1),
		Short:             "Remove files artifacts; services that mount them keep their files",
		Example:           "  lepto files rm winter-forest config",
		ValidArgsFunction: completeNames(d, true, enclaveNames, artifactNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.with(cmd.Context(), func(c *client.Client) error {
				return forAll(args[1:], func(artifact string) error {
					if err := c.RemoveArtifact(cmd.Context(), args[0], artifact); err != nil {
						return named(artifact, err)
					}
					d.say("Removed files artifact '%s'", artifact)
					return nil
				})
			})
		},
	}
}

// artifactNames lists the files artifacts of the enclave typed first.
func artifactNames(ctx context.Context, c *client.Client, args []string) []string {
	e, err := c.Enclave(ctx, args[0])
	if err != nil {
		return nil
	}
	var names []string
	for _, a := range e.Artifacts {
		names = append(names, a.Name)
	}
	return names
}

// textFiles lists the files of the artifact typed second that can be shown.
func textFiles(ctx context.Context, c *client.Client, args []string) []string {
	files, err := c.ArtifactFiles(ctx, args[0], args[1])
	if err != nil {
		return nil
	}
	var paths []string
	for _, f := range files {
		if f.Text != nil && *f.Text != "" {
			paths = append(paths, f.Path)
		}
	}
	return paths
}
