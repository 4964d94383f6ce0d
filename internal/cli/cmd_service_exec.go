package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/api/client"
	"github.com/lepto-dev/lepto/internal/backend"
)

type serviceExecOptions struct {
	user, workDir             string
	env                       []string
	tty, interactive, noStdin bool
}

func newServiceExec(d *deps) *cobra.Command {
	var o serviceExecOptions
	cmd := &cobra.Command{
		Use: "exec ENCLAVE SERVICE [--] COMMAND [ARG...]", Args: args(3, -1),
		Short: "Run a command in a service, and exit with its code",
		Long: "Run a command in a service, and exit with its code.\n\n" +
			"A single COMMAND without -- is a line for sh -c. Otherwise the command and its\n" +
			"arguments are taken as they are, and no shell is needed. Input that is piped\n" +
			"in goes to the command.",
		Example: "  lepto service exec winter-forest db 'echo $HOME | wc -c'\n" +
			"  lepto service exec winter-forest db -u postgres -- psql -c 'select 1'\n" +
			"  tar c src | lepto service exec winter-forest db -- tar x -C /tmp",
		ValidArgsFunction: completeNames(d, false, enclaveNames, serviceNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			words := args[2:]
			if len(words) == 1 && cmd.ArgsLenAtDash() != 2 {
				words = []string{"sh", "-c", words[0]}
			}
			return o.run(cmd.Context(), d, args[0], args[1], words)
		},
	}
	o.addFlags(cmd)
	return cmd
}

func (o *serviceExecOptions) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&o.user, "user", "u", "", "run as this user: uid[:gid] or name[:group]")
	flags.StringVarP(&o.workDir, "workdir", "w", "", "run in this directory of the service")
	flags.StringArrayVarP(&o.env, "env", "e", nil, "set a variable: KEY=VALUE, or KEY to pass on one's own")
	flags.BoolVarP(&o.tty, "tty", "t", false, "give the command a terminal")
	flags.BoolVarP(&o.interactive, "interactive", "i", false, "pass on what is typed")
	flags.BoolVar(&o.noStdin, "no-stdin", false, "do not pass on piped input")
}

func (o *serviceExecOptions) run(ctx context.Context, d *deps, enclave, service string, words []string) error {
	if o.tty && !d.term.InTTY {
		return usagef("--tty needs a terminal as standard input")
	}
	env, err := keyValues("--env", o.env, d.getenv)
	if err != nil {
		return err
	}
	spec := backend.ExecSpec{Args: words, Env: env, WorkDir: o.workDir, User: o.user}
	return d.with(ctx, func(c *client.Client) error {
		if o.tty {
			return d.execTerminal(ctx, c, enclave, service, spec)
		}
		if !o.noStdin && (o.interactive || !d.term.InTTY) {
			spec.Stdin = d.term.In
		}
		spec.Stdout = serviceWriter(d.term.Out, d.term.OutTTY)
		spec.Stderr = serviceWriter(d.term.Err, d.term.ErrTTY)
		code, err := c.Exec(ctx, enclave, service, spec, nil)
		if err != nil {
			return err
		}
		return silent(code)
	})
}

// keyValues reads a repeated flag: KEY=VALUE, or KEY for a variable of this
// process.
func keyValues(flag string, texts []string, getenv func(string) string) (map[string]string, error) {
	if len(texts) == 0 {
		return nil, nil
	}
	values := make(map[string]string, len(texts))
	for _, text := range texts {
		key, value, set := strings.Cut(text, "=")
		if key == "" {
			return nil, usagef("%s: %q has no name", flag, text)
		}
		if !set {
			value = getenv(key)
		}
		values[key] = value
	}
	return values, nil
}
