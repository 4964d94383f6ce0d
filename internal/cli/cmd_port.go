package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/api/client"
	"github.com/lepto-dev/lepto/internal/fault"
)

// newPort makes lepto port.
func newPort(d *deps) *cobra.Command {
	return newGroup("port", "Look up ports of services", []string{"ports"}, newPortPrint(d))
}

// The faults of a port that has no address on the host.
const (
	CodeNoPort       = "E0803" // the service has no such port
	CodeNotPublished = "E0804" // the port can't be reached from the host now
)

type portPrintOptions struct {
	format string
	output choice
}

func newPortPrint(d *deps) *cobra.Command {
	var o portPrintOptions
	cmd := &cobra.Command{
		Use: "print ENCLAVE SERVICE PORT", Args: args(3, 3),
		Short:             "Print where the host reaches a port of a service",
		Example:           "  curl $(lepto port print winter-forest api http)\n  lepto port print winter-forest db pg --format ip,number",
		ValidArgsFunction: completeNames(d, false, enclaveNames, serviceNames, portNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), d, args[0], args[1], args[2])
		},
	}
	cmd.Flags().StringVar(&o.format, "format", "protocol,ip,number", "the parts to print, in this order")
	addOutput(cmd, &o.output)
	return cmd
}

func (o *portPrintOptions) run(ctx context.Context, d *deps, enclave, service, id string) error {
	parts, err := parsePortFormat(o.format)
	if err != nil {
		return err
	}
	return d.with(ctx, func(c *client.Client) error {
		p, err := findPort(ctx, c, enclave, service, id)
		if err != nil {
			return err
		}
		if o.output.json() {
			return d.json(p)
		}
		return d.print("%s", formatPort(p, parts))
	})
}

func findPort(ctx context.Context, c *client.Client, enclave, service, id string) (client.Port, error) {
	s, err := findService(ctx, c, enclave, service)
	if err != nil {
		return client.Port{}, err
	}
	var ids []string
	for _, p := range s.Ports {
		ids = append(ids, p.ID)
		switch {
		case p.ID != id:
		case p.HostPort == 0:
			return p, fault.New(CodeNotPublished, "port %q of service %q has no address on this host", id, s.Name).
				WithHint("the service is %s; a port is published while it runs", strings.ToLower(s.Status))
		default:
			return p, nil
		}
	}
	f := fault.New(CodeNoPort, "port %q of service %q: %w", id, s.Name, fault.ErrNotFound)
	if len(ids) > 0 {
		f.WithHint("it has %s", strings.Join(ids, ", "))
	}
	return client.Port{}, f
}

// portParts are the parts of a port's address, in the only order they come in.
var portParts = []string{"protocol", "ip", "number"}

func parsePortFormat(format string) ([]string, error) {
	var parts []string
	last := -1
	for part := range strings.SplitSeq(format, ",") {
		at := slices.Index(portParts, strings.TrimSpace(part))
		if at < 0 {
			return nil, usagef("--format: %q is none of %s", part, strings.Join(portParts, ", "))
		}
		if at <= last {
			return nil, usagef("--format: the order is %s", strings.Join(portParts, ", "))
		}
		last = at
		parts = append(parts, portParts[at])
	}
	return parts, nil
}

// formatPort joins the parts. A part alone stands without its punctuation.
func formatPort(p client.Port, parts []string) string {
	number := strconv.Itoa(int(p.HostPort))
	if len(parts) == 1 {
		return map[string]string{"protocol": p.Application, "ip": p.HostIP, "number": number}[parts[0]]
	}
	var out strings.Builder
	for _, part := range parts {
		switch {
		case part == "protocol" && p.Application != "":
			out.WriteString(p.Application + "://")
		case part == "ip" && strings.Contains(p.HostIP, ":"):
			fmt.Fprintf(&out, "[%s]", p.HostIP)
		case part == "ip":
			out.WriteString(p.HostIP)
		case part == "number":
			out.WriteString(":" + number)
		}
	}
	return out.String()
}
