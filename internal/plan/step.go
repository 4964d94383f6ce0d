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
	"cmp"
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

// A Fetcher is a step that needs something from outside, which is got once the
// plan is valid, before anything is executed, as images are. It is called once at
// most. release, unless it is nil, is called when the run is over.
type Fetcher interface {
	Fetch(ctx context.Context, e *enclave.Enclave, progress func(text string)) (release func(), err error)
}

// Execution is what a step may use while it executes.
type Execution struct {
	Enclave     *enclave.Enclave
	Values      *Values
	Parallelism int  // workers of an instruction that fans out; at least 1
	KeepTasks   bool // the containers of tasks are left running after their end
	// Kept tells which parts of a Composite are done already.
	Kept func(Key) bool
	// Later does something while the steps go on; the run does not end before it
	// has ended. What fails of it is a warning.
	Later func(what string, do func() error)
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
	Text        string // canonical text (spec/starlark.md §1.6.8), secrets and all: for comparing
	Masked      string // Text without its secrets; empty where it has none
	Args        []Arg  // supplied arguments, in declared order, without secrets
	Description string
	Stack       []fault.Frame // user frames, innermost first; Stack[0] is the call
}

// Shown gives the canonical text without secrets: what is stored, sent or shown.
func (c Call) Shown() string { return cmp.Or(c.Masked, c.Text) }

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

// LinkKey is the key of the connection between two subnetworks, in either order.
func LinkKey(a, b string) Key {
	if a > b {
		a, b = b, a
	}
	return Key("link/" + a + "|" + b)
}

// ImageKey is the key of an image, by its reference or tag.
func ImageKey(ref string) Key { return Key("image/" + ref) }

// PersistentKey is the key of a persistent directory.
func PersistentKey(key string) Key { return Key("persistent/" + key) }

// Effects name what a step reads and writes, and how it keeps its place. They are
// declared once, and used for the graph, for --parallel, and for what a re-run
// does again. What can't be known is declared as [World].
type Effects struct {
	Reads  []Key
	Writes []Key
	// Touches are services that the step works on in a way that must keep its
	// place among the steps of the service, but that leaves nothing behind: a
	// wait, a GET request, a copy of files.
	Touches []Key
	// Addresses are value keys that stand for the address of a service: a step
	// that reads such a value talks to the service.
	Addresses map[Key]Key
	// Texts may name services as hosts: a step that says the name of a service
	// that is there talks to it.
	Texts []string
	// Acts: it may change the services that it talks to, as a command may and as
	// a service that connects to another, once both run, may not.
	Acts bool
	// Script: only its texts, and those that made what it reads, tell what it uses,
	// as with a task. Where they can't, the graph has it read the world.
	Script bool
	// Unread: the values and files that it makes say what its texts don't, as the
	// output of a command does, and files from elsewhere.
	Unread bool
	Order  Order
	// Leaves tells what a step makes of the process of a service: one that adds or
	// starts it leaves it running.
	Leaves map[Key]Condition
}

// looks reports whether a command only looks at services: a wait, a GET request.
func (e Effects) looks() bool {
	return e.Acts && !e.Script && !slices.ContainsFunc(e.Writes, isService)
}

// Condition is what a service is, as far as a plan cares.
type Condition string

// The conditions.
const (
	Gone    Condition = "gone"
	Stopped Condition = "stopped" // its process has ended, by itself or on request
	Runs    Condition = "runs"
)

// Order says what a step's place in the script means beside its effects.
type Order uint8

// The orders.
const (
	ByEffects Order = iota
	// Gate: nothing after it in the script begins before it has passed (verify).
	Gate
	// Hold: what depends on anything that was made before begins after it (wait).
	Hold
	// Tell: it comes after the step before it and what was told before (print).
	Tell
)

// Normal gives the effects sorted and without repeats.
func (e Effects) Normal() Effects {
	normal := func(keys []Key) []Key {
		keys = slices.Clone(keys)
		slices.Sort(keys)
		return slices.Compact(keys)
	}
	e.Reads, e.Writes, e.Touches = normal(e.Reads), normal(e.Writes), normal(e.Touches)
	return e
}
