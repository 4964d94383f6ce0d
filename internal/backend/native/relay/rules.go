package relay

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lepto-dev/lepto/internal/link"
)

// line is one direction of a link: what it remembers from packet to packet. Its
// counters are read by others.
type line struct {
	from, to string
	fate     *link.Fate

	packets, bytes, dropped, delayed, duplicated, corrupted, reordered atomic.Uint64
}

// rule is a line with the connection that holds for it.
type rule struct {
	line       *line
	connection link.Connection
	perPacket  bool // bundles of packets must be taken apart
}

// rules are what a table says. They are replaced as a whole. All but stats is for the
// one thread that moves packets; a rule is made when the first packet asks for it, so
// that of very many pairs only those cost anything that talk.
type rules struct {
	links    link.Table
	stations []*station
	by       map[uint32]*station
	made     map[uint64]*rule // by source and destination; nil: nothing is to happen
	lines    *lines
}

// station is a service: where it is, and whose.
type station struct {
	name     string
	address  uint32
	hardware []byte
	affected func() bool // whether any of its packets is
}

// lines are all that have been made, in use or not. Safe for concurrent use.
type lines struct {
	mu  sync.Mutex
	all map[[2]string]*line
}

func (l *lines) get(seed uint64, from, to string) *line {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := [2]string{from, to}
	if l.all[key] == nil {
		l.all[key] = &line{from: from, to: to, fate: link.NewFate(seed, from, to)}
	}
	return l.all[key]
}

// keep forgets the lines that nothing happens to any more.
func (l *lines) keep(t link.Table) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.all, func(_ [2]string, at *line) bool { return t.Between(at.from, at.to).Free() })
}

// makeRules gives the rules of a table. Lines that were there before go on.
func makeRules(t Table, before *rules) *rules {
	out := &rules{links: t.Links, by: map[uint32]*station{}, made: map[uint64]*rule{}}
	if before == nil {
		out.lines = &lines{all: map[[2]string]*line{}}
	} else {
		out.lines = before.lines
		out.lines.keep(t.Links)
	}
	for _, name := range slices.Sorted(maps.Keys(t.Addresses)) {
		if a := t.Addresses[name]; a.Is4() {
			b := a.As4()
			at := &station{name: name, address: binary.BigEndian.Uint32(b[:]), hardware: t.Hardware[name]}
			at.affected = sync.OnceValue(func() bool { return len(t.Links.Peers(name)) > 0 })
			out.stations = append(out.stations, at)
			out.by[at.address] = at
		}
	}
	return out
}

// between gives the rule for packets from one address to another; nil if there is
// none.
func (r *rules) between(from, to uint32) *rule {
	key := uint64(from)<<32 | uint64(to)
	if known, there := r.made[key]; there {
		return known
	}
	a, b := r.by[from], r.by[to]
	if a == nil || b == nil {
		return nil // not noted: anybody can make up addresses
	}
	made := r.rule(a.name, b.name)
	r.made[key] = made
	return made
}

func (r *rules) rule(from, to string) *rule {
	c := r.links.Between(from, to)
	if c.Free() {
		return nil
	}
	return &rule{
		line: r.lines.get(r.links.Seed, from, to), connection: c,
		perPacket: c.Loss > 0 && c.Loss < 100 || c.RateMbps > 0 || c.Duplicate > 0 || c.Corrupt > 0 || c.Reorder > 0,
	}
}

// stats gives the counters, sorted. It may be called by any thread.
func (r *rules) stats() []link.Stats {
	r.lines.mu.Lock()
	defer r.lines.mu.Unlock()
	out := make([]link.Stats, 0, len(r.lines.all))
	for _, l := range r.lines.all {
		if r.links.Between(l.from, l.to).Free() {
			continue // made by the rules before, just now
		}
		out = append(out, link.Stats{
			From: l.from, To: l.to, Packets: l.packets.Load(), Bytes: l.bytes.Load(), Dropped: l.dropped.Load(), Delayed: l.delayed.Load(),
			Duplicated: l.duplicated.Load(), Corrupted: l.corrupted.Load(), Reordered: l.reordered.Load(),
		})
	}
	slices.SortFunc(out, func(a, b link.Stats) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
	return out
}

// maxBacklog bounds how far a line with a rate may be behind: what would wait
// longer is lost, as in a router whose queue is full.
const maxBacklog = 200 * time.Millisecond

// decide gives the verdict on a packet, and counts.
func (r *rule) decide(now int64, size int) link.Verdict {
	l := r.line
	l.packets.Add(1)
	l.bytes.Add(uint64(size))
	if r.connection.RateMbps > 0 && l.fate.Backlog(now) > maxBacklog {
		l.dropped.Add(1)
		return link.Verdict{Drop: true}
	}
	v := l.fate.Decide(&r.connection, now, size)
	count := func(c *atomic.Uint64, hit bool) {
		if hit {
			c.Add(1)
		}
	}
	count(&l.dropped, v.Drop)
	count(&l.delayed, v.Delayed)
	count(&l.duplicated, v.Duplicate)
	count(&l.corrupted, v.Corrupt)
	count(&l.reordered, v.Reordered)
	return v
}
