package lang

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/plan"
	"github.com/lepto-dev/lepto/internal/source"
)

// DefaultStepLimit bounds an interpretation, in Starlark steps (about two per
// simple statement). A hundred million take some seconds.
const DefaultStepLimit = 100_000_000

// DefaultTimeLimit bounds how long a script is evaluated; what is fetched
// meanwhile does not count. It is for scripts whose steps are few, but each as
// much work as a step may be.
const DefaultTimeLimit = time.Minute

// DefaultMemoryLimit bounds how much the heap may grow while a script is
// interpreted, in bytes. It is the heap of the whole process that is seen, so the
// limit is generous.
const DefaultMemoryLimit = 320 << 20

// A Host is a dialect: what a script can call. It is immutable and safe for
// concurrent use.
type Host struct {
	instructions []Builtin
	others       []Builtin           // types and functions
	constants    starlark.StringDict // members of the kurtosis module
	predeclared  starlark.StringDict
	plan         planObject
}

// NewHost makes a host of instructions (members of plan) and types (predeclared
// names). It panics on a name declared twice.
func NewHost(instructions, types []Builtin) *Host {
	others, constants := split(types)
	h := &Host{instructions: instructions, others: append(others, functions()...), constants: constants}
	for _, list := range [][]Builtin{h.instructions, h.others} {
		if name := duplicate(list); name != "" {
			panic("lang: declared twice: " + name)
		}
	}
	h.plan = newPlan(h.instructions)
	h.predeclared = predeclared(h.others)
	h.predeclared.Freeze()
	return h
}

// EnclaveView is what an interpretation needs of the enclave that it is for.
type EnclaveView interface {
	// ServiceValueID gives the id of a service's value slot: 32 lower-case hex
	// digits, the same for a name in every run.
	ServiceValueID(name string) (string, error)
	// EnvVars gives the enclave's variables as a JSON object; empty for none.
	EnvVars() string
	// ClusterType gives "docker", "kubernetes" or "podman".
	ClusterType() string
}

// ServiceView is what an EnclaveView may offer in addition: the services of
// earlier runs, for get_service and get_services.
type ServiceView interface {
	ExistingServices() []ExistingService
}

// IdentifiedView is what an EnclaveView may offer in addition: which enclave it
// is of.
type IdentifiedView interface {
	EnclaveUUID() string
}

// ExistingService is a service that an earlier run added.
type ExistingService struct {
	Name  string
	Ports map[string]enclave.Port
}

// Request asks for an interpretation.
type Request struct {
	Package      *source.Package
	MainFunction string        // "run" if empty
	Args         string        // a JSON object; "{}" if empty
	Enclave      EnclaveView   // nil: an enclave that has nothing yet
	NewID        func() string // of value slots of services: 32 hex digits; nil: random
	Seed         string        // of the enclave: ids and made-up names differ between enclaves
	// NewArtifactName makes up a name for a files artifact. nil: words that are
	// the same in every run in which the call says the same.
	NewArtifactName func() string
	AllowPrivileged bool
	StepLimit       uint64        // DefaultStepLimit if 0
	MemoryLimit     uint64        // bytes; DefaultMemoryLimit if 0
	TimeLimit       time.Duration // DefaultTimeLimit if 0
}

func (r Request) withDefaults() Request {
	r.MainFunction = cmp.Or(r.MainFunction, defaultMain)
	r.StepLimit = cmp.Or(r.StepLimit, DefaultStepLimit)
	r.MemoryLimit = cmp.Or(r.MemoryLimit, DefaultMemoryLimit)
	r.TimeLimit = cmp.Or(r.TimeLimit, DefaultTimeLimit)
	return r
}

// Interpret runs the script and gives its plan. Nothing but the script's own
// code is executed. It ends early with the context. Errors are faults with the
// user's frames, or several of them joined.
func (h *Host) Interpret(ctx context.Context, req Request) (*plan.Plan, error) {
	in, err := newInterpretation(ctx, h, req)
	if err != nil {
		return nil, err
	}
	stop := in.guard()
	defer stop()
	output, err := in.run()
	if err != nil {
		return nil, err
	}
	return in.finish(output), nil
}

