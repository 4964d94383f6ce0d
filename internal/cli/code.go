package cli

import (
	"context"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/source"
)

// codeOptions say what code run and plan read, and how.
type codeOptions struct {
	argsFile, mainFile, mainFunction string
	mirror                           string
	privileged                       bool
}

func (o *codeOptions) addFlags(cmd *cobra.Command) {
	o.addPlaceFlags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.argsFile, "args-file", "", "read ARGS from this file or http(s) URL")
	flags.BoolVar(&o.privileged, "privileged", false, "allow services that reach beyond their container")
}

// addPlaceFlags adds the flags that say which code it is.
func (o *codeOptions) addPlaceFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.mainFile, "main-file", "", "the file of the package to run; main.star if empty")
	flags.StringVar(&o.mainFunction, "main-function-name", "", "the function to run; run if empty")
	flags.StringVar(&o.mirror, "package-mirror", "", "find packages of others in this directory, not on the network")
}

// resolve finds the target.
func (o *codeOptions) resolve(d *deps, targetText string) (target, error) {
	what, err := resolveTarget(targetText, d.term.In)
	if err == nil && o.mainFile != "" && what.isScript() {
		return target{}, usagef("--main-file is for packages; %s is a script", targetText)
	}
	return what, err
}

// load reads the target and its arguments.
func (o *codeOptions) load(ctx context.Context, d *deps, targetText, argsText string) (target, string, error) {
	what, err := o.resolve(d, targetText)
	if err != nil {
		return target{}, "", err
	}
	argsJSON, err := d.loadArgs(ctx, argsText, o.argsFile)
	return what, argsJSON, err
}

// mirrorDir gives the package mirror, absolute, or "" for none.
func (o *codeOptions) mirrorDir(d *deps) (string, error) {
	mirror := o.mirror
	if mirror == "" {
		mirror = d.getenv(source.MirrorVariable)
	}
	if mirror == "" {
		return "", nil
	}
	return filepath.Abs(mirror)
}
