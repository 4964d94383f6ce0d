package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/ui"
)

// This file lays out help: what it does, how to call it, an example that works,
// and the flags; a screen at most.

func writeHelp(d *deps, cmd *cobra.Command) {
	var out strings.Builder
	text := cmd.Long
	if text == "" {
		text = cmd.Short
	}
	fmt.Fprintf(&out, "%s\n\n%s %s\n", text, d.term.OutStyle.Bold("Usage:"), usageLine(cmd))
	if len(cmd.Aliases) > 0 {
		fmt.Fprintf(&out, "%s %s\n", d.term.OutStyle.Bold("Aliases:"), strings.Join(cmd.Aliases, ", "))
	}
	if cmd.Example != "" {
		fmt.Fprintf(&out, "\n%s\n%s\n", d.term.OutStyle.Bold("Examples:"), cmd.Example)
	}
	writeCommands(&out, d.term.OutStyle, cmd)
	if flags := cmd.LocalNonPersistentFlags(); flags.HasAvailableFlags() && cmd.Runnable() && !cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&out, "\n%s\n%s", d.term.OutStyle.Bold("Flags:"), flags.FlagUsages())
	}
	if !cmd.HasParent() {
		fmt.Fprintf(&out, "\n%s\n%s", d.term.OutStyle.Bold("Global flags:"), cmd.PersistentFlags().FlagUsages())
		out.WriteString("\nExit codes: 0 success, 1 failure, 2 wrong usage, 130 interrupted;\n" +
			"service exec and service shell give the exit code of their command.\n")
	}
	fmt.Fprint(d.term.Out, out.String())
}

// usageLine gives the call of a command, with its arguments after the flags.
func usageLine(cmd *cobra.Command) string {
	if cmd.HasAvailableSubCommands() {
		return cmd.CommandPath() + " COMMAND"
	}
	return cmd.UseLine()
}

func writeCommands(out *strings.Builder, s ui.Style, cmd *cobra.Command) {
	if !cmd.HasAvailableSubCommands() {
		return
	}
	fmt.Fprintf(out, "\n%s\n", s.Bold("Commands:"))
	width := 12
	for _, child := range cmd.Commands() {
		if child.IsAvailableCommand() {
			width = max(width, len(child.Name()))
		}
	}
	for _, child := range cmd.Commands() {
		if child.IsAvailableCommand() {
			fmt.Fprintf(out, "  %-*s %s\n", width, child.Name(), child.Short)
		}
	}
	fmt.Fprintf(out, "\n'%s COMMAND --help' tells more about a command.\n", cmd.CommandPath())
}