// interpretation is the state of one Interpret.
type interpretation struct {
	ctx     context.Context
	host    *Host
	req     Request
	enclave EnclaveView
	thread  *starlark.Thread
	globals starlark.StringDict // predeclared names of this run

	steps      []plan.Step
	returned   map[plan.StepID]string
	warnings   []string
	serviceIDs map[string]string
	artifacts  map[string]bool // names that were given or made up in this run
	said       map[string]int  // how often a call has said the same
	memory     map[string]map[string]starlark.Value
	modules    map[string]*module
	files      map[string]source.File // by name: where a calling file's locators start

	heapAtStart uint64 // bytes
	made        uint64 // by large steps since the heap was looked at, in bytes

	fetching atomic.Bool // the script waits for code or files of others

	mu    sync.Mutex
	ended error // why the thread was cancelled
}

// threadKey is where a thread keeps its interpretation.
const threadKey = "lepto.interpretation"

func interpretationOf(thread *starlark.Thread) *interpretation {
	return thread.Local(threadKey).(*interpretation)
}

func newInterpretation(ctx context.Context, h *Host, req Request) (*interpretation, error) {
	if req.Package == nil {
		return nil, errors.New("interpret: no package")
	}
	in := &interpretation{
		ctx: ctx, host: h, req: req.withDefaults(), enclave: req.Enclave,
		returned:   map[plan.StepID]string{},
		serviceIDs: map[string]string{},
		artifacts:  map[string]bool{},
		said:       map[string]int{},
		memory:     map[string]map[string]starlark.Value{},
		modules:    map[string]*module{},
		files:      map[string]source.File{},
	}
	if in.enclave == nil {
		in.enclave = emptyEnclave{in}
	}
	in.thread = &starlark.Thread{
		Name:  req.Package.ID(),
		Load:  refuseLoad,
		Print: func(*starlark.Thread, string) {},
	}
	in.thread.SetLocal(threadKey, in)
	in.globals = maps.Clone(h.predeclared)
	uuid := ""
	if named, ok := in.enclave.(IdentifiedView); ok {
		uuid = named.EnclaveUUID()
	}
	kurtosis, err := kurtosisModule(in.enclave.EnvVars(), uuid)
	if err != nil {
		return nil, err
	}
	in.globals["kurtosis"] = in.addConstants(kurtosis)
	return in, nil
}

// add appends a step to the plan.
func (in *interpretation) add(c *Call, step plan.Step, value starlark.Value) error {
	if step == nil {
		return fmt.Errorf("%s made no step", c.call.Name)
	}
	in.steps = append(in.steps, step)
	in.returned[c.call.ID] = value.String()
	return nil
}

func (in *interpretation) finish(output string) *plan.Plan {
	for _, w := range in.req.Package.Warnings() {
		in.warn(w)
	}
	return &plan.Plan{
		PackageID: in.req.Package.ID(),
		Steps:     in.steps,
		Output:    output,
		Warnings:  in.warnings,
		Packages:  in.req.Package.Used(),
		Returned:  in.returned,
	}
}

func (in *interpretation) warn(text string) {
	if !slices.Contains(in.warnings, text) {
		in.warnings = append(in.warnings, text)
	}
}

func (in *interpretation) newID() string {
	if in.req.NewID != nil {
		return in.req.NewID()
	}
	return randomID()
}

// randomID makes a random UUID (version 4) without hyphens.
func randomID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return hex.EncodeToString(b[:])
}

// emptyEnclave stands for an enclave that is not there: planning without one.
type emptyEnclave struct{ in *interpretation }

func (e emptyEnclave) ServiceValueID(string) (string, error) { return e.in.newID(), nil }
func (emptyEnclave) EnvVars() string                         { return "" }
func (emptyEnclave) ClusterType() string                     { return "docker" }

// refuseLoad answers the load statement.
func refuseLoad(*starlark.Thread, string) (starlark.StringDict, error) {
	return nil, fault.New("E0104", "the load statement is not available here").
		WithHint(`module = import_module("path/to/file.star"), then module.name`)
}
