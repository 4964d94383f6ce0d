package instruction

import (
	"context"
	"errors"
	"fmt"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/lang/types"
	"github.com/lepto-dev/lepto/internal/link"
	"github.com/lepto-dev/lepto/internal/plan"
)

// setConnectionArgs are the parameters of plan.set_connection.
type setConnectionArgs struct {
	_           struct{}                `doc:"Sets the connection between two subnetworks or, without subnetworks, the default connection. It holds for all services before the next instruction begins, also for connections that are open."`
	Subnetworks *types.SubnetworkPair   `star:"subnetworks,?,repr" doc:"the two; without them it is the default connection, for all pairs that have none of their own"`
	Config      *types.ConnectionConfig `star:"config,repr" doc:"what happens to packets"`
	Direction   string                  `star:"direction,?,kw" check:"enum=both|forward|backward" doc:"forward: only for packets from the first subnetwork to the second, backward: only from the second to the first; both if not given"`
}

// Validate checks the combination.
func (a *setConnectionArgs) Validate() error {
	if a.Subnetworks == nil && a.Direction != "" && a.Direction != string(link.Both) {
		return errors.New("direction needs subnetworks: the default connection has none")
	}
	return nil
}

func buildSetConnection(c *lang.Call, a *setConnectionArgs) (plan.Step, starlark.Value, error) {
	s := &setConnection{config: a.Config.Connection()}
	if a.Subnetworks == nil {
		s.call = c.Plan("Configuring default connection between subnetworks")
		return s, nil, nil
	}
	s.between = between{pair: (*link.Pair)(a.Subnetworks), direction: link.Direction(a.Direction)}
	s.call = c.Plan("Configuring connection %s", s.words("subnetworks "))
	return s, nil, nil
}

// between is a pair of subnetworks, and which way is meant.
type between struct {
	pair      *link.Pair // nil: the default connection
	direction link.Direction
}

// words names the pair, with a word before its names.
func (b between) words(subnetworks string) string {
	one, two := b.pair[0], b.pair[1]
	switch b.direction {
	case link.Forward:
		return fmt.Sprintf("from %s'%s' to '%s'", subnetworks, one, two)
	case link.Backward:
		return fmt.Sprintf("from %s'%s' to '%s'", subnetworks, two, one)
	}
	return fmt.Sprintf("between %s'%s' and '%s'", subnetworks, one, two)
}

// effects: a rule changes what every service sees of the others from here on.
func (b between) effects() plan.Effects {
	writes := []plan.Key{plan.World}
	if b.pair != nil {
		writes = append(writes, plan.LinkKey(b.pair[0], b.pair[1]))
	}
	return plan.Effects{Writes: writes}
}

// setConnection sets a rule.
type setConnection struct {
	called
	between
	config link.Connection
}

// Effects are the rule's.
func (s *setConnection) Effects() plan.Effects { return s.effects() }

// Validate checks that links can be shaped here.
func (s *setConnection) Validate(f *plan.Forecast) []error {
	return one(f.ShapeLinks("set_connection"))
}

// Execute sets it.
func (s *setConnection) Execute(ctx context.Context, x *plan.Execution) (plan.Outcome, error) {
	if s.pair == nil {
		err := x.Enclave.SetDefaultConnection(ctx, s.config)
		return plan.Outcome{Text: "Configured default subnetwork connection"}, err
	}
	err := x.Enclave.SetConnection(ctx, *s.pair, s.direction, s.config)
	return plan.Outcome{Text: "Configured subnetwork connection " + s.words("")}, err
}
