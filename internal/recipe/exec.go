package recipe

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// Exec is a command to run in a service, directly.
type Exec struct {
	Command []string
	Extract map[string]string // name to jq query
}

// maxOutput bounds the output that is kept of a command, in bytes; one with more
// fails, so that no part of it is silently lost.
const maxOutput = 64 << 20

// Fields lists code, output and the extractors.
func (e Exec) Fields() []string { return withExtracts([]string{fieldCode, fieldOutput}, e.Extract) }

// Texts lists the command.
func (e Exec) Texts() []string { return e.Command }

// Run runs the command; output is stdout and stderr as they came. The exit code
// is not judged.
func (e Exec) Run(ctx context.Context, target Target, service string, fill Fill) (Result, error) {
	if len(e.Command) == 0 {
		return Result{}, fault.New("E0503", "exec on service %q: the command is empty", service)
	}
	args := make([]string, len(e.Command))
	for i, arg := range e.Command {
		var err error
		if args[i], err = fill(arg); err != nil {
			return Result{}, err
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	output := &boundedBuffer{full: func() {
		cancel(fault.New("E0504", "exec on service %q: the command wrote more than %d MiB", service, maxOutput>>20).
			WithHint("write to a file in the service instead"))
	}}
	oom := false
	code, err := target.Exec(ctx, service, backend.ExecSpec{
		Args: args, Stdout: output, Stderr: output, OutOfMemory: func() { oom = true },
	})
	if cause := context.Cause(ctx); cause != nil && output.overflown() {
		return Result{}, cause
	}
	if err != nil {
		return Result{}, err
	}
	result, err := e.result(output.String(), code)
	result.OOM = oom
	return result, err
}

func (e Exec) result(output string, code int) (Result, error) {
	fields := map[string]starlark.Value{
		fieldCode:   starlark.MakeInt(code),
		fieldOutput: starlark.String(output),
	}
	err := extractInto(fields, e.Extract, output)
	return Result{Fields: fields, Text: execText(code, output)}, err
}

// execText is the result's text (starlark spec §2.8).
func execText(code int, output string) string {
	switch {
	case output == "":
		return fmt.Sprintf("Command returned with exit code '%d' with no output", code)
	case strings.Contains(output, "\n"):
		line := strings.Repeat("-", 20)
		return fmt.Sprintf("Command returned with exit code '%d' and the following output:\n%s\n%s\n%s", code, line, output, line)
	}
	return fmt.Sprintf("Command returned with exit code '%d' and the following output: %s", code, output)
}

// boundedBuffer keeps output up to maxOutput, then calls full once.
type boundedBuffer struct {
	full func()

	mu   sync.Mutex
	buf  bytes.Buffer
	over bool
}

// Write takes everything, and keeps what fits.
func (b *boundedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.buf.Len()+len(p) > maxOutput {
		if !b.over {
			b.over = true
			b.full()
		}
		return len(p), nil
	}
	return b.buf.Write(p)
}

// String gives what was kept.
func (b *boundedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *boundedBuffer) overflown() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.over
}
