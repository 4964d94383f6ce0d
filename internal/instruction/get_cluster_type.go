package instruction

import (
	"context"
	"fmt"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/plan"
)

// getClusterTypeArgs are the parameters of plan.get_cluster_type.
type getClusterTypeArgs struct {
	_ struct{} `doc:"Gives where services run: \"docker\" (also for the native backend), \"kubernetes\" or \"podman\"."`
}

func buildGetClusterType(c *lang.Call, _ *getClusterTypeArgs) (plan.Step, starlark.Value, error) {
	kind := c.ClusterType()
	call := c.Plan("")
	call.Description = fmt.Sprintf("Fetching cluster type '%s'", kind) // whatever the script says
	return &getClusterType{called{call}, kind}, starlark.String(kind), nil
}

// getClusterType only tells.
type getClusterType struct {
	called
	kind string
}

// Effects has none.
func (s *getClusterType) Effects() plan.Effects { return plan.Effects{} }

// Validate has nothing to check.
func (s *getClusterType) Validate(*plan.Forecast) []error { return nil }

// Execute tells it.
func (s *getClusterType) Execute(context.Context, *plan.Execution) (plan.Outcome, error) {
	return plan.Outcome{Text: fmt.Sprintf("Fetched cluster type '%s'", s.kind)}, nil
}
