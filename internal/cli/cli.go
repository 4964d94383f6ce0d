// Package cli is the command line: one file per command, each an options
// struct, its flags, and a run function that calls the engine and renders what
// it says.
//
// [Main] is the whole program. The result of a command goes to stdout, all talk
// to stderr; -o json is stable (docs/formats/cli-json.md) and so are the exit
// codes (docs/exit-codes.md). The package decides nothing about enclaves: the
// engine does, and is reached through its client only. It must not know a
// backend, except where it starts an engine (cmd_engine_run.go) or examines
// this machine (cmd_doctor.go).
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/lepto-dev/lepto/internal/api/client"
	"github.com/lepto-dev/lepto/internal/ui"
)

// Main runs a command line and gives the exit code of the process.
func Main(version string, args []string) int {
	d := &deps{
		version:    version,
		term:       ui.Process(os.Getenv),
		getenv:     os.Getenv,
		home:       homeFrom(os.Getenv),
		level:      levelInfo,
		interrupts: newInterrupts(),
	}
	if err := d.handOver(args); err != nil {
		d.report(err)
		return exitCode(err)
	}
	return d.execute(args)
}

// defaultHome is where the engine keeps its state.
const defaultHome = "/var/lib/lepto"

func homeFrom(getenv func(string) string) string {
	if home := getenv("LEPTO_HOME"); home != "" {
		return home
	}
	return defaultHome
}

// deps is what commands need of the world.
type deps struct {
	version    string
	term       *ui.Terminal
	getenv     func(string) string
	home       string // LEPTO_HOME, or --home
	level      level
	interrupts *interrupts
}

// execute runs a command line in this world.
func (d *deps) execute(args []string) int {
	ctx, stop := d.interrupts.start()
	defer stop()
	root := newRoot(d)
	root.SetArgs(rewriteShorthand(args))
	err := root.ExecuteContext(ctx)
	if errors.Is(context.Cause(ctx), errInterrupted) {
		err = interruptedOr(err)
	}
	d.report(err)
	return exitCode(err)
}

// connect gives the engine's client, and starts the engine where none runs.
func (d *deps) connect(ctx context.Context) (*client.Client, error) {
	return client.Connect(ctx, d.clientOptions(true))
}

func (d *deps) clientOptions(start bool) client.Options {
	return client.Options{
		Home: d.home, Start: start, Version: d.version, Program: d.engineProgram,
		Warn:     func(text string) { d.warn("%s", text) },
		Starting: func() { d.say("starting the engine") },
	}
}

// with runs f with the engine's client.
func (d *deps) with(ctx context.Context, f func(*client.Client) error) error {
	c, err := d.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return f(c)
}

// level says how much is talked about on stderr.
type level int

const (
	levelError level = iota
	levelWarning
	levelInfo
	levelDebug
)

// levelWords are the words of --log-level. What has no meaning of its own here
// is taken for its neighbour, since scripts use it.
var levelWords = map[string]level{
	"panic": levelError, "fatal": levelError, "error": levelError,
	"warning": levelWarning, "warn": levelWarning, "info": levelInfo,
	"debug": levelDebug, "trace": levelDebug,
}

// say tells the user what is going on.
func (d *deps) say(format string, args ...any) {
	if d.level >= levelInfo {
		fmt.Fprintln(d.term.Err, d.term.ForErr(fmt.Sprintf(format, args...)))
	}
}

// warn tells the user of something that may be wrong.
func (d *deps) warn(format string, args ...any) {
	if d.level >= levelWarning {
		text := d.term.ForErr(fmt.Sprintf(format, args...))
		fmt.Fprintln(d.term.Err, d.term.ErrStyle.Yellow("warning:")+" "+text)
	}
}

// print writes a line of the result.
func (d *deps) print(format string, args ...any) error {
	_, err := fmt.Fprintln(d.term.Out, d.term.ForOut(fmt.Sprintf(format, args...)))
	return err
}

// json writes a value as the result.
func (d *deps) json(value any) error {
	return ui.WriteJSON(serviceWriter(d.term.Out, d.term.OutTTY), value)
}

// clean makes text of services and scripts fit a cell of the result.
func (d *deps) clean(text string) string {
	if d.term.OutTTY {
		return ui.CleanLine(text)
	}
	return text
}

// serviceWriter gives a writer for what a service says, cleaned where it is
// shown on a terminal.
func serviceWriter(w io.Writer, tty bool) io.Writer {
	if tty {
		return ui.NewCleanWriter(w)
	}
	return w
}
