// Package recipe runs recipes: a command in a service, or a request to it, whose
// result has fields that can be extracted, asserted and waited for.
//
// A [Recipe] is run against a [Target], the enclave's side. A [Condition]
// compares a field of a [Result]; a [Wait] repeats a recipe until it holds.
//
// The package must not know plans or scripts; references are filled in by the
// function it is given.
package recipe

import (
	"context"
	"maps"
	"net"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/enclave"
)

// A Target is where recipes run: an enclave.
type Target interface {
	Exec(ctx context.Context, service string, spec backend.ExecSpec) (int, error)
	Dial(ctx context.Context, service string, proto backend.Transport, port uint16) (net.Conn, error)
	Service(identifier string) (*enclave.Service, error)
}

// Fill replaces the future references in a text.
type Fill func(string) (string, error)

// Values fill in references: Text in a text, Value in a value, which stays of
// its type.
type Values interface {
	Text(string) (string, error)
	Value(starlark.Value) (starlark.Value, error)
}

// A Recipe is a command or a request.
type Recipe interface {
	// Fields lists the names of the result's fields, in the order shown.
	Fields() []string
	// Texts lists the texts in which references are filled in.
	Texts() []string
	// Run runs it once. Where only the extraction fails, the result is there all
	// the same, without what was to be extracted.
	Run(ctx context.Context, target Target, service string, fill Fill) (Result, error)
}

// A Result is what a run of a recipe gave.
type Result struct {
	Fields map[string]starlark.Value // code, output or body, extract.<name>
	Text   string                    // for people
	OOM    bool                      // the kernel killed for memory in the service meanwhile
}

// Code gives the exit code or the response's status.
func (r Result) Code() int {
	code, _ := starlark.AsInt32(r.Fields[fieldCode])
	return code
}

// The fields of results.
const (
	fieldCode    = "code"
	fieldOutput  = "output"
	fieldBody    = "body"
	extractField = "extract."
)

// withExtracts adds the fields of extractors, sorted.
func withExtracts(fields []string, extract map[string]string) []string {
	for _, key := range slices.Sorted(maps.Keys(extract)) {
		fields = append(fields, extractField+key)
	}
	return fields
}

const (
	shownLines = 20   // the most lines of an answer that a failure shows
	shownWidth = 2000 // the most bytes of a line
)

// Tail gives the end of an answer as evidence of a failure.
func Tail(text string) []string {
	text = strings.TrimRight(text, "\n")
	if text == "" {
		return nil
	}
	lines := strings.Split(text, "\n")
	lines = lines[max(0, len(lines)-shownLines):]
	for i, line := range lines {
		if len(line) > shownWidth {
			lines[i] = strings.ToValidUTF8(line[:shownWidth], "") + "…"
		}
	}
	return lines
}
