package shape

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend/native/relay"
	"github.com/lepto-dev/lepto/internal/link"
)

// This file shapes links with the kernel's netem (tc-netem(8)). At a port of the
// bridge, where packets leave for a service, an HTB tree has a class for each
// source with a rule, with a netem under it; what matches none passes untouched.
//
//	port of b:  1: htb ── 1:<a> class ── <a>: netem       u32, by source: a → 1:<a>
//
// That is behind the sender's stack and not in it, so that the sender's TCP sees a
// long line and not a full queue.

const (
	rootMajor  = 1
	netemMajor = 0x1000 // and the peer's node: the netem's handle
	// lineRate is the rate of classes, which are not to limit anything: the most
	// that fits into 32 bits of bytes a second.
	lineRate = math.MaxUint32 / 2 * 8
	// netemLimit bounds the packets that wait in one netem.
	netemLimit = 20_000
	// sendersTable is the hash table of a port's filters.
	sendersTable = 1
)

// trial is a connection that uses all that a rule may.
var trial = link.Connection{
	Loss: 1, Duplicate: 1, Corrupt: 1, Reorder: 1, RateMbps: 100,
	Delay: link.Delay{Mean: time.Millisecond, StdDev: time.Millisecond, Correlation: 1},
}

// netemAt brings a port to what is wanted. A netem that is there is changed in
// place: no packet passes between the old rule and the new one.
func (s *Shaper) netemAt(k *kernel, p *port, want map[netip.Addr]link.Connection, seed uint64) error {
	if err := s.noteDelayed(k, p, want); err != nil {
		return err
	}
	for peer, c := range want {
		if have, there := p.peers[peer]; there && have == c {
			continue
		}
		if err := k.netem(p, node(s.cfg.Subnet, peer), peer, pairSeed(seed, peer, p.index), c); err != nil {
			return err
		}
		p.peers[peer] = c
	}
	for peer := range p.peers {
		if _, wanted := want[peer]; wanted {
			continue
		}
		if err := k.endNetem(p, node(s.cfg.Subnet, peer), peer); err != nil {
			return err
		}
		delete(p.peers, peer)
		delete(p.late, peer)
	}
	return nil
}

// pairSeed makes the seed of one direction of a link.
func pairSeed(seed uint64, from netip.Addr, port int) uint64 {
	h := fnv.New64a()
	_, _ = fmt.Fprint(h, seed, from, port) // never fails
	return h.Sum64()
}

// netem sets up, or changes, what happens to packets of a source.
func (k *kernel) netem(p *port, node uint32, peer netip.Addr, seed uint64, c link.Connection) error {
	if _, there := p.peers[peer]; !there {
		if err := k.netemClass(p, node); err != nil {
			return err
		}
	}
	if err := k.netemQdisc(p, node, seed, c); err != nil {
		return fmt.Errorf("netem for packets from %s: %w", peer, err)
	}
	if _, there := p.peers[peer]; there {
		return nil
	}
	if err := k.addFilter(atRoot(p), netemFilter(node, peer)); err != nil {
		return fmt.Errorf("packets from %s: %w", peer, err)
	}
	return nil
}

func classID(node uint32) uint32 { return netlink.MakeHandle(rootMajor, uint16(node)) }

func netemHandle(node uint32) uint32 { return netlink.MakeHandle(netemMajor+uint16(node), 0) }

func netemFilter(node uint32, peer netip.Addr) filter {
	return filter{
		table: sendersTable, bucket: word(peer) % buckets, number: node,
		match: []netlink.TcU32Key{matching(source, peer)}, class: classID(node),
	}
}

// atRoot is where a port's filters are.
func atRoot(p *port) place { return place{index: p.index, parent: netlink.MakeHandle(rootMajor, 0)} }

// netemRoot makes the tree's root, with a table of filters by the sender.
func (k *kernel) netemRoot(p *port) error {
	root := netlink.NewHtb(netlink.QdiscAttrs{LinkIndex: p.index, Handle: netlink.MakeHandle(rootMajor, 0), Parent: netlink.HANDLE_ROOT})
	if err := k.handle.QdiscAdd(root); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("htb: %w", err)
	}
	if err := k.addTable(atRoot(p), sendersTable); err != nil {
		return err
	}
	anyone := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	return k.addFilter(atRoot(p), filter{
		table: rootTable, number: 1, match: []netlink.TcU32Key{within(source, anyone)}, link: sendersTable, by: source,
	})
}

