package link

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"time"
)

// A Fate decides what becomes of each packet of one direction of a link. The
// same seed, services and packets give the same decisions. Not safe for
// concurrent use.
type Fate struct {
	random rand.PCG
	before float64 // the standard normal value of the packet before
	busy   int64   // when the line is free again, with RateMbps; ns
}

// NewFate makes the fate of packets from one service to another.
func NewFate(seed uint64, from, to string) *Fate {
	h := fnv.New64a()
	_, _ = h.Write([]byte(from + "\x00" + to)) // never fails
	f := &Fate{}
	f.random.Seed(seed, h.Sum64())
	f.before = f.normal()
	return f
}

// Verdict is what becomes of a packet.
type Verdict struct {
	Drop      bool
	At        int64 // when it arrives, on the caller's clock; ns
	Delayed   bool
	Duplicate bool
	Corrupt   bool
	Reordered bool
}

// Decide gives the verdict on a packet of size bytes that is sent now. It draws
// a number for everything that the connection asks for, whatever comes of the
// others, so that what is drawn depends on the count of packets alone.
func (f *Fate) Decide(c *Connection, now int64, size int) Verdict {
	v := Verdict{At: now}
	v.Drop = f.chance(c.Loss)
	v.Duplicate = f.chance(c.Duplicate)
	v.Corrupt = f.chance(c.Corrupt)
	v.Reordered = f.chance(c.Reorder)
	delay := f.delay(&c.Delay)
	if v.Drop {
		return Verdict{Drop: true, At: now}
	}
	if v.Reordered {
		delay = 0
	}
	if c.RateMbps > 0 {
		f.busy = max(f.busy, now) + int64(float64(size)*8*1000/c.RateMbps)
		v.At = f.busy
	}
	v.At += int64(delay)
	v.Delayed = v.At > now
	return v
}

// Bits draws 64 random bits, for whoever carries a verdict out.
func (f *Fate) Bits() uint64 { return f.random.Uint64() }

// chance draws with a probability in percent. 0 and 100 need no number.
func (f *Fate) chance(percent float64) bool {
	switch {
	case percent <= 0:
		return false
	case percent >= 100:
		return true
	}
	return f.unit()*100 < percent
}

// unit draws from [0, 1).
func (f *Fate) unit() float64 { return float64(f.random.Uint64()>>11) / (1 << 53) }

// normal draws from the standard normal distribution (Box and Muller's method;
// the second value is thrown away, so that each draw takes two numbers).
func (f *Fate) normal() float64 {
	radius := math.Sqrt(-2 * math.Log(1-f.unit()))
	return radius * math.Cos(2*math.Pi*f.unit())
}

// delay draws a delay. Successive values are an autoregressive process, which
// keeps the distribution as it is whatever the correlation.
func (f *Fate) delay(d *Delay) time.Duration {
	if d.StdDev == 0 {
		return d.Mean
	}
	z := f.normal()
	if d.Correlation > 0 {
		rho := d.Correlation / 100
		z = rho*f.before + math.Sqrt(1-rho*rho)*z
	}
	f.before = z
	return max(0, d.Mean+time.Duration(z*float64(d.StdDev)))
}

// Backlog tells how far the line is behind, with RateMbps.
func (f *Fate) Backlog(now int64) time.Duration { return time.Duration(max(0, f.busy-now)) }
