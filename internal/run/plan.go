package run

import (
	"context"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/plan"
)

// Planned is what planning without an enclave gives.
type Planned struct {
	Plan     *plan.Plan // nil if interpretation failed
	Steps    []Begin
	Images   []enclave.Image // in order of first use
	Problems []*Problem      // none: the plan is valid
}

// Plan interprets and validates for an enclave that is new, without one, and
// without asking a backend: images are not looked for. Abilities are checked if
// the capabilities list any.
func Plan(ctx context.Context, host Interpreter, req Request, caps backend.Capabilities) Planned {
	req = req.withDefaults()
	var out Planned
	fail := func(phase PhaseName, err error) {
		out.Problems = append(out.Problems, problems(phase, req.Package, err)...)
	}
	fresh := &cleanView{cluster: clusterType(""), vars: req.EnclaveVars, newID: enclave.NewID}
	made, err := host.Interpret(ctx, req.interpretation(fresh, ""))
	if err != nil {
		fail(Interpretation, err)
		return out
	}
	out.Plan = made
	for i, step := range made.Steps {
		out.Steps = append(out.Steps, describe(step.Call(), i+1, len(made.Steps)))
	}
	in := plan.ForecastInput{Capabilities: caps, StrictNames: req.StrictNames, KeepTasks: req.KeepTasks}
	if !req.SkipResourceCheck {
		in.CPUMillis, in.MemoryMB = caps.Limits.CPUMillis, caps.Limits.MemoryBytes>>20
	}
	forecast := plan.NewForecast(in)
	_, errs := check(made.Steps, forecast)
	for _, err := range errs {
		fail(Validation, err)
	}
	out.Images = forecast.Images()
	return out
}

// PlanYAML interprets for an enclave that is new on the backend of this one, and
// gives the plan's YAML document. Errors are those of interpretation.
func (r *Runner) PlanYAML(ctx context.Context, e *enclave.Enclave, req Request) (string, error) {
	req = req.withDefaults()
	fresh := &cleanView{cluster: clusterType(e.Backend().Name()), vars: r.deps.EnclaveVars, uuid: e.UUID(), newID: r.deps.NewID}
	made, err := r.deps.Host.Interpret(ctx, req.interpretation(fresh, e.UUID()))
	if err != nil {
		return "", err
	}
	return made.YAML()
}

// cleanView is an enclave that has nothing yet.
type cleanView struct {
	cluster string
	vars    string
	uuid    string
	newID   func() string
}

// ServiceValueID gives a new id.
func (v *cleanView) ServiceValueID(string) (string, error) { return v.newID(), nil }

// EnvVars gives the engine's.
func (v *cleanView) EnvVars() string { return v.vars }

// EnclaveUUID gives the UUID of the enclave that it is planned for.
func (v *cleanView) EnclaveUUID() string { return v.uuid }

// ClusterType gives the backend as scripts know it.
func (v *cleanView) ClusterType() string { return v.cluster }
