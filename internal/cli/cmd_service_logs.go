package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/api/client"
)

type serviceLogsOptions struct {
	follow, all, allServices, invert, filterFirst bool
	num                                           int
	match, regex, since                           string
	output                                        choice
}

func newServiceLogs(d *deps) *cobra.Command {
	var o serviceLogsOptions
	cmd := &cobra.Command{
		Use: "logs ENCLAVE [SERVICE...]", Aliases: []string{"log"}, Args: args(1, -1),
		Short:             "Print the output of services, or follow it",
		Example:           "  lepto service logs winter-forest db --follow\n  lepto service logs winter-forest --since 10m --match ERROR",
		ValidArgsFunction: completeNames(d, true, enclaveNames, serviceNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), d, args[0], args[1:])
		},
	}
	o.addFlags(cmd)
	return cmd
}

func (o *serviceLogsOptions) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVarP(&o.follow, "follow", "f", false, "go on until Ctrl-C")
	flags.BoolVarP(&o.all, "all", "a", false, "all stored lines")
	flags.IntVarP(&o.num, "num", "n", 200, "the last lines of each service")
	flags.StringVar(&o.since, "since", "", "only lines after this: a duration (10m) or a time (RFC 3339)")
	flags.StringVar(&o.match, "match", "", "only lines with this text")
	flags.StringVar(&o.regex, "regex-match", "", "only lines that match this RE2 expression")
	flags.BoolVarP(&o.invert, "invert-match", "v", false, "only lines that do not match")
	flags.BoolVar(&o.filterFirst, "match-first", false, "let --num count matching lines")
	flags.BoolVarP(&o.allServices, "all-services", "x", false, "every service of the enclave")
	addOutput(cmd, &o.output)
}

func (o *serviceLogsOptions) run(ctx context.Context, d *deps, enclave string, services []string) error {
	req, err := o.request(d, enclave, services)
	if err != nil {
		return err
	}
	err = d.with(ctx, func(c *client.Client) error {
		show := o.shower(d, services)
		for entry, err := range c.Logs(ctx, req) {
			if err != nil {
				return err
			}
			if err := show(entry); err != nil {
				return fmt.Errorf("log of service %q: %w", entry.Service, err)
			}
		}
		return nil
	})
	if errors.Is(context.Cause(ctx), errInterrupted) {
		return nil // Ctrl-C is how one leaves, connected or not yet, and no failure
	}
	return err
}

func (o *serviceLogsOptions) request(d *deps, enclave string, services []string) (client.LogsRequest, error) {
	req := client.LogsRequest{Enclave: enclave, Services: services, Follow: o.follow, Tail: o.num, FilterFirst: o.filterFirst}
	if o.all {
		req.Tail = -1
	}
	if o.allServices || len(services) == 1 && services[0] == "*" {
		req.Services = nil
	}
	if o.match != "" && o.regex != "" {
		return req, usagef("--match and --regex-match exclude each other")
	}
	if pattern := o.match + o.regex; pattern != "" {
		req.Filters = []client.LogFilter{{Pattern: pattern, Regex: o.regex != "", Invert: o.invert}}
	} else if o.invert {
		return req, usagef("--invert-match needs --match or --regex-match")
	}
	var err error
	req.Since, err = parseSince(o.since, time.Now())
	req.Unknown = func(names []string) {
		d.warn("no output is stored for %s", strings.Join(names, ", "))
	}
	return req, err
}

// parseSince reads a duration before now, or a time.
func parseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", time.DateOnly} {
		if at, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return at, nil
		}
	}
	return time.Time{}, usagef("--since: %q is neither a duration such as 10m nor a time such as 2026-01-02T15:04:05Z", text)
}

// shower gives the function that prints a line. Services are labelled in
// colours, given in the order in which they first say something.
func (o *serviceLogsOptions) shower(d *deps, asked []string) func(client.LogEntry) error {
	if o.output.json() {
		enc := json.NewEncoder(d.term.Out)
		enc.SetEscapeHTML(false)
		return func(e client.LogEntry) error { return enc.Encode(e) }
	}
	labels := map[string]string{}
	return func(e client.LogEntry) error {
		label, known := labels[e.UUID]
		if !known {
			label = d.term.OutStyle.Label(len(labels), d.clean(asTyped(e, asked)))
			labels[e.UUID] = label
		}
		_, err := fmt.Fprintf(d.term.Out, "[%s] %s\n", label, d.term.ForOut(e.Text))
		return err
	}
}

// asTyped gives what the user called the service of a line.
func asTyped(e client.LogEntry, asked []string) string {
	for _, typed := range asked {
		if typed == e.Service || typed == e.UUID || len(typed) == 12 && strings.HasPrefix(e.UUID, typed) {
			return typed
		}
	}
	return e.Service
}
