package cli

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/api/client"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/ui"
)

// newEngine makes lepto engine. Its sub-commands are small enough for one file.
func newEngine(d *deps) *cobra.Command {
	return newGroup("engine", "Manage the engine, which other commands start by themselves", nil,
		newEngineStart(d), newEngineStop(d), newEngineRestart(d), newEngineStatus(d), newEngineLogs(d), newEngineRun(d))
}

func newEngineStart(d *deps) *cobra.Command {
	cmd := &cobra.Command{
		Use: "start", Args: args(0, 0),
		Short:   "Start the engine, unless it runs",
		Example: "  lepto engine start",
		RunE:    func(cmd *cobra.Command, _ []string) error { return startEngine(cmd.Context(), d) },
	}
	ignoreEngineFlags(cmd)
	return cmd
}

// ignoreEngineFlags accepts flags that scripts may give and that mean nothing
// here: the engine is this program.
func ignoreEngineFlags(cmd *cobra.Command) {
	for _, name := range []string{"version", "engine-log-level", "github-auth-token", "domain", "log-retention-period"} {
		cmd.Flags().String(name, "", "accepted and ignored")
		_ = cmd.Flags().MarkHidden(name)
	}
}

func startEngine(ctx context.Context, d *deps) error {
	started, err := client.StartEngine(ctx, d.clientOptions(true))
	switch {
	case err != nil:
		return err
	case started:
		d.say("lepto engine started")
	default:
		d.say("lepto engine is running already")
	}
	return nil
}

func newEngineStop(d *deps) *cobra.Command {
	return &cobra.Command{
		Use: "stop", Args: args(0, 0),
		Short:   "Stop the engine; enclaves and their services go on running",
		Example: "  lepto engine stop",
		RunE: func(cmd *cobra.Command, _ []string) error {
			d.say("Stopping lepto engine...")
			stopped, err := client.StopEngine(cmd.Context(), d.home)
			switch {
			case err != nil:
				return err
			case stopped:
				d.say("lepto engine successfully stopped")
			default:
				d.say("No lepto engine is running")
			}
			return nil
		},
	}
}

func newEngineRestart(d *deps) *cobra.Command {
	cmd := &cobra.Command{
		Use: "restart", Args: args(0, 0),
		Short:   "Stop the engine and start it again; services go on running",
		Example: "  lepto engine restart",
		RunE: func(cmd *cobra.Command, _ []string) error {
			d.say("Restarting lepto engine...")
			if _, err := client.StopEngine(cmd.Context(), d.home); err != nil {
				return err
			}
			if _, err := client.StartEngine(cmd.Context(), d.clientOptions(true)); err != nil {
				return err
			}
			d.say("Engine restarted successfully")
			return nil
		},
	}
	ignoreEngineFlags(cmd)
	return cmd
}

func newEngineStatus(d *deps) *cobra.Command {
	var output choice
	cmd := &cobra.Command{
		Use: "status", Args: args(0, 0),
		Short:   "Tell whether the engine runs, and how it is",
		Example: "  lepto engine status -o json",
		RunE:    func(cmd *cobra.Command, _ []string) error { return engineStatus(cmd.Context(), d, output) },
	}
	addOutput(cmd, &output)
	return cmd
}

func engineStatus(ctx context.Context, d *deps, output choice) error {
	status, err := client.EngineStatus(ctx, d.home)
	if err != nil {
		return err
	}
	if output.json() {
		return d.json(status)
	}
	switch {
	case !status.Running:
		return d.print("No lepto engine is running")
	case !status.Answers:
		return d.print("A lepto engine is running but it can't be reached: %s.\nTry 'lepto engine restart'; services go on running meanwhile.", status.Error)
	}
	if err := d.print("A lepto engine is running with the following info:"); err != nil {
		return err
	}
	info := status.Info
	loopback := info.Loopback
	if loopback == "" {
		loopback = "none: " + info.LoopbackError
	}
	pairs := []ui.Pair{
		{Key: "Version", Value: info.Version},
		{Key: "API Version", Value: info.APIVersion},
		{Key: "Backend", Value: info.Backend},
		{Key: "Process", Value: fmt.Sprint(info.PID)},
		{Key: "Home", Value: info.Home},
		{Key: "Socket", Value: info.Socket},
		{Key: "SDK Address", Value: d.clean(loopback)},
		{Key: "Started", Value: timeText(info.Started)},
	}
	if info.PackageMirror != "" {
		pairs = append(pairs, ui.Pair{Key: "Package Mirror", Value: info.PackageMirror})
	}
	return ui.WritePairs(d.term.Out, d.term.OutStyle, pairs...)
}

func newEngineLogs(d *deps) *cobra.Command {
	return &cobra.Command{
		Use: "logs", Aliases: []string{"log"}, Args: args(0, 0),
		Short:   "Print the engine's own log",
		Example: "  lepto engine logs | tail",
		RunE: func(cmd *cobra.Command, _ []string) error {
			file, err := os.Open(client.LogPath(d.home))
			if err != nil {
				return fault.New(CodeNoFile, "engine's log: %w", err)
			}
			defer file.Close()
			_, err = io.Copy(serviceWriter(d.term.Out, d.term.OutTTY), file)
			return err
		},
	}
}
