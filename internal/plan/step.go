// Package plan holds the plan as data: instructions in order, each a value,
// nothing run yet.
//
// A [Plan] is a list of [Step]. A step knows its [Call] (what the script said,
// and where), its [Effects] (what it reads and writes), how to check itself
// against a [Forecast] of the enclave, and how to execute. Future references —
// placeholder strings handed out at interpretation — are filled from [Values].
//
// The package must not know which instructions exist, nor any backend.
package plan

import (
	"context"
	"slices"

	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
)

// StepID identifies a step: 32 lower-case hex digits, unique in its enclave.
type StepID string

// A Plan is what interpretation yields.
type Plan struct {
	PackageID string // the script's package, or the script placeholder
	Steps     []Step
	Output    string   // the run's return value as JSON text, references unresolved; empty for None
	Warnings  []string // gathered in interpretation, in order, without repeats
	Packages  []string // other packages that modules were imported from, sorted
	// Returned is the Starlark text of what each step's call gave the script.
	Returned map[StepID]string
}

// A Step is one instruction of a plan: a value. Nothing has run when it is made.
type Step interface {
	// Call tells what the script said.
	Call() Call
	// Effects names what the step reads and writes.
	Effects() Effects
	// Validate checks the step against the forecast, and advances it. It is
	// pure but for the forecast, and returns every problem it finds.
	Validate(*Forecast) []error
	// Execute does it. It is called at most once, after validation.
	Execute(context.Context, *Execution) (Outcome, error)
}

// Execution is what a step may use while it executes.
type Execution struct {
	Enclave     *enclave.Enclave
	Values      *Values
	Parallelism int // workers of an instruction that fans out; at least 1
	// Progress tells the event stream what the step is waiting for.
	Progress func(text string)
}

// Outcome is what executing a step gave.
type Outcome struct {
	Text string // the result shown to the user
}

// Call is one call of an instruction, as the script made it.
type Call struct {
	ID          StepID
	Name        string
	Text        string // canonical text (spec/starlark.md §1.6.8)
	Args        []Arg  // supplied arguments, in declared order
	Description string
	Stack       []fault.Frame // user frames, innermost first; Stack[0] is the call
}

// At gives the position of the call.
func (c Call) At() fault.Frame {
	if len(c.Stack) == 0 {
		return fault.Frame{}
	}
	return c.Stack[0]
}

// Arg is a supplied argument as text.
type Arg struct {
	Name           string `json:"name,omitempty"` // empty where it was given by place
	Text           string `json:"text"`
	Representative bool   `json:"representative,omitempty"` // shown in brief output
}

// Key names a resource: service/db, artifact/genesis, value/<id>, link/a|b,
// persistent/<key>, image/<ref>, world.
type Key string

// World is the key of everything outside the enclave, and of all of it.
const World Key = "world"

// ServiceKey is the key of a service.
func ServiceKey(name string) Key { return Key("service/" + name) }

// ArtifactKey is the key of a files artifact.
func ArtifactKey(name string) Key { return Key("artifact/" + name) }

// ValueKey is the key of a future reference.
func ValueKey(id string) Key { return Key("value/" + id) }

// PersistentKey is the key of a persistent directory.
func PersistentKey(key string) Key { return Key("persistent/" + key) }

// Effects name what a step reads and writes.
type Effects struct {
	Reads  []Key
	Writes []Key
}

// Normal gives the effects sorted and without repeats.
func (e Effects) Normal() Effects {
	normal := func(keys []Key) []Key {
		keys = slices.Clone(keys)
		slices.Sort(keys)
		return slices.Compact(keys)
	}
	return Effects{Reads: normal(e.Reads), Writes: normal(e.Writes)}
}
