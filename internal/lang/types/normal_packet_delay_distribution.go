package types

import (
	"time"

	"github.com/lepto-dev/lepto/internal/link"
)

// NormalPacketDelayDistribution is a delay that varies.
type NormalPacketDelayDistribution struct {
	_           struct{} `doc:"A delay that varies from packet to packet, normally distributed, each way. What would be below zero is no delay."`
	MeanMS      uint32   `star:"mean_ms" doc:"milliseconds on average"`
	StdDevMS    uint32   `star:"std_dev_ms" doc:"the standard deviation, in milliseconds"`
	Correlation Percent  `star:"correlation,?" doc:"how much a packet's delay is like the one's before it, in percent; a float"`
}

func (n *NormalPacketDelayDistribution) delay() link.Delay {
	return link.Delay{
		Mean: time.Duration(n.MeanMS) * time.Millisecond, StdDev: time.Duration(n.StdDevMS) * time.Millisecond,
		Correlation: float64(n.Correlation),
	}
}
