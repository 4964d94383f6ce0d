package cli

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file makes the tree of commands, and the pieces that commands share.

// What the list of commands says of those that lepto's front hands over (front.go).
const (
	planShort   = "Show what a script or package would do; needs no engine"
	doctorShort = "Check whether services can run here, and say what to do"
	schemaShort = "Print the JSON Schema of a package's parameters; needs no engine"
)

// newRoot builds the tree. Building is all it does: nothing is opened, read or
// dialled before a command runs.
func newRoot(d *deps) *cobra.Command {
	root := &cobra.Command{
		Use:   "lepto",
		Short: "Run Starlark packages as isolated environments",
		Long: "lepto runs a Starlark package as an enclave: services in containers, with\n" +
			"a network of their own. It starts its engine by itself.",
		Example:           "  lepto run examples/quickstart\n  lepto enclave ls\n  lepto service logs my-enclave api --follow",
		SilenceUsage:      true,
		SilenceErrors:     true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return applyGlobal(d, cmd) },
	}
	addGlobalFlags(d, root.PersistentFlags())
	root.Version = d.version // for --version, which many try first
	root.SetVersionTemplate("lepto {{.Version}}\n")
	root.SetOut(d.term.Out)
	root.SetErr(d.term.Err)
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { writeHelp(d, cmd) })
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &usageError{text: err.Error(), help: cmd.CommandPath()}
	})
	root.AddCommand(
		newRun(d), newPlan(d),
		newEnclave(d), newService(d), newPort(d), newFiles(d), newLink(d), newImage(d), newPackage(d),
		newEngine(d), newClean(d), newDoctor(d), newVersion(d),
	)
	group(root)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	wrapUsage(root)
	return root
}

func addGlobalFlags(d *deps, flags *pflag.FlagSet) {
	flags.StringVar(&d.home, "home", d.home, "the engine's directory; $LEPTO_HOME or "+defaultHome+" if not given")
	flags.Lookup("home").DefValue = "" // the same help on every machine
	flags.String("log-level", "info", "how much is said on stderr: error, warning, info or debug")
	flags.String("cli-log-level", "info", "the same")
	flags.Bool("debug-mode", false, "accepted and ignored")
	_ = flags.MarkHidden("cli-log-level")
	_ = flags.MarkHidden("debug-mode")
}

// applyGlobal reads the global flags before a command runs.
func applyGlobal(d *deps, cmd *cobra.Command) error {
	for _, name := range []string{"log-level", "cli-log-level"} {
		flag := cmd.Flags().Lookup(name)
		if flag == nil || !flag.Changed {
			continue
		}
		chosen, known := levelWords[strings.ToLower(flag.Value.String())]
		if !known {
			return &usageError{text: fmt.Sprintf("--%s: %q is no level", name, flag.Value), help: cmd.CommandPath()}
		}
		d.level = chosen
	}
	home, err := filepath.Abs(d.home)
	if err != nil {
		return fmt.Errorf("--home: %w", err)
	}
	d.home = home
	return nil
}

// newGroup makes a command that only holds others.
func newGroup(use, short string, aliases []string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Aliases: aliases}
	cmd.AddCommand(children...)
	return group(cmd)
}

// group lets a command that only holds others show its help, and refuse a name
// it does not hold.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		text := fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath())
		var names []string
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() {
				names = append(append(names, c.Name()), c.Aliases...)
			}
		}
		if near := fault.Nearest(args[0], names); near != "" {
			text += fmt.Sprintf("; did you mean %q?", near)
		}
		return usagef("%s", text)
	}
	return cmd
}

// wrapUsage makes every mistake in arguments a usageError that names its
// command.
func wrapUsage(cmd *cobra.Command) {
	for _, child := range cmd.Commands() {
		wrapUsage(child)
	}
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error { return asUsage(cmd, check(cmd, args), true) }
	}
	if body := cmd.RunE; body != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error { return asUsage(cmd, body(cmd, args), false) }
	}
}

// asUsage names the command in a usageError. Any error of an argument check is
// one.
func asUsage(cmd *cobra.Command, err error, always bool) error {
	var usage *usageError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &usage):
		usage.help = cmd.CommandPath()
	case always:
		return &usageError{text: err.Error(), help: cmd.CommandPath()}
	}
	return err
}

// exclusive refuses a command line that has more than one of some flags.
func exclusive(cmd *cobra.Command, names ...string) {
	check := cmd.Args
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		given := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !cmd.Flags().Changed(name) })
		if len(given) > 1 {
			return usagef("--%s and --%s exclude each other", given[0], given[1])
		}
		return check(cmd, args)
	}
}

// args checks the number of arguments; most < 0 means any number.
func args(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		n := len(args)
		if n >= least && (most < 0 || n <= most) {
			return nil
		}
		want := fmt.Sprintf("%d", least)
		switch {
		case most < 0:
			want = fmt.Sprintf("at least %d", least)
		case most > least:
			want = fmt.Sprintf("%d to %d", least, most)
		}
		_, synopsis, _ := strings.Cut(cmd.UseLine(), " ")
		given := "1 argument"
		if n != 1 {
			given = fmt.Sprintf("%d arguments", n)
		}
		return usagef("%s given, %s wanted: lepto %s", given, want, synopsis)
	}
}

// A choice is a flag whose value is one of a few words, in any case.
type choice struct {
	value string
	words []string
}

// oneOf makes a choice; the first word is the default.
func oneOf(words ...string) choice { return choice{value: words[0], words: words} }

func (c *choice) String() string { return c.value }
func (c *choice) Type() string   { return strings.Join(c.words, "|") }
func (c *choice) Set(text string) error {
	if !slices.Contains(c.words, strings.ToLower(text)) {
		return fmt.Errorf("want one of %s", strings.Join(c.words, ", "))
	}
	c.value = strings.ToLower(text)
	return nil
}

// addOutput adds -o to a command.
func addOutput(cmd *cobra.Command, c *choice) {
	if c.words == nil {
		*c = oneOf("text", "json")
	}
	cmd.Flags().VarP(c, "output", "o", "the form of the result")
	addChoiceCompletion(cmd, "output", c.words)
}

func addChoiceCompletion(cmd *cobra.Command, flag string, words []string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

// json reports that the result is wanted as JSON.
func (c *choice) json() bool { return c.value == "json" }
