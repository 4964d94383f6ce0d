package shape

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend/native/relay"
)

// This file has the kernel redirect packets to the relay (tc-mirred(8)): as they
// come in at a port of the bridge, by where they come from and go to.
//
//	root ── one to several (multicast, broadcast) ──▶ casts: by source ──▶ relay
//	     ── from service to service ──▶ sources: by source ──▶ targets of its
//	        subnetwork: by destination ──▶ relay, or not
//	                                   └─▶ the rest ──▶ relay, or not
//
// The filters are in a block that all ports share. Loopback has it too, which holds
// it while no port is there: nothing that goes from service to service passes there.

const (
	sharedBlock = 1
	// blockIndex in place of a device's index means that filters are a block's
	// (TCM_IFINDEX_MAGIC_BLOCK).
	blockIndex = -1

	sourcesTable = 1
	castsTable   = 2
	// restNumber and passNumber are added to a node's number, which has ten bits, to
	// have such a filter behind the one of that number.
	restNumber = 0x400
	passNumber = 0x400
	nodeBits   = 0x3ff

	protocolIGMP = 2
)

var block = place{index: blockIndex, parent: sharedBlock}

// redirects is what the kernel redirects: for the holder of the Shaper's turn.
type redirects struct {
	subnet netip.Prefix
	device int // of the relay
	now    layout
	known  bool // now is what the kernel has
	done   *relay.Table
}

// bringTo has the kernel redirect what a table's rules are for.
func (r *redirects) bringTo(k *kernel, table *relay.Table, device int) error {
	if err := r.learn(k, device); err != nil {
		return err
	}
	if r.done == table {
		return nil
	}
	for _, c := range r.now.changes(r.now.wanted(table, r.number)) {
		if err := r.make(k, c); err != nil {
			r.known = false
			return fmt.Errorf("redirections to the link relay: %w", err)
		}
		r.now.take(c)
	}
	r.done = table
	return nil
}

func (r *redirects) number(a netip.Addr) uint32 { return node(r.subnet, a) }

// learn sees to it that the block is there, and reads what it has where that is not
// known.
func (r *redirects) learn(k *kernel, device int) error {
	lo, err := k.handle.LinkByName("lo")
	if err != nil {
		return err
	}
	fresh, err := k.bind(lo.Attrs().Index)
	if err != nil {
		return err
	}
	if r.known && !fresh && r.device == device {
		return nil
	}
	r.now, r.device, r.known, r.done = newLayout(), device, false, nil
	if err := r.begin(k); err != nil {
		return err
	}
	if !fresh {
		if err := r.read(k); err != nil {
			return err
		}
	}
	r.known = true
	return nil
}

// bind has a device share the block; fresh tells that it did not. A clsact of another
// kind gives way.
func (k *kernel) bind(index int) (fresh bool, err error) {
	shared := uint32(sharedBlock)
	clsact := &netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT, IngressBlock: &shared,
		},
		QdiscType: "clsact",
	}
	err = k.handle.QdiscAdd(clsact)
	if !errors.Is(err, unix.EEXIST) {
		if err != nil {
			err = fmt.Errorf("clsact: %w", err)
		}
		return true, err
	}
	qdiscs, err := k.handle.QdiscList(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: index}})
	if err != nil {
		return false, fmt.Errorf("queueing disciplines: %w", err)
	}
	if slices.ContainsFunc(qdiscs, func(q netlink.Qdisc) bool {
		b := q.Attrs().IngressBlock
		return q.Type() == "clsact" && b != nil && *b == sharedBlock
	}) {
		return false, nil
	}
	if err := errors.Join(k.handle.QdiscDel(clsact), k.handle.QdiscAdd(clsact)); err != nil {
		return true, fmt.Errorf("clsact: %w", err)
	}
	return true, nil
}

