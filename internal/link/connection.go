// Package link is the model of subnetworks: which connection holds between two
// services of an enclave, and what it does to a packet.
//
// A [Topology] holds the default connection and those set between two
// subnetworks; with the services' memberships it is a [Table], which is all a
// backend is told. A [Fate] is one direction of a link at work: it decides, packet by
// packet, from a seed.
//
// The package holds pure values. It must not know of backends, plans, scripts or
// sockets: the engine, the relay process and the tests all use it.
package link

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// DefaultSubnetwork is where services are that name no other.
const DefaultSubnetwork = "default"

// Connection says what happens to packets on their way from one service to
// another. The zero value lets them pass.
type Connection struct {
	Loss      float64 `json:"loss_percent,omitempty"` // 0 to 100
	Delay     Delay   `json:"delay,omitzero"`
	RateMbps  float64 `json:"rate_mbps,omitempty"`         // 10^6 bits a second; 0: no bound
	Duplicate float64 `json:"duplicate_percent,omitempty"` // arrive twice
	Corrupt   float64 `json:"corrupt_percent,omitempty"`   // arrive with one bit changed
	Reorder   float64 `json:"reorder_percent,omitempty"`   // skip the delay, and so overtake
}

// Delay is the time a packet takes. StdDev above zero makes it normally
// distributed, with what would be below zero taken as zero.
type Delay struct {
	Mean        time.Duration `json:"mean_ns,omitempty"`
	StdDev      time.Duration `json:"std_dev_ns,omitempty"`
	Correlation float64       `json:"correlation_percent,omitempty"` // of one packet's delay with the one's before
}

// The two connections that have names.
var (
	Allowed = Connection{}
	Blocked = Connection{Loss: 100}
)

// Free reports that packets pass as if there were no rule.
func (c Connection) Free() bool {
	return c.Loss == 0 && c.Delay.Mean == 0 && c.Delay.StdDev == 0 && c.RateMbps == 0 &&
		c.Duplicate == 0 && c.Corrupt == 0
}

// Delays reports whether packets take longer than without a rule, those aside that
// overtake.
func (c Connection) Delays() bool { return c.Delay.Mean > 0 || c.Delay.StdDev > 0 || c.RateMbps > 0 }

// MaxDelay bounds a delay: what the classic dialect can say, 2^32-1 ms.
const MaxDelay = math.MaxUint32 * time.Millisecond

// Validate checks the ranges.
func (c Connection) Validate() error {
	for _, p := range []struct {
		name  string
		value float64
	}{{"loss", c.Loss}, {"duplicate", c.Duplicate}, {"corrupt", c.Corrupt}, {"reorder", c.Reorder}, {"correlation", c.Delay.Correlation}} {
		if !(p.value >= 0 && p.value <= 100) { // so that NaN is refused
			return fmt.Errorf("%s must be 0 to 100 percent, not %s", p.name, number(p.value))
		}
	}
	if !(c.RateMbps >= 0 && c.RateMbps <= 1e6) {
		return fmt.Errorf("rate must be 0 to 1000000 Mbit/s, not %s", number(c.RateMbps))
	}
	if c.Delay.Mean < 0 || c.Delay.Mean > MaxDelay || c.Delay.StdDev < 0 || c.Delay.StdDev > MaxDelay {
		return fmt.Errorf("delay must be 0 to %s", MaxDelay)
	}
	if c.Reorder > 0 && c.Delay.Mean == 0 {
		return fmt.Errorf("reorder needs a delay: without one there is nothing to overtake")
	}
	return nil
}

// String gives the connection for people: "allowed", "blocked", or
// "loss 10%, delay 50ms ± 10ms, 100 Mbit/s".
func (c Connection) String() string {
	switch {
	case c.Free():
		return "allowed"
	case c.Loss == 100:
		return "blocked"
	}
	var parts []string
	percent := func(what string, value float64) {
		if value > 0 {
			parts = append(parts, what+" "+number(value)+"%")
		}
	}
	percent("loss", c.Loss)
	if c.Delay.Mean > 0 || c.Delay.StdDev > 0 {
		parts = append(parts, "delay "+c.Delay.String())
	}
	if c.RateMbps > 0 {
		parts = append(parts, number(c.RateMbps)+" Mbit/s")
	}
	percent("duplicate", c.Duplicate)
	percent("corrupt", c.Corrupt)
	percent("reorder", c.Reorder)
	return strings.Join(parts, ", ")
}

// String gives the delay for people.
func (d Delay) String() string {
	text := d.Mean.String()
	if d.StdDev > 0 {
		text += " ± " + d.StdDev.String()
	}
	if d.Correlation > 0 {
		text += " correlated " + number(d.Correlation) + "%"
	}
	return text
}

func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
