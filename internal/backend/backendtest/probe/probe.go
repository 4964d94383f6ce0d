// Package probe is the program that services of the contract suite run: it does
// what its arguments say, so that a test can ask for any behaviour of a service.
//
// It is written against [Machine], so that the same program runs as a real
// process in a container (command cmd) and as a Go function in the memory
// backend. The steps are separated by the word "then":
//
//	probe out hello then serve tcp/8080 udp/9000 then wait
package probe

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Machine is what a probe can do where it runs.
type Machine struct {
	Args           []string // the command's name first
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(name string) string
	Dir            string
	User           string // "uid:gid"
	Hostname       string
	ReadFile       func(name string) ([]byte, error)
	WriteFile      func(name string, data []byte) error
	Notify         func(signals ...int) <-chan int
	// Serve answers each message on a port with what answer makes of it, until
	// ctx ends; it returns once the port is open.
	Serve func(ctx context.Context, proto string, port uint16, answer func(string) string) error
	// Ask sends a message and gives the answer.
	Ask func(ctx context.Context, proto, host string, port uint16, message string) (string, error)
	// Eat takes and touches that many megabytes, Burn uses the processor for
	// that long and tells how much of it it got.
	Eat  func(megabytes int)
	Burn func(wall time.Duration) (cpu time.Duration)
}

const sigTERM = 15

// state is what steps share.
type state struct {
	Machine
	term <-chan int // SIGTERM, where a step waits for it: caught from the start
}

// Run does the steps of m.Args and gives the exit code.
func Run(ctx context.Context, m Machine) int {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := state{Machine: m}
	all := steps(m.Args[1:])
	if slices.ContainsFunc(all, func(step []string) bool { return step[0] == "wait" }) {
		s.term = m.Notify(sigTERM)
	}
	for _, step := range all {
		code, end := s.step(ctx, step)
		if end || code != 0 {
			return code
		}
	}
	return 0
}

func steps(args []string) [][]string {
	var out [][]string
	for len(args) > 0 {
		i := slices.Index(args, "then")
		if i < 0 {
			return append(out, args)
		}
		out = append(out, args[:i])
		args = args[i+1:]
	}
	return out
}

func (s state) step(ctx context.Context, step []string) (code int, end bool) {
	args := append(slices.Clone(step[1:]), "", "", "", "")
	switch step[0] {
	case "out":
		fmt.Fprintln(s.Stdout, args[0])
	case "err":
		fmt.Fprintln(s.Stderr, args[0])
	case "part": // without a line end
		fmt.Fprint(s.Stdout, args[0])
	case "lines":
		for i := range number(args[0]) {
			fmt.Fprintf(s.Stdout, "line %d\n", i+1)
		}
	case "exit":
		return number(args[0]), true
	case "wait":
		return s.wait(ctx, s.term), true
	case "stubborn":
		s.Notify(sigTERM)
		fmt.Fprintln(s.Stdout, "ready")
		return s.wait(ctx, nil), true
	case "tick":
		return s.tick(ctx, number(args[0])), true
	case "sleep":
		s.pause(ctx, number(args[0]))
	case "cat":
		if _, err := io.Copy(s.Stdout, s.Stdin); err != nil {
			return s.fail(err), true
		}
	case "env":
		fmt.Fprintln(s.Stdout, s.Getenv(args[0]))
	case "pwd":
		fmt.Fprintln(s.Stdout, s.Dir)
	case "user":
		fmt.Fprintln(s.Stdout, s.User)
	case "hostname":
		fmt.Fprintln(s.Stdout, s.Hostname)
	default:
		return s.outside(ctx, step[0], args)
	}
	return 0, false
}

// outside holds the steps that touch files, network and resources.
func (s state) outside(ctx context.Context, verb string, args []string) (code int, end bool) {
	var err error
	switch verb {
	case "read":
		var data []byte
		if data, err = s.ReadFile(args[0]); err == nil {
			fmt.Fprintln(s.Stdout, string(data))
		}
	case "write":
		err = s.WriteFile(args[0], []byte(args[1]))
	case "serve":
		for _, at := range args {
			if proto, port, ok := strings.Cut(at, "/"); ok && err == nil {
				err = s.Serve(ctx, proto, uint16(number(port)), s.answer)
			}
		}
	case "ask": // PROTO HOST PORT MESSAGE
		within, cancel := context.WithTimeoutCause(ctx, 3*time.Second, fmt.Errorf("no answer"))
		defer cancel()
		var text string
		if text, err = s.Ask(within, args[0], args[1], uint16(number(args[2])), args[3]); err == nil {
			fmt.Fprintln(s.Stdout, text)
		}
	case "eat":
		s.Eat(number(args[0]))
	case "burn":
		cpu := s.Burn(time.Duration(number(args[0])) * time.Millisecond)
		fmt.Fprintln(s.Stdout, cpu.Milliseconds())
	default:
		err = fmt.Errorf("unknown step %q", verb)
	}
	if err != nil {
		return s.fail(err), true
	}
	return 0, false
}

func (s state) answer(message string) string { return s.Hostname + " got " + message }

func (s state) fail(err error) int {
	fmt.Fprintf(s.Stderr, "probe: %v\n", err)
	return 1
}

// wait ends well with SIGTERM.
func (s state) wait(ctx context.Context, term <-chan int) int {
	select {
	case <-term:
		fmt.Fprintln(s.Stdout, "bye")
		return 0
	case <-ctx.Done():
		return 1
	}
}

// tick prints a line every few milliseconds until a signal ends it.
func (s state) tick(ctx context.Context, ms int) int {
	for i := 1; ctx.Err() == nil; i++ {
		fmt.Fprintf(s.Stdout, "tick %d\n", i)
		s.pause(ctx, ms)
	}
	return 0
}

func (s state) pause(ctx context.Context, ms int) {
	select {
	case <-time.After(time.Duration(ms) * time.Millisecond):
	case <-ctx.Done():
	}
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return n
}