// netemClass makes a class, where it is not there.
func (k *kernel) netemClass(p *port, node uint32) error {
	if len(p.peers) == 0 {
		if err := k.netemRoot(p); err != nil {
			return err
		}
	}
	class := netlink.NewHtbClass(
		netlink.ClassAttrs{LinkIndex: p.index, Parent: netlink.MakeHandle(rootMajor, 0), Handle: classID(node)},
		netlink.HtbClassAttrs{Rate: lineRate, Ceil: lineRate, Quantum: 200_000, Buffer: 1 << 20, Cbuffer: 1 << 20},
	)
	if err := k.handle.ClassAdd(class); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("htb class: %w", err)
	}
	return nil
}

// endNetem lets packets of a source pass again: first they go another way, then
// their class ends.
func (k *kernel) endNetem(p *port, node uint32, peer netip.Addr) error {
	if err := k.endFilter(atRoot(p), netemFilter(node, peer).handle()); err != nil {
		return err
	}
	class := netlink.NewHtbClass(
		netlink.ClassAttrs{LinkIndex: p.index, Parent: netlink.MakeHandle(rootMajor, 0), Handle: classID(node)}, netlink.HtbClassAttrs{},
	)
	if err := k.handle.ClassDel(class); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("end an htb class: %w", err)
	}
	return nil
}

// leaveNetem takes netem away from ports for which the relay works now.
func (s *Shaper) leaveNetem(ports map[string]*port) error {
	k, err := s.openKernel()
	if err != nil {
		return err
	}
	defer k.close()
	for service, p := range ports {
		root := netlink.NewHtb(netlink.QdiscAttrs{LinkIndex: p.index, Handle: netlink.MakeHandle(rootMajor, 0), Parent: netlink.HANDLE_ROOT})
		err := k.handle.QdiscDel(root)
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("end netem at service %q: %w", service, err)
		}
	}
	return nil
}

// learnNetem reads which sources have a netem; what it does is set anew.
func (k *kernel) learnNetem(p *port, subnet netip.Prefix) error {
	qdiscs, err := k.handle.QdiscList(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: p.index}})
	if err != nil {
		return fmt.Errorf("queueing disciplines: %w", err)
	}
	for _, q := range qdiscs {
		if major, _ := netlink.MajorMinor(q.Attrs().Handle); q.Type() == "netem" && major > netemMajor {
			// No connection is like this one, so that the first change sets it.
			p.peers[addressOf(subnet, uint32(major-netemMajor))] = link.Connection{Loss: math.Inf(1)}
		}
	}
	return nil
}

// netemQdisc makes or changes the netem of a class.
func (k *kernel) netemQdisc(p *port, node uint32, seed uint64, c link.Connection) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK)
	msg := &nl.TcMsg{Family: nl.FAMILY_ALL, Ifindex: int32(p.index), Handle: netemHandle(node), Parent: classID(node)}
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("netem")))
	req.AddData(nl.NewRtAttr(nl.TCA_OPTIONS, netemOptions(c, seed)))
	return k.execute(req)
}

// Attributes of netem that the netlink library has no names for
// (linux/pkt_sched.h).
const (
	netemCorr      = 1
	netemDelayDist = 2
	netemReorder   = 3
	netemCorrupt   = 4
	netemRate      = 6
	netemRate64    = 8
	netemLatency64 = 10
	netemJitter64  = 11
	netemSeed      = 14 // Linux 6.6; others skip it
)

// netemOptions writes struct tc_netem_qopt and the attributes that follow it.
func netemOptions(c link.Connection, seed uint64) []byte {
	gap := uint32(0)
	if c.Reorder > 0 {
		gap = 1
	}
	data := words(ticks(c.Delay.Mean), netemLimit, share(c.Loss), gap, share(c.Duplicate), ticks(c.Delay.StdDev))
	attr := func(kind int, value []byte) { data = append(data, nl.NewRtAttr(kind, value).Serialize()...) }
	attr(netemCorr, words(share(c.Delay.Correlation), 0, 0))
	attr(netemLatency64, long(uint64(c.Delay.Mean)))
	attr(netemJitter64, long(uint64(c.Delay.StdDev)))
	if c.Reorder > 0 {
		attr(netemReorder, words(share(c.Reorder), 0))
	}
	if c.Corrupt > 0 {
		attr(netemCorrupt, words(share(c.Corrupt), 0))
	}
	if c.RateMbps > 0 {
		bytes := uint64(c.RateMbps * 1e6 / 8)
		if bytes >= math.MaxUint32 {
			attr(netemRate64, long(bytes))
		}
		attr(netemRate, words(uint32(min(bytes, math.MaxUint32)), 0, 0, 0))
	}
	if c.Delay.StdDev > 0 {
		attr(netemDelayDist, normalTable())
	}
	attr(netemSeed, long(seed))
	return data
}

func words(values ...uint32) []byte {
	var out []byte
	for _, v := range values {
		out = binary.NativeEndian.AppendUint32(out, v)
	}
	return out
}

