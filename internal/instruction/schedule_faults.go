package instruction

import (
	"context"
	"fmt"
	"time"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/lang/types"
	"github.com/lepto-dev/lepto/internal/link"
	"github.com/lepto-dev/lepto/internal/plan"
)

// scheduleFaultsArgs are the parameters of plan.schedule_faults.
type scheduleFaultsArgs struct {
	_      struct{}           `doc:"Lets faults happen to the enclave in the background, at times from now on: partitions, bad connections, frozen and killed services. The plan goes on meanwhile, and may end before they do."`
	Faults []*types.FaultStep `star:"faults,repr" check:"nonempty" doc:"what happens, and when"`
	Seed   uint64             `star:"seed,?" doc:"decides what is left to chance; that of the enclave's links if not given"`
}

func buildScheduleFaults(c *lang.Call, a *scheduleFaultsArgs) (plan.Step, starlark.Value, error) {
	s := &scheduleFaults{seed: a.Seed}
	for _, f := range a.Faults {
		s.faults = append(s.faults, f.Fault())
	}
	s.call = c.Plan("Scheduling '%d' faults", len(s.faults))
	return s, nil, nil
}

// scheduleFaults begins a schedule.
type scheduleFaults struct {
	called
	faults []link.Fault
	seed   uint64
}

// Effects: what comes after sees an enclave to which things happen.
func (s *scheduleFaults) Effects() plan.Effects { return plan.Effects{Writes: []plan.Key{plan.World}} }

// Validate checks the abilities and the services.
func (s *scheduleFaults) Validate(f *plan.Forecast) []error {
	var errs []error
	for _, one := range s.faults {
		if !one.Action.OnServices() {
			if err := f.ShapeLinks("schedule_faults"); err != nil {
				return append(errs, err) // once will do
			}
		}
		for _, name := range one.Services {
			if _, err := f.Service(name); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errs
}

// Execute begins it.
func (s *scheduleFaults) Execute(ctx context.Context, x *plan.Execution) (plan.Outcome, error) {
	schedule, err := x.Enclave.ScheduleFaults(ctx, s.faults, s.seed)
	if err != nil {
		return plan.Outcome{}, err
	}
	text := fmt.Sprintf("Scheduled '%d' faults with seed '%d':", len(schedule.Faults), schedule.Seed)
	for _, f := range schedule.Faults {
		text += fmt.Sprintf("\n  after %s: %s", f.After.Round(time.Millisecond), f.Fault)
	}
	return plan.Outcome{Text: text}, nil
}
