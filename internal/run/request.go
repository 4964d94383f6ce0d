package run

import (
	"errors"
	"sync"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/plan"
	"github.com/lepto-dev/lepto/internal/source"
)

// Request says what to run, and how. The zero value of a field means the default.
type Request struct {
	ID           string // of the run: 32 hex digits; a new one if empty
	Package      *source.Package
	MainFunction string // "run"
	Args         string // a JSON object; "{}"
	DryRun       bool   // interpret and validate, and say what would be done
	Parallelism  int    // services of one add_services that are made together; enclave.DefaultParallelism
	Parallel     bool   // execute steps together, as far as the plan's graph allows
	Workers      int    // steps that are executed together; 32
	// Shuffle executes the steps in a random order that the plan's graph allows,
	// the same for a seed. It has no effect with Parallel.
	Shuffle     bool
	ShuffleSeed uint64
	PullPolicy  backend.PullPolicy
	// AllowPrivileged lets services be privileged, where the backend can.
	AllowPrivileged bool
	// SkipResourceCheck takes reservations that the host has no room for.
	SkipResourceCheck bool
	// StrictNames refuses names that the current dialect alone would refuse.
	StrictNames bool
	// KeepTasks leaves the containers of tasks running after their end.
	KeepTasks bool
	OnFailure OnFailure
	// Experimental are feature flags; of those there are, NoCaching counts.
	Experimental []string
	// EnclaveVars are those of Plan; those of a Runner are its own.
	EnclaveVars string
}

// NoCaching is the feature flag with which nothing that an earlier run did is
// taken as done.
const NoCaching = "NO_INSTRUCTIONS_CACHING"

// OnFailure says what becomes of a service or task that fails, and with it the
// run.
type OnFailure string

// What may become of it.
const (
	KeepFailed   OnFailure = "keep" // the default: it stays, to be looked into
	RemoveFailed OnFailure = "remove"
)

func (r Request) withDefaults() Request {
	if r.Parallelism < 1 {
		r.Parallelism = enclave.DefaultParallelism
	}
	if r.Workers < 1 {
		r.Workers = defaultWorkers
	}
	if r.PullPolicy == "" {
		r.PullPolicy = backend.PullMissing
	}
	if r.Args == "" {
		r.Args = "{}"
	}
	return r
}

// args gives what is kept of the request for those who ask what ran last.
func (r Request) args(e *enclave.Enclave) enclave.RunArgs {
	args := enclave.RunArgs{
		PackageID: r.Package.ID(), Params: r.Args, Parallelism: r.Parallelism,
		MainFunction: r.MainFunction, Experimental: r.Experimental,
		Production: e.Info().Production,
	}
	if r.Package.IsScript() {
		args.Script, _ = r.Package.Source(source.ScriptID)
	} else {
		args.MainFile = r.Package.Main().Path
	}
	return args
}

// view is what interpretation sees of an enclave. It changes nothing: new ids
// of value slots are kept here until execution begins.
type view struct {
	enclave *enclave.Enclave
	cluster string
	vars    string
	newID   func() string
	known   map[string]string // ids of value slots that are durable
	mu      sync.Mutex
	fresh   map[string]string // and those that are not yet
}

func newView(e *enclave.Enclave, cluster string, deps Deps) (*view, error) {
	known, err := e.ServiceValueIDs()
	if err != nil {
		return nil, err
	}
	return &view{enclave: e, cluster: cluster, vars: deps.EnclaveVars, newID: deps.NewID, known: known, fresh: map[string]string{}}, nil
}

// ServiceValueID gives the id of a service's value slot.
func (v *view) ServiceValueID(name string) (string, error) {
	if id := v.known[name]; id != "" {
		return id, nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.fresh[name] == "" {
		v.fresh[name] = v.newID()
	}
	return v.fresh[name], nil
}

// EnvVars gives the engine's.
func (v *view) EnvVars() string { return v.vars }

// EnclaveUUID gives the enclave's UUID.
func (v *view) EnclaveUUID() string { return v.enclave.UUID() }

// ClusterType gives the backend as scripts know it.
func (v *view) ClusterType() string { return v.cluster }

// ExistingServices gives the services of earlier runs.
func (v *view) ExistingServices() []lang.ExistingService {
	var out []lang.ExistingService
	for _, s := range v.enclave.Services() {
		if s.Config.Task {
			continue
		}
		out = append(out, lang.ExistingService{Name: s.Name, Ports: s.Config.Ports})
	}
	return out
}

// loadValue loads a value slot: an empty one where its id is new.
func (v *view) loadValue(id string) (map[string]string, error) {
	fields, err := v.enclave.LoadValue(id)
	if !errors.Is(err, fault.ErrNotFound) {
		return fields, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, fresh := range v.fresh {
		if fresh == id {
			return map[string]string{}, nil
		}
	}
	return nil, err
}

// storeValue stores a value slot. The first one makes the new ids durable with
// it: before, nothing can refer to them.
func (v *view) storeValue(id string, fields map[string]string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.enclave.StoreValueAndIDs(id, fields, v.fresh); err != nil {
		return err
	}
	v.fresh = nil
	return nil
}

// clusterType gives a backend as scripts know it: they tell containers of one
// host from pods of a cluster, and no more.
func clusterType(name string) string {
	switch name {
	case "kubernetes", "podman":
		return name
	}
	return "docker"
}

// describe gives a step as events show it.
func describe(call plan.Call, number, total int) Begin {
	return Begin{
		ID: call.ID, Number: number, Total: total, Name: call.Name, Text: call.Shown(),
		Description: call.Description, Args: call.Args, At: call.At(),
	}
}
