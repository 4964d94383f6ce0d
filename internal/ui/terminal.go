// Package ui renders things for people and scripts: tables, key-value blocks,
// faults with a source excerpt, and the event stream of a run as a transcript,
// as a live view, or as JSON lines.
//
// Its main types are [Terminal], which knows what the streams of the process
// are connected to, [Transcript], which turns the events of a run into text, and
// [Live], which keeps a few moving lines below that text.
//
// The package only renders values it is given. It must not know the engine, its
// client, or any command.
package ui

import (
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// A Terminal is where a command's output goes: results to Out, talk to Err.
type Terminal struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer

	// InTTY, OutTTY and ErrTTY tell which streams are a terminal. Text of
	// services is cleaned of control characters on those, and only there: a
	// file or a pipe gets the bytes as they are.
	InTTY, OutTTY, ErrTTY bool
	// Interactive allows moving lines: Out is a terminal that can be painted
	// on, and nobody said this is an unattended build.
	Interactive bool

	OutStyle, ErrStyle Style

	size func() (cols, rows int)
}

// Process gives the Terminal of this process. Getenv is os.Getenv's shape.
func Process(getenv func(string) string) *Terminal {
	out, err := os.Stdout, os.Stderr
	t := &Terminal{
		In: os.Stdin, Out: out, Err: err,
		InTTY:  term.IsTerminal(int(os.Stdin.Fd())),
		OutTTY: term.IsTerminal(int(out.Fd())),
		ErrTTY: term.IsTerminal(int(err.Fd())),
	}
	t.size = func() (int, int) {
		cols, rows, sizeErr := term.GetSize(int(out.Fd()))
		if sizeErr != nil {
			return 0, 0
		}
		return cols, rows
	}
	t.apply(getenv)
	return t
}

// Plain gives a Terminal whose streams are no terminal.
func Plain(in io.Reader, out, err io.Writer) *Terminal {
	return &Terminal{In: in, Out: out, Err: err}
}

// apply reads the environment's wishes: NO_COLOR (no-color.org), TERM, CI.
func (t *Terminal) apply(getenv func(string) string) {
	dumb := getenv("TERM") == "dumb"
	colour := getenv("NO_COLOR") == "" && !dumb
	t.OutStyle = Style{on: colour && t.OutTTY}
	t.ErrStyle = Style{on: colour && t.ErrTTY}
	t.Interactive = t.OutTTY && !dumb && !unattended(getenv("CI"))
}

// unattended reads CI the way build services set it.
func unattended(ci string) bool {
	switch strings.ToLower(ci) {
	case "", "0", "false", "no":
		return false
	}
	return true
}

// Size gives the columns and rows of the terminal; 80 and 24 where unknown.
func (t *Terminal) Size() (cols, rows int) {
	if t.size != nil {
		cols, rows = t.size()
	}
	if cols <= 0 {
		cols = 80
	}
	if rows <= 0 {
		rows = 24
	}
	return cols, rows
}

// ForOut makes text of a service fit to be shown on Out.
func (t *Terminal) ForOut(s string) string {
	if t.OutTTY {
		return Clean(s)
	}
	return s
}

// ForErr makes text of a service fit to be shown on Err.
func (t *Terminal) ForErr(s string) string {
	if t.ErrTTY {
		return Clean(s)
	}
	return s
}
