//go:build !front

package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/instruction"
	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/lang/types"
)

func newPackageSchema(d *deps) *cobra.Command {
	var o codeOptions
	cmd := &cobra.Command{
		Use: "schema TARGET", Args: args(1, 1),
		Short: schemaShort,
		Long: "Print a JSON Schema (draft 2020-12) of the parameters that a script or package\n" +
			"takes: from the signature of its entry function, the defaults there, and its\n" +
			"docstring (name (type): text; type is string, int, bool, float, list[X] or\n" +
			"dict[X, Y]).",
		Example: "  lepto package schema examples/quickstart",
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.schema(cmd.Context(), d, args[0])
		},
	}
	o.addPlaceFlags(cmd)
	return cmd
}

func (o *codeOptions) schema(ctx context.Context, d *deps, targetText string) error {
	what, err := o.resolve(d, targetText)
	if err != nil {
		return err
	}
	fetcher, err := o.fetcher(d)
	if err != nil {
		return err
	}
	pkg, err := what.open(ctx, o.mainFile, fetcher)
	if err != nil {
		return err
	}
	host := lang.NewHost(instruction.All(), types.All())
	schema, err := host.Params(ctx, lang.Request{Package: pkg, MainFunction: o.mainFunction})
	if err != nil {
		return err
	}
	if what.isScript() {
		schema.Title = what.name
	}
	return d.json(schema)
}
