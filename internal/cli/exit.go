package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/lepto-dev/lepto/internal/ui"
)

// This file decides the exit code of the process, and what is said about an
// error. docs/exit-codes.md documents the codes.

// The exit codes. service exec and service shell give the code of the command
// they ran instead.
const (
	exitOK          = 0
	exitFailure     = 1   // also of a failed run, and of doctor where a check fails
	exitUsage       = 2   // the command line makes no sense
	exitInterrupted = 130 // Ctrl-C, as shells have it: 128+SIGINT
)

// errInterrupted is the cause of a context that the user ended.
var errInterrupted = errors.New("interrupted")

// A usageError is a mistake in the command line.
type usageError struct {
	text string
	help string // the command whose --help tells more
}

func (e *usageError) Error() string { return e.text }

// usagef makes a usageError.
func usagef(format string, args ...any) error {
	return &usageError{text: fmt.Sprintf(format, args...)}
}

// A silentError ends the process with a code and no words: they were said.
type silentError struct{ code int }

func (e *silentError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// silent gives the error for an exit code; nil for 0.
func silent(code int) error {
	if code == exitOK {
		return nil
	}
	return &silentError{code: code}
}

func exitCode(err error) int {
	var quiet *silentError
	var usage *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &quiet):
		return quiet.code
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	case errors.As(err, &usage):
		return exitUsage
	}
	return exitFailure
}

// interruptedOr gives what a command ended with after Ctrl-C. What it says about
// a broken connection or a cancelled context is no news then.
func interruptedOr(err error) error {
	var quiet *silentError
	if err == nil || errors.As(err, &quiet) {
		return err
	}
	return errInterrupted
}

// report writes an error to stderr.
func (d *deps) report(err error) {
	var quiet *silentError
	var usage *usageError
	switch {
	case err == nil || errors.As(err, &quiet):
	case errors.Is(err, errInterrupted):
		d.say("interrupted")
	case errors.As(err, &usage):
		fmt.Fprintf(d.term.Err, "%s %s\n", d.term.ErrStyle.BoldRed("error:"), ui.Clean(usage.text))
		fmt.Fprintf(d.term.Err, "Run '%s --help' for usage.\n", usage.help)
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(d.term.Err, "cancelled")
	default:
		fmt.Fprint(d.term.Err, ui.Fault(d.term.ErrStyle, err))
	}
}
