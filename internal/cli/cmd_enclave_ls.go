package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/api/client"
	"github.com/lepto-dev/lepto/internal/ui"
)

type enclaveLsOptions struct {
	fullUUIDs bool
	output    choice
}

func newEnclaveLs(d *deps) *cobra.Command {
	var o enclaveLsOptions
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Args: args(0, 0),
		Short:   "List enclaves, oldest first",
		Example: "  lepto enclave ls -o json",
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), d) },
	}
	o.addFlags(cmd)
	return cmd
}

func (o *enclaveLsOptions) addFlags(cmd *cobra.Command) {
	addFullUUIDs(cmd, &o.fullUUIDs)
	addOutput(cmd, &o.output)
}

// addFullUUIDs adds --full-uuids, and its other spelling.
func addFullUUIDs(cmd *cobra.Command, full *bool) {
	cmd.Flags().BoolVar(full, "full-uuids", false, "show uuids in full")
	cmd.Flags().BoolVar(full, "full-uuid", false, "the same")
	_ = cmd.Flags().MarkHidden("full-uuid")
}

func (o *enclaveLsOptions) run(ctx context.Context, d *deps) error {
	return d.with(ctx, func(c *client.Client) error {
		list, err := c.Enclaves(ctx)
		if err != nil {
			return err
		}
		if o.output.json() {
			return d.json(emptyNotNull(list))
		}
		table := ui.Table{Header: []string{"UUID", "Name", "Status", "Creation Time"}}
		for _, e := range list {
			// The space before the time is part of the layout that scripts know.
			table.Add(uuidText(e.UUID, e.ShortUUID, o.fullUUIDs), d.clean(e.Name),
				d.term.OutStyle.Status(e.Status), " "+timeText(e.Created))
		}
		return table.Write(d.term.Out, d.term.OutStyle)
	})
}

// emptyNotNull makes a list that was never filled show as [] in JSON.
func emptyNotNull[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func uuidText(full, short string, wantFull bool) string {
	if wantFull {
		return full
	}
	return short
}

// timeText gives a time in the user's zone; blank where it is unknown.
func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.RFC1123)
}
