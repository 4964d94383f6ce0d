package cli

import (
	"runtime"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/ui"
)

func newVersion(d *deps) *cobra.Command {
	var output choice
	cmd := &cobra.Command{
		Use: "version", Args: args(0, 0),
		Short:   "Print the version of this program",
		Example: "  lepto version",
		RunE: func(*cobra.Command, []string) error {
			if output.json() {
				return d.json(map[string]string{"version": d.version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH})
			}
			if err := ui.WritePairs(d.term.Out, d.term.OutStyle, ui.Pair{Key: "CLI Version", Value: d.version}); err != nil {
				return err
			}
			return d.print("\nTo see the engine's version, run: lepto engine status")
		},
	}
	addOutput(cmd, &output)
	return cmd
}
