package cli

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/api/client"
	"github.com/lepto-dev/lepto/internal/link"
)

type linkSetOptions struct {
	block, allow  bool
	delay, jitter time.Duration
	connection    link.Connection
	direction     choice
	changed       func(flag string) bool
}

func newLinkSet(d *deps) *cobra.Command {
	o := linkSetOptions{direction: oneOf(string(link.Both), string(link.Forward), string(link.Backward))}
	cmd := &cobra.Command{
		Use: "set ENCLAVE [SUBNETWORK SUBNETWORK]", Args: args(1, 3),
		Short: "Set the connection between two subnetworks, or the default one",
		Long: "Set the connection between two subnetworks or, without them, the default\n" +
			"connection, for all pairs that have none of their own. It holds at once, for\n" +
			"connections that are open too.",
		Example: "  lepto link set winter-forest east west --delay 50ms --jitter 10ms --loss 1\n" +
			"  lepto link set winter-forest --block",
		ValidArgsFunction: completeNames(d, false, enclaveNames, subnetworkNames, subnetworkNames),
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), d, args) },
	}
	o.addFlags(cmd)
	return cmd
}

func (o *linkSetOptions) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&o.block, "block", false, "let nothing pass")
	flags.BoolVar(&o.allow, "allow", false, "let everything pass")
	flags.Float64Var(&o.connection.Loss, "loss", 0, "percent of packets that are lost")
	flags.DurationVar(&o.delay, "delay", 0, "how long packets take, each way")
	flags.DurationVar(&o.jitter, "jitter", 0, "standard deviation of the delay, which is normally distributed then")
	flags.Float64Var(&o.connection.Delay.Correlation, "correlation", 0, "percent of a packet's delay that is like the one's before")
	flags.Float64Var(&o.connection.RateMbps, "rate", 0, "megabits a second that pass; 0: no bound")
	flags.Float64Var(&o.connection.Duplicate, "duplicate", 0, "percent of packets that arrive twice")
	flags.Float64Var(&o.connection.Corrupt, "corrupt", 0, "percent of packets that arrive with an error")
	flags.Float64Var(&o.connection.Reorder, "reorder", 0, "percent of packets that overtake")
	addDirection(cmd, &o.direction)
	exclusive(cmd, "block", "allow")
	o.changed = flags.Changed
}

// properties are the flags that say one thing of a connection.
var properties = []string{"loss", "delay", "jitter", "correlation", "rate", "duplicate", "corrupt", "reorder"}

func (o *linkSetOptions) check(args []string) error {
	property := slices.IndexFunc(properties, o.changed)
	switch {
	case o.block && property >= 0:
		return usagef("--block and --%s exclude each other", properties[property])
	case o.allow && property >= 0:
		return usagef("--allow and --%s exclude each other", properties[property])
	case len(args) == 2:
		return usagef("a connection is between two subnetworks, not one")
	case len(args) == 1 && o.changed("direction"):
		return usagef("--direction needs two subnetworks: the default connection has none")
	case o.changed("correlation") && !o.changed("jitter"):
		return usagef("--correlation needs --jitter: without it all delays are the same")
	case !o.block && !o.allow && property < 0:
		return usagef("what is the connection to be? --block, --allow, --loss, --delay, …")
	}
	return nil
}

func (o *linkSetOptions) run(ctx context.Context, d *deps, args []string) error {
	if err := o.check(args); err != nil {
		return err
	}
	c := o.connection
	c.Delay.Mean, c.Delay.StdDev = o.delay, o.jitter
	switch {
	case o.block:
		c = link.Blocked
	case o.allow:
		c = link.Allowed
	}
	return d.with(ctx, func(client *client.Client) error {
		if len(args) == 1 {
			return client.SetLink(ctx, args[0], nil, "", c)
		}
		err := client.SetLink(ctx, args[0], &link.Pair{args[1], args[2]}, link.Direction(o.direction.String()), c)
		if err == nil {
			d.warnOfEmpty(ctx, client, args[0], args[1:])
		}
		return err
	})
}

// warnOfEmpty tells of subnetworks without a service: it may be that a name was
// mistyped.
func (d *deps) warnOfEmpty(ctx context.Context, c *client.Client, enclave string, subnetworks []string) {
	links, err := c.Links(ctx, enclave)
	if err != nil || len(links.Table.Members) == 0 {
		return
	}
	for i, name := range subnetworks {
		if !slices.Contains(subnetworks[:i], name) && len(membersOf(links.Table, name)) == 0 {
			d.warn("no service is in subnetwork %q yet", name)
		}
	}
}