// begin makes what is the same for all layouts.
func (r *redirects) begin(k *kernel) error {
	for _, table := range []uint32{sourcesTable, castsTable} {
		if err := k.addTable(block, table); err != nil {
			return err
		}
	}
	gateway, all := r.subnet.Masked().Addr().Next(), netip.AddrFrom4([4]byte{255, 255, 255, 255})
	igmp := netlink.TcU32Key{Mask: 0x00ff0000, Val: protocolIGMP << 16, Off: protocolAt}
	casts := func(number uint32, to netlink.TcU32Key) filter {
		return filter{table: rootTable, number: number, match: []netlink.TcU32Key{to}, link: castsTable, by: source}
	}
	for _, f := range []filter{
		{table: rootTable, number: 1, match: []netlink.TcU32Key{igmp}}, // is the bridge's business
		{table: rootTable, number: 2, match: []netlink.TcU32Key{matching(destination, gateway)}},
		casts(3, within(destination, netip.PrefixFrom(netip.AddrFrom4([4]byte{224}), 4))),
		casts(4, matching(destination, lastOf(r.subnet))),
		casts(5, matching(destination, all)),
		{
			table: rootTable, number: 6, link: sourcesTable, by: source,
			match: []netlink.TcU32Key{within(source, r.subnet), within(destination, r.subnet)},
		},
	} {
		if err := k.addFilter(block, f); err != nil {
			return err
		}
	}
	return nil
}

// lastOf gives the last address of a range: the one for all in it.
func lastOf(p netip.Prefix) netip.Addr { return addressOf(p, 1<<(32-p.Bits())-1) }

// read finds what the block has.
func (r *redirects) read(k *kernel) error {
	filters, err := k.handle.FilterList(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: block.index}}, block.parent)
	if err != nil {
		return fmt.Errorf("filters: %w", err)
	}
	for _, f := range filters {
		u, ours := f.(*netlink.U32)
		if !ours {
			continue
		}
		table, number := u.Handle>>20, u.Handle&0xfff
		n := number & nodeBits
		switch {
		case table >= rootTable || number == 0 && table < firstTable:
		case number == 0:
			r.targets(table)
		case table == sourcesTable && number == n:
			r.now.take(change{linkTable, u.Link >> 20, n})
		case table == sourcesTable:
			r.now.take(change{addRest, 0, n})
		case table == castsTable:
			r.now.take(change{addCasts, 0, n})
		case number == n:
			r.targets(table).redirect[n] = true
		default:
			r.targets(table).pass[n] = true
		}
	}
	return nil
}

func (r *redirects) targets(table uint32) *targets {
	if r.now.tables[table] == nil {
		r.now.tables[table] = newTargets()
	}
	return r.now.tables[table]
}

// make has the kernel take a change.
func (r *redirects) make(k *kernel, c change) error {
	if c.do == makeTable {
		return k.addTable(block, c.table)
	}
	a := addressOf(r.subnet, c.node)
	bucket := word(a) % buckets
	from, to := []netlink.TcU32Key{matching(source, a)}, []netlink.TcU32Key{matching(destination, a)}
	link := filter{table: sourcesTable, bucket: bucket, number: c.node, match: from, link: c.table, by: destination}
	rest := filter{table: sourcesTable, bucket: bucket, number: c.node | restNumber, match: from, actions: r.relayed()}
	casts := filter{table: castsTable, bucket: bucket, number: c.node, match: from, actions: r.relayed()}
	redirect := filter{table: c.table, bucket: bucket, number: c.node, match: to, actions: r.relayed()}
	pass := filter{table: c.table, bucket: bucket, number: c.node | passNumber, match: to}
	switch c.do {
	case linkTable:
		return k.putFilter(block, link)
	case endLink:
		return k.endFilter(block, link.handle())
	case addRest:
		return k.addFilter(block, rest)
	case endRest:
		return k.endFilter(block, rest.handle())
	case addCasts:
		return k.addFilter(block, casts)
	case endCasts:
		return k.endFilter(block, casts.handle())
	case addRedirect:
		return k.addFilter(block, redirect)
	case endRedirect:
		return k.endFilter(block, redirect.handle())
	case addPass:
		return k.addFilter(block, pass)
	case endPass:
		return k.endFilter(block, pass.handle())
	}
	return fmt.Errorf("change %d is none", c.do)
}

// relayed has a packet go to the relay.
func (r *redirects) relayed() []netlink.Action {
	return []netlink.Action{&netlink.MirredAction{
		ActionAttrs:  netlink.ActionAttrs{Action: netlink.TC_ACT_STOLEN},
		MirredAction: netlink.TCA_EGRESS_REDIR,
		Ifindex:      r.device,
	}}
}
