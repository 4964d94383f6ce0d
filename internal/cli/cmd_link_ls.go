package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/api/client"
	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/link"
	"github.com/lepto-dev/lepto/internal/ui"
)

func newLinkLs(d *deps) *cobra.Command {
	var output choice
	cmd := &cobra.Command{
		Use: "ls ENCLAVE", Aliases: []string{"list", "show"}, Args: args(1, 1),
		Short:             "Show subnetworks, their connections and what was counted",
		Example:           "  lepto link ls winter-forest",
		ValidArgsFunction: completeNames(d, false, enclaveNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.with(cmd.Context(), func(c *client.Client) error { return d.listLinks(cmd.Context(), c, args[0], output.json()) })
		},
	}
	addOutput(cmd, &output)
	return cmd
}

func (d *deps) listLinks(ctx context.Context, c *client.Client, name string, asJSON bool) error {
	links, err := c.Links(ctx, name)
	if err != nil {
		return err
	}
	if asJSON {
		return d.json(links)
	}
	out, style := d.term.Out, d.term.OutStyle
	subnetworks := ui.Table{Header: []string{"Subnetwork", "Services"}}
	for _, name := range links.Subnetworks {
		subnetworks.Add(d.clean(name), d.clean(strings.Join(membersOf(links.Table, name), ", ")))
	}
	if err := subnetworks.Write(out, style); err != nil {
		return err
	}
	fmt.Fprintln(out)
	if err := d.writeConnections(links.Table); err != nil {
		return err
	}
	if err := d.writeLinkStats(links.Stats); err != nil {
		return err
	}
	return d.writeSchedules(links.Schedules)
}

// writeSchedules shows faults that are to come, and those that came, in order of time.
func (d *deps) writeSchedules(schedules []enclave.FaultSchedule) error {
	var all []enclave.ScheduledFault
	for _, s := range schedules {
		all = append(all, s.Faults...)
	}
	if len(all) == 0 {
		return nil
	}
	slices.SortStableFunc(all, func(a, b enclave.ScheduledFault) int { return a.At.Compare(b.At) })
	table := ui.Table{Header: []string{"Time", "Fault", "State"}}
	for _, f := range all {
		table.Add(f.At.Local().Format("2006-01-02 15:04:05.000"), d.clean(f.String()), d.clean(faultState(f, time.Now())))
	}
	fmt.Fprintln(d.term.Out)
	return table.Write(d.term.Out, d.term.OutStyle)
}

// faultState tells what became of a fault, or when it comes.
func faultState(f enclave.ScheduledFault, now time.Time) string {
	late := ""
	if by := f.Applied.Sub(f.At).Round(100 * time.Millisecond); !f.Applied.IsZero() && by >= time.Second {
		late = fmt.Sprintf(", %s late", by)
	}
	switch {
	case f.Cancelled:
		return "called off"
	case f.Error != "":
		return "failed" + late + ": " + f.Error
	case f.Pending():
		return fmt.Sprintf("pending, in %s", max(0, f.At.Sub(now)).Round(100*time.Millisecond))
	}
	return "applied" + late
}

// writeConnections shows what holds between subnetworks.
func (d *deps) writeConnections(t link.Table) error {
	connections := ui.Table{Header: []string{"From", "To", "Connection"}}
	connections.Add("*", "*", t.Default.String())
	for _, o := range t.Overrides {
		connections.Add(d.clean(o.From), d.clean(o.To), o.Connection.String())
	}
	return connections.Write(d.term.Out, d.term.OutStyle)
}

func membersOf(t link.Table, subnetwork string) []string {
	var names []string
	for _, service := range slices.Sorted(maps.Keys(t.Members)) {
		if t.Members[service] == subnetwork {
			names = append(names, service)
		}
	}
	return names
}

// counters are those that are shown: some always, the others where there is
// something to tell of them.
var counters = []struct {
	title, name string
	always      bool
	of          func(link.Stats) uint64
}{
	{"Packets", "packets", true, func(s link.Stats) uint64 { return s.Packets }},
	{"Dropped", "dropped", true, func(s link.Stats) uint64 { return s.Dropped }},
	{"Delayed", "delayed", true, func(s link.Stats) uint64 { return s.Delayed }},
	{"Duplicated", "duplicated", false, func(s link.Stats) uint64 { return s.Duplicated }},
	{"Corrupted", "corrupted", false, func(s link.Stats) uint64 { return s.Corrupted }},
	{"Reordered", "reordered", false, func(s link.Stats) uint64 { return s.Reordered }},
}

// writeLinkStats shows the counters of links that anything has passed.
func (d *deps) writeLinkStats(stats []link.Stats) error {
	stats = slices.DeleteFunc(slices.Clone(stats), func(s link.Stats) bool { return s.Packets == 0 })
	if len(stats) == 0 {
		return nil
	}
	header := []string{"From", "To"}
	rows := make([][]string, len(stats))
	for i, s := range stats {
		rows[i] = []string{d.clean(s.From), d.clean(s.To)}
	}
	for _, c := range counters {
		if !c.always && !slices.ContainsFunc(stats, func(s link.Stats) bool { return c.of(s) > 0 || slices.Contains(s.Uncounted, c.name) }) {
			continue
		}
		header = append(header, c.title)
		for i, s := range stats {
			text := strconv.FormatUint(c.of(s), 10)
			if slices.Contains(s.Uncounted, c.name) {
				text = "not counted"
			}
			rows[i] = append(rows[i], text)
		}
	}
	table := ui.Table{Header: header}
	for _, row := range rows {
		table.Add(row...)
	}
	fmt.Fprintln(d.term.Out)
	return table.Write(d.term.Out, d.term.OutStyle)
}