func long(v uint64) []byte { return binary.NativeEndian.AppendUint64(nil, v) }

// share gives a percentage as the kernel counts probabilities.
func share(percent float64) uint32 { return uint32(math.Round(percent / 100 * math.MaxUint32)) }

// ticks gives a time as the packet scheduler counts it; netem reads it where it
// does not know the 64-bit attributes (before Linux 4.16).
func ticks(d time.Duration) uint32 {
	return uint32(min(float64(d)/1000*netlink.TickInUsec(), math.MaxUint32))
}

const (
	distScale  = 8192 // NETEM_DIST_SCALE: one standard deviation
	distPoints = 4096
)

// normalTable is the inverse of the normal distribution function, at points in
// equal steps, as netem wants it.
var normalTable = sync.OnceValue(func() []byte {
	var out []byte
	for i := range distPoints {
		p := (float64(i) + 0.5) / distPoints
		z := math.Sqrt2 * math.Erfinv(2*p-1)
		out = binary.NativeEndian.AppendUint16(out, uint16(int16(math.Round(z*distScale))))
	}
	return out
})

// delayed tells which of a netem's packets were delayed. The kernel counts those that
// passed: all of them are, while its rule delays.
type delayed struct {
	before uint64 // were, up to the last change of the rule
	passed uint64 // had come by then
}

// now gives how many were, by a count of those that have passed.
func (d delayed) now(passed uint64, c link.Connection) uint64 {
	if !c.Delays() || passed < d.passed {
		return d.before
	}
	return d.before + passed - d.passed
}

// noteDelayed reads the counters where a rule is to change between one that delays and
// one that does not.
func (s *Shaper) noteDelayed(k *kernel, p *port, want map[netip.Addr]link.Connection) error {
	var turns []netip.Addr
	for peer, have := range p.peers {
		if c, stays := want[peer]; stays && c.Delays() != have.Delays() {
			turns = append(turns, peer)
		}
	}
	if len(turns) == 0 {
		return nil
	}
	counters, err := k.netemCounters(p, s.cfg.Subnet)
	if err != nil {
		return err
	}
	if p.late == nil {
		p.late = map[netip.Addr]delayed{}
	}
	for _, peer := range turns {
		passed := counters[peer].Packets - counters[peer].Dropped
		p.late[peer] = delayed{before: p.late[peer].now(passed, p.peers[peer]), passed: passed}
	}
	return nil
}

// netemStats reads the counters of all netems.
func (s *Shaper) netemStats(ctx context.Context, table *relay.Table) ([]link.Stats, error) {
	leave, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	k, err := s.openKernel()
	if err != nil {
		return nil, err
	}
	defer k.close()
	var out []link.Stats
	for service, p := range s.ports {
		counters, err := k.netemCounters(p, s.cfg.Subnet)
		if err != nil {
			return nil, fmt.Errorf("counters of service %q: %w", service, err)
		}
		for from, a := range table.Addresses {
			st, there := counters[a]
			if !there {
				continue
			}
			c := table.Links.Between(from, service)
			st.From, st.To, st.Delayed = from, service, p.late[a].now(st.Packets-st.Dropped, c)
			st.Uncounted = uncounted(c)
			out = append(out, st)
		}
	}
	sortStats(out)
	return out, nil
}

// uncounted names what a netem does and does not count.
func uncounted(c link.Connection) (out []string) {
	for _, is := range []struct {
		name  string
		there bool
	}{{"duplicated", c.Duplicate > 0}, {"corrupted", c.Corrupt > 0}, {"reordered", c.Reorder > 0}} {
		if is.there {
			out = append(out, is.name)
		}
	}
	return out
}

// netemCounters reads what the netems of a port have counted, by the sender.
func (k *kernel) netemCounters(p *port, subnet netip.Prefix) (map[netip.Addr]link.Stats, error) {
	qdiscs, err := k.handle.QdiscList(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: p.index}})
	if err != nil {
		return nil, fmt.Errorf("queueing disciplines: %w", err)
	}
	out := map[netip.Addr]link.Stats{}
	for _, q := range qdiscs {
		attrs := q.Attrs()
		major, _ := netlink.MajorMinor(attrs.Handle)
		if q.Type() != "netem" || major <= netemMajor || attrs.Statistics == nil {
			continue
		}
		var st link.Stats
		if b := attrs.Statistics.Basic; b != nil {
			st.Packets, st.Bytes = uint64(b.Packets), b.Bytes
		}
		if c := attrs.Statistics.Queue; c != nil {
			st.Dropped = uint64(c.Drops)
			st.Packets += uint64(c.Drops) + uint64(c.Qlen)
		}
		out[addressOf(subnet, uint32(major-netemMajor))] = st
	}
	return out, nil
}
