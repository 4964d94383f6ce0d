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
	made, err := host.Interpret(ctx, req.interpretation(nil, nil))
	if err != nil {
		fail(Interpretation, err)
		return out
	}
	out.Plan = made
	for i, step := range made.Steps {
		out.Steps = append(out.Steps, describe(step.Call(), i+1, len(made.Steps)))
	}
	in := plan.ForecastInput{Capabilities: caps, StrictNames: req.StrictNames}
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
