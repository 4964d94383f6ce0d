package types

import (
	"time"

	"github.com/lepto-dev/lepto/internal/link"
)

// UniformPacketDelayDistribution is the same delay for every packet.
type UniformPacketDelayDistribution struct {
	_  struct{} `doc:"The same delay for every packet, each way: a round trip takes twice as long."`
	MS uint32   `star:"ms" doc:"milliseconds"`
}

func (u *UniformPacketDelayDistribution) delay() link.Delay {
	return link.Delay{Mean: time.Duration(u.MS) * time.Millisecond}
}
