package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"
)

// A report reads what init.sh and the tests print, and tells it.
type report struct {
	suites  []suite
	verbose bool
	failed  []string // packages
	over    bool     // the machine has run all
}

func newReport(verbose bool, suites []suite) *report {
	return &report{verbose: verbose, suites: suites}
}

func (r *report) result() error {
	if len(r.failed) > 0 {
		return fmt.Errorf("%s: %w", strings.Join(r.failed, " "), errTests)
	}
	return nil
}

// read follows the machine's output to its end.
func (r *report) read(ctx context.Context, from io.Reader) error {
	var current *running
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadString('\n')
		text, ours := strings.CutPrefix(strings.TrimRight(line, "\r\n"), "vm: ")
		switch verb, rest, _ := strings.Cut(text, " "); {
		case ours && verb == "begin":
			if current, err = begin(ctx, rest, r.verbose); err != nil {
				return err
			}
		case ours && verb == "end" && current != nil:
			_, status, _ := strings.Cut(rest, " ")
			if !current.end(status) {
				r.failed = append(r.failed, current.name)
			}
			current = nil
		case ours && verb == "over":
			r.over = true
		case current != nil:
			current.write(line)
		}
		if err != nil { // the machine has ended; if in the midst of tests, tell what is known
			if current != nil {
				current.end("lost")
			}
			return nil
		}
	}
}

// running is a package whose tests run: test2json tells what their output means.
type running struct {
	name    string
	began   time.Time
	input   io.WriteCloser
	done    chan struct{}
	cmd     *exec.Cmd
	verbose bool

	counts map[string]int              // action → tests
	output map[string]*strings.Builder // test → what it printed
}

// event is one of test2json's (go doc test2json).
type event struct {
	Action, Test, Output string
	Elapsed              float64
}

func begin(ctx context.Context, name string, verbose bool) (*running, error) {
	r := &running{
		name: name, began: time.Now(), done: make(chan struct{}), verbose: verbose,
		counts: map[string]int{}, output: map[string]*strings.Builder{},
	}
	r.cmd = exec.CommandContext(ctx, "go", "tool", "test2json", "-t")
	in, err := r.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	r.input = in
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	go r.follow(out)
	return r, nil
}

func (r *running) write(line string) {
	if r.verbose {
		fmt.Print(string(bytes.TrimLeft([]byte(line), "\x16")))
	}
	_, _ = io.WriteString(r.input, line) // its end is noticed in end
}

// follow counts tests, and prints each failing one's output as it ends.
func (r *running) follow(events io.Reader) {
	defer close(r.done)
	for decoder := json.NewDecoder(events); ; {
		var e event
		if decoder.Decode(&e) != nil {
			return
		}
		switch e.Action {
		case "output":
			if r.output[e.Test] == nil {
				r.output[e.Test] = &strings.Builder{}
			}
			r.output[e.Test].WriteString(e.Output)
		case "pass", "fail", "skip":
			if e.Test == "" {
				continue
			}
			r.counts[e.Action]++
			if !r.verbose {
				r.tell(e)
			}
			if e.Action != "fail" {
				delete(r.output, e.Test)
			}
		}
	}
}

func (r *running) tell(e event) {
	switch {
	case e.Action == "fail":
		fmt.Print(r.output[e.Test])
	case !strings.Contains(e.Test, "/"):
		fmt.Printf("--- %s: %s (%.1fs)\n", strings.ToUpper(e.Action), e.Test, e.Elapsed)
	}
}

// end prints the package's line, and tells whether all is well. status is the
// test binary's exit code.
func (r *running) end(status string) bool {
	r.input.Close()
	<-r.done
	_ = r.cmd.Wait() // it says nothing that its events have not said
	word := "ok  "
	if status != "0" {
		word = "FAIL"
		if rest := r.output[""]; rest != nil && !r.verbose {
			fmt.Print(rest)
		}
	}
	fmt.Printf("%s %s %.1fs: %d passed, %d failed, %d skipped, status %s\n", word, r.name, time.Since(r.began).Seconds(),
		r.counts["pass"], r.counts["fail"], r.counts["skip"], status)
	return status == "0"
}
