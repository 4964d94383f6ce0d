package shape

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/lepto-dev/lepto/internal/backend/native/relay"
)

// This file decides which filters it takes for the relay to get what a rule is for,
// and how to come there from those that are: pure values, of which block.go makes
// filters.
//
// All ports share them, and all members of a subnetwork share a table of
// destinations. So they grow with the services, and not with the pairs.

// layout is which packets are redirected. Services are numbered; see node.
type layout struct {
	// sources are those of whose packets some are redirected.
	sources map[uint32]origin
	// tables of destinations, by number.
	tables map[uint32]*targets
}

// origin is what happens to a source's packets.
type origin struct {
	table uint32 // which is looked up
	rest  bool   // what the table does not know is redirected
	casts bool   // so is what goes to several at once
}

// targets are destinations that are redirected, and those that are not.
type targets struct{ redirect, pass map[uint32]bool }

func newLayout() layout { return layout{sources: map[uint32]origin{}, tables: map[uint32]*targets{}} }

func newTargets() *targets { return &targets{redirect: map[uint32]bool{}, pass: map[uint32]bool{}} }

// redirects reports whether a packet goes to the relay.
func (l layout) redirects(from, to uint32) bool {
	at, known := l.sources[from]
	if !known {
		return false
	}
	if t := l.tables[at.table]; t != nil {
		switch {
		case t.redirect[to]:
			return true
		case t.pass[to]:
			return false
		}
	}
	return at.rest
}

// Tables are numbered from firstTable on, so that there can be one for each of an
// enclave's services.
const (
	firstTable = 3
	lastTable  = 0x7ff
)

// wanted gives the layout for a table of rules. A subnetwork's table has what is
// redirected, or where that is shorter what is not. It keeps the number that its
// members' table has now, if it can.
func (l layout) wanted(t *relay.Table, number func(netip.Addr) uint32) layout {
	members := map[string][]uint32{}
	for service, address := range t.Addresses {
		if label, member := t.Links.Members[service]; member {
			members[label] = append(members[label], number(address))
		}
	}
	labels := slices.Sorted(maps.Keys(members))
	out := newLayout()
	var later []string // those without a number to keep
	tables := map[string]*targets{}
	for _, from := range labels {
		table, rest := targetsFrom(t, from, labels, members)
		if table == nil {
			continue
		}
		tables[from] = table
		kept := uint32(0)
		for _, n := range members[from] {
			if now := l.sources[n].table; kept == 0 && now != 0 && out.tables[now] == nil {
				kept = now
				out.tables[now] = tables[from]
			}
		}
		for _, n := range members[from] {
			out.sources[n] = origin{table: kept, rest: rest, casts: true}
		}
		if kept == 0 {
			later = append(later, from)
		}
	}
	next := uint32(firstTable)
	for _, from := range later {
		for out.tables[next] != nil {
			next++
		}
		out.tables[next] = tables[from]
		for _, n := range members[from] {
			at := out.sources[n]
			at.table = next
			out.sources[n] = at
		}
	}
	return out
}

// targetsFrom gives what is redirected of a subnetwork's packets; nil for nothing. rest
// tells that the table has what is not.
func targetsFrom(t *relay.Table, from string, labels []string, members map[string][]uint32) (table *targets, rest bool) {
	var shaped, free int
	affected := make([]bool, len(labels))
	for i, to := range labels {
		if affected[i] = !t.Links.Connection(from, to).Free(); affected[i] {
			shaped += len(members[to])
		} else {
			free += len(members[to])
		}
	}
	if shaped == 0 {
		return nil, false
	}
	table, rest = newTargets(), free < shaped
	into := table.redirect
	if rest {
		into = table.pass
	}
	for i, to := range labels {
		if affected[i] != rest {
			for _, n := range members[to] {
				into[n] = true
			}
		}
	}
	return table, rest
}

// change is one step from a layout to another.
type change struct {
	do    verb
	table uint32 // for those about tables, and for link
	node  uint32
}

type verb int

const (
	makeTable verb = iota
	addRedirect
	endRedirect
	addPass
	endPass
	addRest
	endRest
	linkTable
	endLink
	addCasts
	endCasts
)

// changes gives the steps to another layout. The relay knows the new rules already,
// and lets pass what none is for; so first come the steps by which it gets more, then
// those by which it gets less: at no time is a packet that a rule is for, and that was
// redirected before, not redirected.
func (l layout) changes(want layout) []change {
	var more, less []change
	for _, id := range slices.Sorted(maps.Keys(want.tables)) {
		now, then := l.tables[id], want.tables[id]
		if now == nil {
			more = append(more, change{makeTable, id, 0})
			now = newTargets()
		}
		more = append(more, missing(addRedirect, id, then.redirect, now.redirect)...)
		more = append(more, missing(endPass, id, now.pass, then.pass)...)
		less = append(less, missing(addPass, id, then.pass, now.pass)...)
		less = append(less, missing(endRedirect, id, now.redirect, then.redirect)...)
	}
	var ended []change
	for _, n := range slices.Sorted(maps.Keys(want.sources)) {
		now, then := l.sources[n], want.sources[n]
		if then.rest && !now.rest {
			more = append(more, change{addRest, 0, n})
		}
		if then.table != now.table {
			more = append(more, change{linkTable, then.table, n})
		}
		if then.casts && !now.casts {
			more = append(more, change{addCasts, 0, n})
		}
		if now.rest && !then.rest {
			ended = append(ended, change{endRest, 0, n})
		}
	}
	for _, n := range slices.Sorted(maps.Keys(l.sources)) {
		if _, stays := want.sources[n]; !stays {
			ended = append(ended, change{endRest, 0, n}, change{endCasts, 0, n}, change{endLink, 0, n})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(l.tables)) { // kept, empty, for other subnetworks
		if want.tables[id] == nil {
			less = append(less, missing(endRedirect, id, l.tables[id].redirect, nil)...)
			less = append(less, missing(endPass, id, l.tables[id].pass, nil)...)
		}
	}
	return slices.Concat(more, ended, less)
}

// missing gives a change for each of some nodes that others do not have.
func missing(do verb, table uint32, of, in map[uint32]bool) []change {
	var out []change
	for n := range of {
		if !in[n] {
			out = append(out, change{do, table, n})
		}
	}
	return out
}

// take notes a change.
func (l layout) take(c change) {
	at, t := l.sources[c.node], l.tables[c.table]
	switch c.do {
	case makeTable:
		l.tables[c.table] = newTargets()
		return
	case addRedirect:
		t.redirect[c.node] = true
		return
	case endRedirect:
		delete(t.redirect, c.node)
		return
	case addPass:
		t.pass[c.node] = true
		return
	case endPass:
		delete(t.pass, c.node)
		return
	case addRest:
		at.rest = true
	case endRest:
		at.rest = false
	case linkTable:
		at.table = c.table
	case endLink:
		at.table = 0
	case addCasts:
		at.casts = true
	case endCasts:
		at.casts = false
	}
	if at == (origin{}) {
		delete(l.sources, c.node)
	} else {
		l.sources[c.node] = at
	}
}
