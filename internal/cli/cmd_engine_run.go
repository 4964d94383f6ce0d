package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/api"
	"github.com/lepto-dev/lepto/internal/engine"
)

// newEngineRun makes lepto engine run: the engine itself, in the foreground.
// Other commands start it in the background.
func newEngineRun(d *deps) *cobra.Command {
	return &cobra.Command{
		Use: "run", Args: args(0, 0), Hidden: true,
		Short: "Be the engine, in the foreground",
		RunE: func(cmd *cobra.Command, _ []string) error {
			config := engine.Config{Home: d.home, API: api.New, Loopback: engine.DefaultLoopback, Version: d.version}
			if err := d.chooseBackend(&config); err != nil {
				return err
			}
			// The engine reads signals itself, and ends in order.
			restore := d.interrupts.handle(func(int) {})
			defer restore()
			return engine.Main(context.WithoutCancel(cmd.Context()), config)
		},
	}
}
