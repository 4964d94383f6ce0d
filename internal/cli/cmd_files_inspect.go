package cli

import (
	"context"
	"io"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/api/client"
	"github.com/lepto-dev/lepto/internal/ui"
)

type filesInspectOptions struct{ output choice }

func newFilesInspect(d *deps) *cobra.Command {
	var o filesInspectOptions
	cmd := &cobra.Command{
		Use: "inspect ENCLAVE ARTIFACT [FILE]", Aliases: []string{"show"}, Args: args(2, 3),
		Short:             "Show what a files artifact has, or one of its files",
		Example:           "  lepto files inspect winter-forest config\n  lepto files inspect winter-forest config nginx/nginx.conf",
		ValidArgsFunction: completeNames(d, false, enclaveNames, artifactNames, textFiles),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 2 {
				return o.file(cmd.Context(), d, args[0], args[1], args[2])
			}
			return o.tree(cmd.Context(), d, args[0], args[1])
		},
	}
	addOutput(cmd, &o.output)
	return cmd
}

// tree shows all paths.
func (o *filesInspectOptions) tree(ctx context.Context, d *deps, enclave, artifact string) error {
	return d.with(ctx, func(c *client.Client) error {
		files, err := c.ArtifactFiles(ctx, enclave, artifact)
		if err != nil {
			return err
		}
		if o.output.json() {
			return d.json(emptyNotNull(files))
		}
		d.say("Artifact '%s' contents:", artifact)
		var tree ui.Tree
		for _, f := range files {
			tree.Add(d.clean(f.Path), f.Size)
		}
		return tree.Write(d.term.Out, d.term.OutStyle)
	})
}

// file shows one file, whatever its size.
func (o *filesInspectOptions) file(ctx context.Context, d *deps, enclave, artifact, name string) error {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	return d.with(ctx, func(c *client.Client) error {
		out := &headed{Writer: serviceWriter(d.term.Out, d.term.OutTTY), head: func() { d.say("File contents:") }}
		err := c.ReadArtifactFile(ctx, enclave, artifact, name, out)
		if err == nil {
			out.begin() // of an empty file
		}
		return err
	})
}

// headed is a writer before whose first output something is said.
type headed struct {
	io.Writer
	head func()
	said bool
}

func (h *headed) begin() {
	if !h.said {
		h.said = true
		h.head()
	}
}

// Write writes.
func (h *headed) Write(p []byte) (int, error) {
	h.begin()
	return h.Writer.Write(p)
}
