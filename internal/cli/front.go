//go:build front

package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/cli/whole"
	"github.com/lepto-dev/lepto/internal/ui"
)

// This file makes the front: lepto without what only the engine, plan and doctor
// need, which hands those over to all of lepto. Measured (Linux 6.18, page faults
// of lepto version): 850 with all of it, of which a Go program that does nothing
// has 170; 560 as the front. On virtual machines where a fault takes 30 µs, that is 9
// of 25 ms, of every command.

// handedOver are the commands that need more than a client: their files have the
// tag !front.
var handedOver = [][]string{{"plan"}, {"doctor"}, {"engine", "run"}, {"package", "schema"}, {"packages", "schema"}}

// handOver becomes all of lepto where the command is one of those; else it gives
// nil.
func (d *deps) handOver(args []string) error {
	// A client waits for others most of the time. On one processor it wakes no
	// threads to find that there is nothing to do: an exec has a third fewer
	// context switches, and on a busy machine two thirds of the time.
	runtime.GOMAXPROCS(1)
	var words []string
	for at := commandIndex(args); at >= 0 && at < len(args); at++ {
		if !strings.HasPrefix(args[at], "-") {
			words = append(words, args[at])
		}
	}
	for len(words) > 0 && slices.Contains([]string{"help", "__complete", "__completeNoDesc"}, words[0]) {
		words = words[1:]
	}
	if !slices.ContainsFunc(handedOver, func(name []string) bool {
		return len(words) >= len(name) && slices.Equal(words[:len(name)], name)
	}) {
		return nil
	}
	for i, arg := range args {
		if home, ok := strings.CutPrefix(arg, "--home="); ok {
			d.home = home
		} else if arg == "--home" && i+1 < len(args) {
			d.home = args[i+1]
		}
	}
	return d.becomeWhole(args)
}

// becomeWhole ends this program for all of lepto, with the same command line.
func (d *deps) becomeWhole(args []string) error {
	path, err := whole.Path(d.home)
	if err == nil {
		err = syscall.Exec(path, append([]string{"lepto"}, args...), os.Environ())
	}
	return fmt.Errorf("unpack lepto: %w", err)
}

// engineProgram gives the program that is the engine.
func (d *deps) engineProgram() (string, error) { return whole.Path(d.home) }

// dryRunHere shows a dry run that needs no engine.
func (o *runOptions) dryRunHere(_ context.Context, d *deps, what target, _ string, _ ui.Printer) error {
	if what.name == stdinName {
		if err := giveBack(what.script); err != nil {
			return err
		}
	}
	return d.becomeWhole(os.Args[1:])
}

// showDependencies lists images and packages, and runs nothing.
func (o *runOptions) showDependencies(ctx context.Context, d *deps, what target, args string) error {
	return o.dryRunHere(ctx, d, what, args, nil)
}

// giveBack makes stdin what was read of it.
func giveBack(text string) error {
	fd, err := unix.MemfdCreate("stdin", 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "stdin")
	_, err = f.WriteString(text)
	if err == nil {
		_, err = f.Seek(0, 0)
	}
	return errors.Join(err, unix.Dup3(fd, 0, 0), f.Close())
}

// Commands that are handed over before there is a tree; here are their names.
func newPlan(d *deps) *cobra.Command          { return d.elsewhere("plan", planShort) }
func newDoctor(d *deps) *cobra.Command        { return d.elsewhere("doctor", doctorShort) }
func newPackageSchema(d *deps) *cobra.Command { return d.elsewhere("schema", schemaShort) }
func newEngineRun(d *deps) *cobra.Command     { return d.elsewhere("run", "") }

// elsewhere is the place of a command in lists, and in what is near to a typing
// error.
func (d *deps) elsewhere(name, short string) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short, Hidden: short == "", DisableFlagParsing: true,
		RunE: func(*cobra.Command, []string) error { return d.becomeWhole(os.Args[1:]) },
	}
}
