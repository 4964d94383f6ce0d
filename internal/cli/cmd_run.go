package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/api/client"
	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/ui"
)

type runOptions struct {
	codeOptions
	enclave       string
	dryRun        bool
	parallelism   uint32
	showInspect   bool
	fullUUIDs     bool
	production    bool
	imageDownload choice
	detach        bool
	verbosity     string
	output        choice
}

func newRun(d *deps) *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use: "run TARGET [ARGS]", Args: args(1, 2),
		Short: "Run a Starlark script or package",
		Long: "Run a Starlark script or package in an enclave, a new one unless --enclave is\n" +
			"given. TARGET is a .star file, a directory with a kurtosis.yml, or - for a script\n" +
			"on stdin. ARGS are the arguments of its run function, as JSON or YAML.\n\n" +
			"Ctrl-C stops the run at the next safe point; a second one leaves it running.",
		Example: "  lepto run examples/quickstart\n" +
			"  lepto run main.star '{\"replicas\": 3}' --enclave staging",
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), d, args[0], second(args))
		},
	}
	o.addFlags(cmd)
	_ = cmd.RegisterFlagCompletionFunc("enclave", completeNames(d, true, enclaveNames))
	return cmd
}

// second gives the ARGS argument, if it is there.
func second(args []string) string {
	if len(args) > 1 {
		return args[1]
	}
	return ""
}

func (o *runOptions) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	o.codeOptions.addFlags(cmd)
	flags.StringVar(&o.enclave, "enclave", "", "the enclave to run in; made under this name if not there")
	flags.BoolVar(&o.dryRun, "dry-run", false, "interpret and validate only; nothing is changed")
	flags.Uint32Var(&o.parallelism, "parallelism", 4, "how many services of one instruction start at a time")
	flags.BoolVar(&o.showInspect, "show-enclave-inspect", true, "show the enclave after the run")
	flags.BoolVar(&o.fullUUIDs, "full-uuids", false, "show uuids in full there")
	flags.BoolVarP(&o.production, "production", "p", false, "make the enclave restart services that end")
	o.imageDownload = oneOf("missing", "always")
	flags.Var(&o.imageDownload, "image-download", "when to ask the registry")
	flags.BoolVarP(&o.detach, "detach", "d", false, "leave the run to the engine once it has started")
	addVerbosity(cmd, &o.verbosity)
	addOutput(cmd, &o.output)
	addChoiceCompletion(cmd, "image-download", o.imageDownload.words)
	flags.Bool("no-connect", false, "accepted and ignored")
	flags.Bool("map-ports", true, "accepted and ignored")
	_ = flags.MarkHidden("no-connect")
	_ = flags.MarkHidden("map-ports")
}

func addVerbosity(cmd *cobra.Command, verbosity *string) {
	cmd.Flags().StringVarP(verbosity, "verbosity", "v", string(ui.Description), "how instructions are shown: "+ui.Choices(ui.Verbosities))
	var words []string
	for _, v := range ui.Verbosities {
		words = append(words, string(v))
	}
	addChoiceCompletion(cmd, "verbosity", words)
}

func (o *runOptions) run(ctx context.Context, d *deps, targetText, argsText string) error {
	verbosity, err := ui.ParseVerbosity(o.verbosity)
	if err != nil {
		return usagef("--verbosity: %v", err)
	}
	what, argsJSON, err := o.load(ctx, d, targetText, argsText)
	if err != nil {
		return err
	}
	printer := func() ui.Printer {
		if o.output.json() {
			return ui.NewJSONPrinter(d.term)
		}
		return ui.NewPrinter(d.term, verbosity)
	}
	if o.dryRun && o.enclave == "" {
		return o.dryRunHere(ctx, what, argsJSON, printer())
	}
	return d.with(ctx, func(c *client.Client) error {
		e, made, err := o.findEnclave(ctx, d, c)
		if err != nil {
			return err
		}
		if e.UUID == "" { // a dry run for an enclave that is not there
			return o.dryRunHere(ctx, what, argsJSON, printer())
		}
		err = o.watch(ctx, d, c, o.request(e, what, argsJSON), printer())
		o.after(d, c, e, made)
		return err
	})
}

// findEnclave gives the enclave to run in, and whether it was made for that.
func (o *runOptions) findEnclave(ctx context.Context, d *deps, c *client.Client) (client.Enclave, bool, error) {
	if o.enclave != "" {
		detail, err := c.Enclave(ctx, o.enclave)
		switch {
		case err == nil:
			if o.production && !detail.Production {
				d.warn("enclave %q exists and is no production enclave; --production has no effect", detail.Name)
			}
			return detail.Enclave, false, nil
		case !errors.Is(err, fault.ErrNotFound):
			return client.Enclave{}, false, err
		case o.dryRun:
			return client.Enclave{}, false, nil
		}
	}
	d.say("Creating a new enclave for Starlark to run inside...")
	e, err := c.CreateEnclave(ctx, o.enclave, o.production)
	if err == nil {
		d.say("Enclave '%s' created successfully", e.Name)
	}
	return e, true, err
}

func (o *runOptions) request(e client.Enclave, what target, argsJSON string) client.RunRequest {
	policy := backend.PullMissing
	if o.imageDownload.value == "always" {
		policy = backend.PullAlways
	}
	parallelism := int(o.parallelism)
	if parallelism == 0 {
		parallelism = 4
	}
	return client.RunRequest{
		Enclave: e.UUID,
		Script:  what.script, ScriptName: what.name,
		Dir: what.dir, MainFile: o.mainFile,
		MainFunction: o.mainFunction, Args: argsJSON,
		DryRun: o.dryRun, Parallelism: parallelism,
		PullPolicy: policy, AllowPrivileged: o.privileged,
	}
}
