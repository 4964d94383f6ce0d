package cli

import (
	"context"

	"github.com/spf13/cobra"
)

// codeOptions say what code run and plan read, and how.
type codeOptions struct {
	argsFile, mainFile, mainFunction string
	privileged                       bool
}

func (o *codeOptions) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.argsFile, "args-file", "", "read ARGS from this file or http(s) URL")
	flags.StringVar(&o.mainFile, "main-file", "", "the file of the package to run; main.star if empty")
	flags.StringVar(&o.mainFunction, "main-function-name", "", "the function to run; run if empty")
	flags.BoolVar(&o.privileged, "privileged", false, "allow services that reach beyond their container")
}

// load reads the target and its arguments.
func (o *codeOptions) load(ctx context.Context, d *deps, targetText, argsText string) (target, string, error) {
	what, err := resolveTarget(targetText, d.term.In)
	if err != nil {
		return target{}, "", err
	}
	if o.mainFile != "" && what.dir == "" {
		return target{}, "", usagef("--main-file is for packages; %s is a script", targetText)
	}
	argsJSON, err := d.loadArgs(ctx, argsText, o.argsFile)
	return what, argsJSON, err
}
