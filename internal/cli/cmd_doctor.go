//go:build !front

package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/lepto-dev/lepto/internal/api/client"
	"github.com/lepto-dev/lepto/internal/backend/native"
	"github.com/lepto-dev/lepto/internal/engine"
	"github.com/lepto-dev/lepto/internal/ui"
)

type doctorOptions struct{ output choice }

func newDoctor(d *deps) *cobra.Command {
	var o doctorOptions
	cmd := &cobra.Command{
		Use: "doctor", Args: args(0, 0),
		Short: doctorShort,
		Long: "Check whether services can run on this machine: kernel, privileges, cgroups,\n" +
			"network, disk, and the engine. Nothing is changed. The exit code is 1 if a check\n" +
			"fails; a warning does not keep services from running.",
		Example: "  sudo lepto doctor",
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), d) },
	}
	addOutput(cmd, &o.output)
	return cmd
}

// doctorJSON is the document of doctor -o json.
type doctorJSON struct {
	OK     bool           `json:"ok"`
	Checks []native.Check `json:"checks"`
}

func (o *doctorOptions) run(ctx context.Context, d *deps) error {
	var checks []native.Check
	if name := d.getenv("LEPTO_BACKEND"); name == "" || name == "native" {
		checks = native.Probe(ctx, d.probeHome())
	}
	checks = append(checks, d.engineChecks(ctx)...)
	if err := context.Cause(ctx); err != nil {
		return err
	}
	failed := 0
	for _, c := range checks {
		if c.Status == native.CheckFail {
			failed++
		}
	}
	var err error
	if o.output.json() {
		err = d.json(doctorJSON{OK: failed == 0, Checks: checks})
	} else {
		err = d.writeChecks(checks, failed)
	}
	if err == nil && failed > 0 {
		err = silent(exitFailure)
	}
	return err
}

// probeHome gives the home, or the nearest directory above it that is there:
// looking makes nothing.
func (d *deps) probeHome() string {
	home := d.home
	for {
		if _, err := os.Stat(home); err == nil || home == filepath.Dir(home) {
			return home
		}
		home = filepath.Dir(home)
	}
}

// writeChecks shows the checks, each with what to do below it.
func (d *deps) writeChecks(checks []native.Check, failed int) error {
	style := d.term.OutStyle
	table := ui.Table{Header: []string{"Status", "Check", "Found"}}
	for _, c := range checks {
		table.Add(style.Status(string(c.Status)), c.Name, d.clean(c.Found))
		if c.Do != "" {
			table.Add("", "", style.Cyan("do: ")+d.clean(c.Do))
		}
	}
	if err := table.Write(d.term.Out, style); err != nil {
		return err
	}
	verdict := style.Green("Services can run here.")
	if failed > 0 {
		verdict = style.Red(fmt.Sprintf("Services can't run here: %s failed.", ui.Count(failed, "check")))
	}
	return d.print("\n%s", verdict)
}

// engineChecks look at the engine and at the address that SDKs use.
func (d *deps) engineChecks(ctx context.Context) []native.Check {
	check := native.Check{Name: "engine", Status: native.CheckOK}
	status, err := client.EngineStatus(ctx, d.home)
	switch {
	case err != nil:
		check.Status, check.Found, check.Do = native.CheckFail, err.Error(), "see that "+d.home+" is yours to use"
	case status.Answers && status.Info.Version != d.version:
		check.Status, check.Do = native.CheckWarn, "lepto engine restart; services go on running"
		check.Found = fmt.Sprintf("version %s is running, this program is %s", status.Info.Version, d.version)
	case status.Answers:
		check.Found = fmt.Sprintf("running, process %d", status.PID)
	case status.Running:
		check.Status, check.Found, check.Do = native.CheckFail, "running, but it can't be reached: "+status.Error, "lepto engine restart; services go on running"
	default:
		check.Found = "not running; it is started when it is needed"
	}
	return []native.Check{check, d.loopbackCheck(ctx, status)}
}

func (d *deps) loopbackCheck(ctx context.Context, status client.Status) native.Check {
	check := native.Check{Name: "SDK address", Status: native.CheckOK}
	const do = "end the program that holds it, then: lepto engine restart. Without it, SDKs can't reach the engine; all else works"
	if status.Answers {
		check.Found = status.Info.Loopback
		if check.Found == "" {
			check.Status, check.Found, check.Do = native.CheckWarn, status.Info.LoopbackError, do
			if d.getenv("LEPTO_LOOPBACK") == "off" {
				check.Status, check.Do = native.CheckOK, ""
			}
		}
		return check
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", engine.DefaultLoopback)
	switch {
	case err == nil:
		check.Found = engine.DefaultLoopback + " is free"
		listener.Close()
	case errors.Is(err, syscall.EADDRINUSE):
		check.Status, check.Found, check.Do = native.CheckWarn, engine.DefaultLoopback+" is taken by another program", do
	default:
		check.Status, check.Found = native.CheckWarn, err.Error()
	}
	return check
}
