package cli

import (
	"context"
	"encoding/json"
	"os"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/api/client"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/ui"
)

type filesRenderOptions struct {
	name   string
	output choice
}

func newFilesRenderTemplate(d *deps) *cobra.Command {
	var o filesRenderOptions
	cmd := &cobra.Command{
		Use: "rendertemplate ENCLAVE TEMPLATE DATA_JSON DEST", Args: args(4, 4),
		Short: "Make a files artifact of a template",
		Long: "Make a files artifact of the file TEMPLATE, in the language of Go's text/template,\n" +
			"with the data of the file DATA_JSON. DEST is the rendered file's path in it.",
		Example:           "  lepto files rendertemplate winter-forest nginx.conf.tmpl data.json nginx/nginx.conf --name config",
		ValidArgsFunction: completeFile(d),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), d, args[0], args[1], args[2], args[3])
		},
	}
	cmd.Flags().StringVar(&o.name, "name", "", "the artifact's name; made up if empty")
	addOutput(cmd, &o.output)
	return cmd
}

// renderScript does what the command does: what it is given comes as arguments,
// so that no quoting is needed.
const renderScript = `
def run(plan, template, data, dest, name):
    plan.render_templates({dest: struct(template = template, data = data)}, name = name)
`

func (o *filesRenderOptions) run(ctx context.Context, d *deps, enclave, templateFile, dataFile, dest string) error {
	if path.IsAbs(dest) {
		return usagef("the destination %q is a path in the artifact, and must be relative", dest)
	}
	template, err := os.ReadFile(templateFile)
	if err != nil {
		return fileFault(templateFile, err)
	}
	data, err := os.ReadFile(dataFile)
	if err != nil {
		return fileFault(dataFile, err)
	}
	if !json.Valid(data) {
		return fault.New(CodeBadArgs, "%s is not valid JSON", dataFile)
	}
	arguments, err := json.Marshal(map[string]any{
		"template": string(template), "data": json.RawMessage(data), "dest": dest, "name": o.name,
	})
	if err != nil {
		return err
	}
	return d.with(ctx, func(c *client.Client) error {
		e, err := c.Enclave(ctx, enclave)
		if err != nil {
			return err
		}
		printer := ui.NewPrinter(d.term, ui.OutputOnly)
		if o.output.json() {
			printer = ui.NewJSONPrinter(d.term)
		}
		run := runOptions{}
		_, err = run.watch(ctx, d, c, client.RunRequest{
			Enclave: e.UUID, Script: strings.TrimLeft(renderScript, "\n"), ScriptName: "rendertemplate", Args: string(arguments), Parallelism: 1,
		}, printer)
		return err
	})
}
