package instruction

import (
	"context"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/lang/types"
	"github.com/lepto-dev/lepto/internal/link"
	"github.com/lepto-dev/lepto/internal/plan"
)

// removeConnectionArgs are the parameters of plan.remove_connection.
type removeConnectionArgs struct {
	_           struct{}             `doc:"Takes back what set_connection has set for two subnetworks: the default connection holds between them again. Without such a rule it does nothing."`
	Subnetworks types.SubnetworkPair `star:"subnetworks,repr" doc:"the two"`
	Direction   string               `star:"direction,?,kw" check:"enum=both|forward|backward" doc:"forward: only for packets from the first subnetwork to the second, backward: only from the second to the first; both if not given"`
}

func buildRemoveConnection(c *lang.Call, a *removeConnectionArgs) (plan.Step, starlark.Value, error) {
	s := &removeConnection{between: between{pair: (*link.Pair)(&a.Subnetworks), direction: link.Direction(a.Direction)}}
	s.call = c.Plan("Removing connection override %s", s.words("subnetworks "))
	return s, nil, nil
}

// removeConnection removes a rule.
type removeConnection struct {
	called
	between
}

// Effects are the rule's.
func (s *removeConnection) Effects() plan.Effects { return s.effects() }

// Validate checks that links can be shaped here.
func (s *removeConnection) Validate(f *plan.Forecast) []error {
	return one(f.ShapeLinks("remove_connection"))
}

// Execute removes it.
func (s *removeConnection) Execute(ctx context.Context, x *plan.Execution) (plan.Outcome, error) {
	err := x.Enclave.RemoveConnection(ctx, *s.pair, s.direction)
	return plan.Outcome{Text: "Removed subnetwork connection override " + s.words("")}, err
}
