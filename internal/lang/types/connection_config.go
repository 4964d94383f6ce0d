package types

import (
	"errors"
	"fmt"
	"math"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/link"
)

// ConnectionConfig says what happens to packets between two subnetworks.
type ConnectionConfig struct {
	_         struct{} `doc:"What happens to packets between services of two subnetworks, each way. Without arguments they pass; kurtosis.connection.ALLOWED and kurtosis.connection.BLOCKED are the two ends."`
	Loss      Percent  `star:"packet_loss_percentage,?" doc:"how many are lost; a float"`
	Delay     Delay    `star:"packet_delay_distribution,?,late" doc:"how long they take; no time if not given"`
	RateMbps  Rate     `star:"rate_mbps,?,kw" doc:"megabits a second that pass, each way between two services; no bound if not given"`
	Duplicate Percent  `star:"duplicate_percentage,?,kw" doc:"how many arrive twice; a float"`
	Corrupt   Percent  `star:"corrupt_percentage,?,kw" doc:"how many arrive with a bit changed; a float"`
	Reorder   Percent  `star:"reorder_percentage,?,kw" doc:"how many skip the delay, and so overtake others; a float"`
}

// Validate checks what must fit together.
func (c *ConnectionConfig) Validate() error {
	if c.Reorder > 0 && c.Delay.Mean == 0 {
		return errors.New("has a reorder_percentage, which needs a packet_delay_distribution: without one there is nothing to overtake")
	}
	return nil
}

// Connection gives it in the words of the model.
func (c *ConnectionConfig) Connection() link.Connection {
	return link.Connection{
		Loss: float64(c.Loss), Delay: link.Delay(c.Delay), RateMbps: float64(c.RateMbps),
		Duplicate: float64(c.Duplicate), Corrupt: float64(c.Corrupt), Reorder: float64(c.Reorder),
	}
}

// connections are the values of kurtosis.connection.
func connections() lang.Builtin {
	lossy := func(percent float64) starlark.Value {
		return lang.Make[ConnectionConfig](lang.Field{Name: "packet_loss_percentage", Value: starlark.Float(percent)})
	}
	return lang.Constants("connection", map[string]starlark.Value{"ALLOWED": lossy(0), "BLOCKED": lossy(100)})
}

// Percent is a share: a float from 0 to 100. An int is refused, as the classic
// dialect does.
type Percent float64

// Wants names what is taken.
func (*Percent) Wants() string { return "float, 0.0 to 100.0" }

// UnpackStar reads it.
func (p *Percent) UnpackStar(v starlark.Value) error {
	f, ok := v.(starlark.Float)
	if !ok {
		return notFloat(v)
	}
	if !(f >= 0 && f <= 100) { // so that nan is refused
		return fmt.Errorf("must be 0.0 to 100.0, not %s", v)
	}
	*p = Percent(f)
	return nil
}

func notFloat(v starlark.Value) error {
	if i, ok := v.(starlark.Int); ok {
		return fmt.Errorf("must be a float, such as %s.0, not an int", i)
	}
	return fmt.Errorf("must be a float, not %s", lang.Describe(v))
}

// maxRate is the largest rate_mbps: a terabit a second.
const maxRate = 1e6

// Rate is megabits a second, above zero; an int will do.
type Rate float64

// Wants names what is taken.
func (*Rate) Wants() string { return "float or int, above 0" }

// UnpackStar reads it.
func (r *Rate) UnpackStar(v starlark.Value) error {
	f, ok := starlark.AsFloat(v)
	if !ok {
		return fmt.Errorf("must be a number, not %s", lang.Describe(v))
	}
	if !(f > 0 && f <= maxRate) || math.IsNaN(f) {
		return fmt.Errorf("must be above 0 and at most %g, not %s", maxRate, v)
	}
	*r = Rate(f)
	return nil
}

// Delay is one of the delay distributions.
type Delay link.Delay

// Wants names what is taken.
func (*Delay) Wants() string {
	return "UniformPacketDelayDistribution or NormalPacketDelayDistribution"
}

// UnpackStar reads it.
func (d *Delay) UnpackStar(v starlark.Value) error {
	switch {
	case lang.Is[UniformPacketDelayDistribution](v):
		uniform, err := lang.As[UniformPacketDelayDistribution](v)
		if err != nil {
			return err
		}
		*d = Delay(uniform.delay())
	case lang.Is[NormalPacketDelayDistribution](v):
		normal, err := lang.As[NormalPacketDelayDistribution](v)
		if err != nil {
			return err
		}
		*d = Delay(normal.delay())
	default:
		return fmt.Errorf("must be a %s, not %s", d.Wants(), lang.Describe(v))
	}
	return nil
}
