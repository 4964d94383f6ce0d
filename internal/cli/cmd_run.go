package cli

import (
	"context"
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/api/client"
	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/run"
	"github.com/lepto-dev/lepto/internal/source"
	"github.com/lepto-dev/lepto/internal/ui"
)

type runOptions struct {
	codeOptions
	enclave       string
	dryRun        bool
	parallelism   uint32
	parallel      bool
	shuffleSeed   uint64
	experimental  []string
	changed       func(flag string) bool // given by the user
	showInspect   bool
	fullUUIDs     bool
	production    bool
	dependencies  bool
	pull          bool
	linkSeed      uint64
	imageDownload choice
	detach        bool
	keepTasks     bool
	onFailure     choice
	verbosity     string
	output        choice
}

func newRun(d *deps) *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use: "run TARGET [ARGS]", Args: args(1, 2),
		Short: "Run a Starlark script or package",
		Long: "Run a Starlark script or package in an enclave, a new one unless --enclave is\n" +
			"given. TARGET is a .star file, a directory with a kurtosis.yml or a compose file, a\n" +
			"package in a repository (github.com/<author>/<repo>[/<path>][@<version>]), or - for\n" +
			"a script on stdin. ARGS are the arguments of its run function, as JSON or YAML.\n\n" +
			"Ctrl-C stops the run at the next safe point; a second one does not wait for it.",
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
	flags.Uint32Var(&o.parallelism, "parallelism", enclave.DefaultParallelism, "how many services of one add_services start together; with --parallel also how many\ninstructions are executed together, 32 if not given")
	flags.BoolVar(&o.parallel, "parallel", false, "execute instructions as soon as what they need is there")
	flags.Uint64Var(&o.shuffleSeed, "shuffle-seed", 0, "execute instructions in a random order that must give the same result")
	flags.StringSliceVar(&o.experimental, "experimental", nil, "feature flags: "+run.NoCaching+" executes all instructions anew")
	o.changed = flags.Changed
	exclusive(cmd, "parallel", "shuffle-seed")
	addChoiceCompletion(cmd, "experimental", []string{run.NoCaching})
	flags.BoolVar(&o.dependencies, "dependencies", false, "list the images and packages that are needed; run nothing")
	flags.BoolVar(&o.pull, "pull", false, "with --dependencies: get them, packages beside the working directory")
	flags.BoolVar(&o.showInspect, "show-enclave-inspect", true, "show the enclave after the run")
	flags.BoolVar(&o.fullUUIDs, "full-uuids", false, "with --show-enclave-inspect: show uuids in full")
	flags.BoolVarP(&o.production, "production", "p", false, "make the enclave restart services that end")
	addLinkSeed(cmd, &o.linkSeed)
	o.imageDownload = oneOf("missing", "always")
	flags.Var(&o.imageDownload, "image-download", "when to ask the registry")
	flags.BoolVarP(&o.detach, "detach", "d", false, "leave the run to the engine once it has started")
	flags.BoolVar(&o.keepTasks, "non-blocking-tasks", false, "leave the containers of tasks running after their end")
	o.onFailure = oneOf(string(run.KeepFailed), string(run.RemoveFailed), openShell)
	flags.Var(&o.onFailure, "on-failure", "what becomes of a service or task that fails; shell: keep it and open a shell in it")
	addVerbosity(cmd, &o.verbosity)
	addOutput(cmd, &o.output)
	addChoiceCompletion(cmd, "image-download", o.imageDownload.words)
	addChoiceCompletion(cmd, "on-failure", o.onFailure.words)
	flags.Bool("no-connect", false, "accepted and ignored")
	flags.Bool("map-ports", true, "accepted and ignored")
	_ = flags.MarkHidden("no-connect")
	_ = flags.MarkHidden("map-ports")
}

// openShell is --on-failure's word for keeping what fails, and looking into it.
const openShell = "shell"

func addVerbosity(cmd *cobra.Command, verbosity *string) {
	cmd.Flags().StringVarP(verbosity, "verbosity", "v", string(ui.Description), "how instructions are shown: "+ui.Choices(ui.Verbosities))
	var words []string
	for _, v := range ui.Verbosities {
		words = append(words, string(v))
	}
	addChoiceCompletion(cmd, "verbosity", words)
}

func (o *runOptions) run(ctx context.Context, d *deps, targetText, argsText string) error {
	verbosity, err := o.check()
	if err != nil {
		return err
	}
	what, argsJSON, err := o.load(ctx, d, targetText, argsText)
	if err != nil {
		return err
	}
	if o.dependencies {
		return o.showDependencies(ctx, d, what, argsJSON)
	}
	mirror, err := o.mirrorDir(d)
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
		return o.dryRunHere(ctx, d, what, argsJSON, printer())
	}
	return d.with(ctx, func(c *client.Client) error {
		e, made, err := o.findEnclave(ctx, d, c)
		if err != nil {
			return err
		}
		if e.UUID == "" { // a dry run for an enclave that is not there
			return o.dryRunHere(ctx, d, what, argsJSON, printer())
		}
		failed, err := o.watch(ctx, d, c, o.request(e, what, argsJSON, mirror), printer())
		o.after(d, c, e, made)
		if failed != "" && o.onFailure.value == openShell {
			d.lookInto(ctx, c, e, failed)
		}
		return err
	})
}

// check refuses flags that make no sense, and gives the verbosity.
func (o *runOptions) check() (ui.Verbosity, error) {
	for _, flag := range o.experimental {
		if flag != run.NoCaching {
			return "", usagef("--experimental: %q is not known; there is %s", flag, run.NoCaching)
		}
	}
	if o.pull && !o.dependencies {
		return "", usagef("--pull is for --dependencies")
	}
	verbosity, err := ui.ParseVerbosity(o.verbosity)
	if err != nil {
		return "", usagef("--verbosity: %v", err)
	}
	return verbosity, nil
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
	e, err := c.Create(ctx, client.CreateSpec{Name: o.enclave, Production: o.production, LinkSeed: o.linkSeed})
	if err == nil {
		d.say("Enclave '%s' created successfully", e.Name)
	}
	return e, true, err
}

func (o *runOptions) request(e client.Enclave, what target, argsJSON, mirror string) client.RunRequest {
	policy := backend.PullMissing
	if o.imageDownload.value == "always" {
		policy = backend.PullAlways
	}
	onFailure := run.KeepFailed
	if o.onFailure.value == string(run.RemoveFailed) {
		onFailure = run.RemoveFailed
	}
	parallelism := int(o.parallelism)
	if parallelism == 0 {
		parallelism = enclave.DefaultParallelism
	}
	workers, seed := 0, (*uint64)(nil)
	if o.changed("parallelism") {
		workers = parallelism
	}
	if o.changed("shuffle-seed") {
		seed = &o.shuffleSeed
	}
	return client.RunRequest{
		Enclave: e.UUID,
		Script:  what.script, ScriptName: what.name,
		Dir: what.dir, Locator: what.locator, MainFile: o.mainFile, PackageMirror: mirror, GitEnv: source.GitEnvironment(os.Environ()),
		MainFunction: o.mainFunction, Args: argsJSON,
		DryRun: o.dryRun, Parallelism: parallelism,
		PullPolicy: policy, AllowPrivileged: o.privileged,
		KeepTasks: o.keepTasks, OnFailure: onFailure,
		Parallel: o.parallel, Workers: workers, ShuffleSeed: seed, Experimental: o.experimental,
	}
}
