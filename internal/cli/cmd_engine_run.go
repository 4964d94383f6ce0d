//go:build !front

package cli

import (
	"context"
	"os"
	"runtime/debug"

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
			collectLess()
			// The engine reads signals itself, and ends in order.
			restore := d.interrupts.handle(func(int) {})
			defer restore()
			return engine.Main(context.WithoutCancel(cmd.Context()), config)
		},
	}
}

// collectLess lets the engine's heap grow to 16 MB, where it would be 4, before
// it is collected: 1 or 2 MB of it live, but the netlink client takes 64 KB for
// every answer. Ten services that start cost one collection at most, not three.
// Beyond the limit it is collected more often again. GOGC has its
// way where it is set.
func collectLess() {
	const percent, limit = 400, 512 << 20
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	}
}
