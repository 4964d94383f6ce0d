package plan

import (
	"fmt"

	"github.com/lepto-dev/lepto/internal/fault"
)

// A StepError is a problem with a step, found in validation. Its fault has the
// position of the step's call.
type StepError struct {
	Call  Call
	Fault *fault.Fault
}

// Error gives the problem alone; the position is in the fault.
func (e *StepError) Error() string { return e.Fault.Error() }

// Unwrap gives the fault.
func (e *StepError) Unwrap() error { return e.Fault }

// LegacyText gives the problem in the text form of the wire API (starlark spec
// §7.2).
func (e *StepError) LegacyText() string {
	return fmt.Sprintf("Error while validating instruction %s. The instruction can be found at %s\n\tCaused by: %s",
		e.Call.Shown(), e.Call.At(), e.Fault.Summary)
}

// Validate checks the steps in order against the forecast, which it advances,
// and gives all problems found: each a *StepError over a *fault.Fault with the
// code, the user's call stack and the call. It touches nothing else.
func Validate(steps []Step, forecast *Forecast) []error {
	var all []error
	for _, step := range steps {
		call := step.Call()
		for _, err := range step.Validate(forecast) {
			problem := *fault.From(err, "E0300")
			problem.WithFrames(call.Stack...)
			problem.WithEvidence("in the call", call.Shown())
			all = append(all, &StepError{Call: call, Fault: &problem})
		}
	}
	return all
}
