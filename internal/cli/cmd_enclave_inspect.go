package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/api/client"
	"github.com/lepto-dev/lepto/internal/ui"
)

type enclaveInspectOptions struct {
	fullUUIDs bool
	output    choice
}

func newEnclaveInspect(d *deps) *cobra.Command {
	var o enclaveInspectOptions
	cmd := &cobra.Command{
		Use: "inspect ENCLAVE", Aliases: []string{"show", "describe"}, Args: args(1, 1),
		Short:             "Show an enclave with its files artifacts, services and ports",
		Example:           "  lepto enclave inspect winter-forest",
		ValidArgsFunction: completeNames(d, false, enclaveNames),
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), d, args[0]) },
	}
	o.addFlags(cmd)
	return cmd
}

func (o *enclaveInspectOptions) addFlags(cmd *cobra.Command) {
	addFullUUIDs(cmd, &o.fullUUIDs)
	addOutput(cmd, &o.output)
}

func (o *enclaveInspectOptions) run(ctx context.Context, d *deps, enclave string) error {
	return d.with(ctx, func(c *client.Client) error {
		e, err := c.Enclave(ctx, enclave)
		if err != nil {
			return err
		}
		if o.output.json() {
			e.Services, e.Artifacts = emptyNotNull(e.Services), emptyNotNull(e.Artifacts)
			return d.json(e)
		}
		return d.writeEnclave(e, o.fullUUIDs)
	})
}

// writeEnclave shows an enclave in the layout that scripts know.
func (d *deps) writeEnclave(e client.EnclaveDetail, fullUUIDs bool) error {
	out, style := d.term.Out, d.term.OutStyle
	flags := ""
	if e.Production {
		flags = "production"
	}
	err := ui.WritePairs(out, style,
		ui.Pair{Key: "Name", Value: d.clean(e.Name)},
		ui.Pair{Key: "UUID", Value: uuidText(e.UUID, e.ShortUUID, fullUUIDs)},
		ui.Pair{Key: "Status", Value: style.Status(e.Status)},
		ui.Pair{Key: "Creation Time", Value: timeText(e.Created)},
		ui.Pair{Key: "Flags", Value: flags},
	)
	if err != nil {
		return err
	}
	artifacts := ui.Table{Header: []string{"UUID", "Name"}}
	for _, a := range e.Artifacts {
		artifacts.Add(uuidText(a.UUID, a.ShortUUID, fullUUIDs), d.clean(a.Name))
	}
	services := ui.Table{Header: []string{"UUID", "Name", "Ports", "Status"}}
	for _, s := range e.Services {
		d.addServiceRows(&services, s, fullUUIDs)
	}
	fmt.Fprintf(out, "\n%s\n", ui.Section(style, "Files Artifacts"))
	if err := artifacts.Write(out, style); err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%s\n", ui.Section(style, "User Services"))
	if err := services.Write(out, style); err != nil {
		return err
	}
	if e.Links != nil {
		fmt.Fprintf(out, "\n%s\n", ui.Section(style, "Connections"))
		if err := d.writeConnections(e.Links.Table); err != nil {
			return err
		}
		if err := d.writeLinkStats(e.Links.Stats); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintln(out)
	return err
}

// addServiceRows adds a service: a row with its first port, and one for each
// port more.
func (d *deps) addServiceRows(table *ui.Table, s client.Service, fullUUIDs bool) {
	ports := []string{"<none>"}
	if len(s.Ports) > 0 {
		ports = ports[:0]
	}
	for _, p := range s.Ports {
		ports = append(ports, d.clean(portText(p)))
	}
	table.Add(uuidText(s.UUID, s.ShortUUID, fullUUIDs), d.clean(s.Name), ports[0], d.term.OutStyle.Status(s.Status))
	for _, p := range ports[1:] {
		table.Add("", "", p, "")
	}
}

// spotlight frames the one thing to notice in the talk.
func (d *deps) spotlight(text string) {
	if d.level >= levelInfo {
		fmt.Fprint(d.term.Err, ui.Spotlight(d.term.ForErr(text)))
	}
}
