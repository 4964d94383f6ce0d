package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/lepto-dev/lepto/internal/api/client"
	"github.com/lepto-dev/lepto/internal/fault"
)

type serviceInspectOptions struct {
	fullUUID bool
	output   choice
}

func newServiceInspect(d *deps) *cobra.Command {
	var o serviceInspectOptions
	cmd := &cobra.Command{
		Use: "inspect ENCLAVE SERVICE", Aliases: []string{"show", "describe"}, Args: args(2, 2),
		Short:             "Show a service; with -o, its config as JSON or YAML",
		Example:           "  lepto service inspect winter-forest db -o json",
		ValidArgsFunction: completeNames(d, false, enclaveNames, serviceNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), d, args[0], args[1])
		},
	}
	o.addFlags(cmd)
	return cmd
}

func (o *serviceInspectOptions) addFlags(cmd *cobra.Command) {
	addFullUUIDs(cmd, &o.fullUUID)
	o.output = oneOf("text", "json", "yaml")
	addOutput(cmd, &o.output)
}

func (o *serviceInspectOptions) run(ctx context.Context, d *deps, enclave, name string) error {
	return d.with(ctx, func(c *client.Client) error {
		s, err := findService(ctx, c, enclave, name)
		if err != nil {
			return err
		}
		switch o.output.value {
		case "json":
			return d.json(configOf(s))
		case "yaml":
			enc := yaml.NewEncoder(d.term.Out)
			enc.SetIndent(2)
			if err := enc.Encode(configOf(s)); err != nil {
				return fmt.Errorf("service %q as YAML: %w", s.Name, err)
			}
			return enc.Close()
		}
		return d.print("%s", serviceText(s, o.fullUUID))
	})
}

// CodeNoService is the fault of a service that is not there.
const CodeNoService = "E0802"

// findService gives a service of an enclave, by uuid, short uuid or name.
func findService(ctx context.Context, c *client.Client, enclave, identifier string) (client.Service, error) {
	list, err := c.Services(ctx, enclave)
	if err != nil {
		return client.Service{}, err
	}
	var names []string
	for _, is := range []func(client.Service) bool{
		func(s client.Service) bool { return s.UUID == identifier },
		func(s client.Service) bool { return s.ShortUUID == identifier },
		func(s client.Service) bool { names = append(names, s.Name); return s.Name == identifier },
	} {
		if i := slices.IndexFunc(list, is); i >= 0 {
			return list[i], nil
		}
	}
	f := fault.New(CodeNoService, "service %q of enclave %q: %w", identifier, enclave, fault.ErrNotFound)
	if near := fault.Nearest(identifier, names); near != "" {
		f.WithHint("did you mean %q?", near)
	} else if len(names) > 0 {
		f.WithHint("the enclave has %s", strings.Join(names, ", "))
	}
	return client.Service{}, f
}

// serviceText gives a service in the layout that scripts know.
func serviceText(s client.Service, fullUUID bool) string {
	var out strings.Builder
	fmt.Fprintf(&out, "Name: %s\nUUID: %s\nStatus: %s\nImage: %s\nPorts:\n", s.Name, uuidText(s.UUID, s.ShortUUID, fullUUID), s.Status, s.Image)
	for _, p := range s.Ports {
		fmt.Fprintf(&out, "  %s\n", portText(p))
	}
	section := func(title string, lines []string) {
		out.WriteString(title + ":\n")
		for _, line := range lines {
			fmt.Fprintf(&out, "  %s\n", line)
		}
	}
	section("ENTRYPOINT", s.Entrypoint)
	section("CMD", s.Cmd)
	var env []string
	for _, key := range slices.Sorted(maps.Keys(s.Env)) {
		env = append(env, key+": "+s.Env[key])
	}
	section("ENV", env)
	return strings.TrimSuffix(out.String(), "\n")
}
