package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/term"

	"github.com/lepto-dev/lepto/internal/api/client"
	"github.com/lepto-dev/lepto/internal/backend"
)

// This file hands the user's terminal to a command in a service.

// execTerminal runs a command on this terminal, and ends with its exit code.
// Keys go through as they are, Ctrl-C too; what the command prints is not
// cleaned, since a terminal is what it was given.
func (d *deps) execTerminal(ctx context.Context, c *client.Client, enclave, service string, spec backend.ExecSpec) error {
	in := int(os.Stdin.Fd())
	before, err := term.MakeRaw(in)
	if err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	defer func() { _ = term.Restore(in, before) }()

	spec.TTY = true
	cols, rows := d.term.Size()
	spec.Cols, spec.Rows = uint16(cols), uint16(rows)
	spec.Stdin, spec.Stdout, spec.Stderr = d.term.In, d.term.Out, d.term.Out
	if name := d.getenv("TERM"); name != "" {
		if spec.Env == nil {
			spec.Env = map[string]string{}
		}
		if _, set := spec.Env["TERM"]; !set {
			spec.Env["TERM"] = name
		}
	}
	resizes, stop := d.watchSize()
	defer stop()
	code, err := c.Exec(ctx, enclave, service, spec, resizes)
	if err != nil {
		return err
	}
	return silent(code)
}

// watchSize tells of each new size of the terminal until stop.
func (d *deps) watchSize() (sizes <-chan client.Control, stop func()) {
	out := make(chan client.Control, 1)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGWINCH)
	quit := make(chan struct{})
	var owned sync.WaitGroup
	owned.Go(func() {
		for {
			select {
			case <-quit:
				return
			case <-signals:
			}
			cols, rows := d.term.Size()
			select {
			case out <- client.Control{Cols: uint16(cols), Rows: uint16(rows)}:
			case <-quit:
				return
			}
		}
	})
	return out, func() {
		signal.Stop(signals)
		close(quit)
		owned.Wait()
	}
}
