package network

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
)

// This file writes the two tables of an enclave: one inside, one on the host.

// Priorities of chains on hooks that other tools use too (nft(8)). Ours in the
// forward hook come before "filter" (0), where iptables sits; the order has no
// weight for drops, which are final wherever they stand.
var (
	prioEarly  = nftables.ChainPriorityRef(-10)
	prioSource = nftables.ChainPriorityNATSource
)

const (
	offsetSource = 12 // of the source address in an IPv4 header (RFC 791)
	offsetDest   = 16
)

// A match is the condition part of a rule.
type match []expr.Any

func verdict(kind expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: kind}} }

func masquerade() []expr.Any { return []expr.Any{&expr.Masq{}} }

func when(parts ...match) match {
	var m match
	for _, p := range parts {
		m = append(m, p...)
	}
	return m
}

// iface matches the name of the link a packet came by, or leaves by.
func iface(key expr.MetaKey, op expr.CmpOp, name string) match {
	exact := make([]byte, 16) // IFNAMSIZ
	copy(exact, name)
	return match{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: exact}}
}

func from(name string) match { return iface(expr.MetaKeyIIFNAME, expr.CmpOpEq, name) }
func to(name string) match   { return iface(expr.MetaKeyOIFNAME, expr.CmpOpEq, name) }

// toUplink matches packets that leave by an uplink of any enclave. Comparing
// fewer bytes than a name has matches a prefix.
func toUplink(op expr.CmpOp) match {
	return match{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: op, Register: 1, Data: []byte(uplinkPrefix)},
	}
}

func address(offset uint32, op expr.CmpOp, addr netip.Addr) match {
	return match{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Cmp{Op: op, Register: 1, Data: addr.AsSlice()},
	}
}

func destIn(p netip.Prefix) match {
	return match{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offsetDest, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: toIPNet(p).Mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Masked().Addr().AsSlice()},
	}
}

// state matches connection tracking states, any of the mask.
func state(mask uint32) match {
	return match{
		&expr.Ct{Register: 1, Key: expr.CtKeySTATE},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(mask), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

const known = expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED

// tableWriter builds a table from nothing in one transaction: it replaces what
// stood there before, or nothing happens.
type tableWriter struct {
	conn  *nftables.Conn
	table *nftables.Table
}

func rewriteTable(conn *nftables.Conn, name string) tableWriter {
	t := &nftables.Table{Name: name, Family: nftables.TableFamilyIPv4}
	conn.AddTable(t) // so that there is one to delete
	conn.DelTable(t)
	return tableWriter{conn, conn.AddTable(t)}
}

func (w tableWriter) chain(name string, kind nftables.ChainType, hook *nftables.ChainHook, prio *nftables.ChainPriority, policy nftables.ChainPolicy) *nftables.Chain {
	return w.conn.AddChain(&nftables.Chain{Name: name, Table: w.table, Type: kind, Hooknum: hook, Priority: prio, Policy: &policy})
}

func (w tableWriter) rule(c *nftables.Chain, m match, do []expr.Any) {
	w.conn.AddRule(&nftables.Rule{Table: w.table, Chain: c, Exprs: append(append([]expr.Any{}, m...), do...)})
}

// writeInside writes the table in the enclave's namespace, replacing what is
// there.
func (n *Network) writeInside(link uplink) error {
	err := withTables(n.space, func(c *nftables.Conn) error {
		writeInner(c, link)
		return c.Flush()
	})
	if err != nil {
		return fmt.Errorf("firewall of the enclave: %w", err)
	}
	return nil
}

// writeOutside writes the enclave's table on the host, replacing what is there.
func writeOutside(names names, link uplink) error {
	err := withTables(nil, func(c *nftables.Conn) error {
		writeOuter(c, names, link)
		return c.Flush()
	})
	if err != nil {
		return fmt.Errorf("firewall of the host: %w", err)
	}
	return nil
}

// writeInner: services go out under the uplink's address; from outside, only
// the host itself comes in.
func writeInner(c *nftables.Conn, link uplink) {
	w := rewriteTable(c, innerTable)
	forward := w.chain("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, prioEarly, nftables.ChainPolicyDrop)
	// What connection tracking can't place would leave with a private address.
	w.rule(forward, state(expr.CtStateBitINVALID), verdict(expr.VerdictDrop))
	w.rule(forward, state(known), verdict(expr.VerdictAccept))
	w.rule(forward, when(from(bridgeName), to(uplinkName)), verdict(expr.VerdictAccept))
	w.rule(forward, when(from(uplinkName), to(bridgeName), address(offsetSource, expr.CmpOpEq, link.Host)), verdict(expr.VerdictAccept))
	// Bridged frames pass here where bridge-nf-call-iptables is on.
	w.rule(forward, when(from(bridgeName), to(bridgeName)), verdict(expr.VerdictAccept))

	input := w.chain("input", nftables.ChainTypeFilter, nftables.ChainHookInput, prioEarly, nftables.ChainPolicyAccept)
	w.rule(input, state(known), verdict(expr.VerdictAccept))
	w.rule(input, when(from(uplinkName), address(offsetSource, expr.CmpOpNeq, link.Host)), verdict(expr.VerdictDrop))

	nat := w.chain("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, prioSource, nftables.ChainPolicyAccept)
	w.rule(nat, to(uplinkName), masquerade())
}

// writeOuter: enclaves are kept from each other, and go out as the host.
func writeOuter(c *nftables.Conn, names names, link uplink) {
	w := rewriteTable(c, names.table)
	forward := w.chain("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, prioEarly, nftables.ChainPolicyAccept)
	w.rule(forward, when(from(names.uplink), toUplink(expr.CmpOpEq)), verdict(expr.VerdictDrop))

	input := w.chain("input", nftables.ChainTypeFilter, nftables.ChainHookInput, prioEarly, nftables.ChainPolicyAccept)
	// The host's sides of other enclaves' uplinks.
	w.rule(input, when(from(names.uplink), destIn(uplinkPool), address(offsetDest, expr.CmpOpNeq, link.Host)), verdict(expr.VerdictDrop))
	// Loopback services, where route_localnet is on (kube-proxy needs it so).
	w.rule(input, when(from(names.uplink), destIn(netip.MustParsePrefix("127.0.0.0/8"))), verdict(expr.VerdictDrop))

	nat := w.chain("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, prioSource, nftables.ChainPolicyAccept)
	w.rule(nat, when(address(offsetSource, expr.CmpOpEq, link.Enclave), toUplink(expr.CmpOpNeq)), masquerade())
}
