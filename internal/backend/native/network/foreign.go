package network

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// This file gets enclaves' traffic past firewalls of others on the host.
//
// A packet must pass every base chain on the forward hook. Docker sets the
// policy of iptables' FORWARD chain to drop; so do many administrators. Into
// each such chain that nftables knows, which includes all that iptables-nft
// makes, two rules go to the head: what comes from our uplink and what goes to
// it is accepted. Who may talk to whom is decided by our own tables, which see
// the packet too.
//
// The rules are made of what iptables-nft itself writes (-i, -o, -j ACCEPT), so
// that iptables still reads its table, and carry a comment by which they are
// found again. A chain that lets nothing else pass by its last rule, such as
// firewalld's, is treated like one with such a policy. The legacy iptables is
// another part of the kernel (legacy.go).

// passForeignChains makes the rules where they are missing.
func (h *host) passForeignChains(names names) error {
	err := editForeignChains(func(c *nftables.Conn, chain *nftables.Chain) error {
		all, err := c.GetRules(chain.Table, chain)
		if err != nil || !closed(chain, all) {
			return err
		}
		rules := tagged(all, names.table)
		if len(rules) == 2 {
			return nil
		}
		for _, r := range rules {
			if err := c.DelRule(r); err != nil {
				return err
			}
		}
		for _, m := range []match{to(names.uplink), from(names.uplink)} {
			c.InsertRule(&nftables.Rule{
				Table:    chain.Table,
				Chain:    chain,
				Exprs:    append(append([]expr.Any{}, m...), &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictAccept}),
				UserData: userdata.AppendString(nil, userdata.TypeComment, names.table),
			})
		}
		return nil
	})
	if err = errors.Join(err, passLegacy(names)); err != nil {
		return fmt.Errorf("open the host's firewall for the enclave: %w", err)
	}
	return nil
}

// closed reports whether a chain drops what none of its rules accepts.
func closed(chain *nftables.Chain, rules []*nftables.Rule) bool {
	if chain.Policy != nil && *chain.Policy == nftables.ChainPolicyDrop {
		return true
	}
	if len(rules) == 0 {
		return false
	}
	for _, e := range rules[len(rules)-1].Exprs {
		switch e := e.(type) {
		case *expr.Counter, *expr.Log, *expr.Limit: // they say nothing about the packet
		case *expr.Verdict:
			return e.Kind == expr.VerdictDrop
		case *expr.Target: // of iptables-nft
			return e.Name == "REJECT" || e.Name == "DROP"
		default:
			_, rejects := e.(*expr.Reject)
			return rejects
		}
	}
	return false
}

// leaveForeignChains removes exactly the rules that passForeignChains made.
func leaveForeignChains(names names) error {
	err := editForeignChains(func(c *nftables.Conn, chain *nftables.Chain) error {
		rules, err := taggedRules(c, chain, names.table)
		for _, r := range rules {
			err = errors.Join(err, c.DelRule(r))
		}
		return err
	})
	if err = errors.Join(err, leaveLegacy(names)); err != nil {
		return fmt.Errorf("remove the enclave's rules from the host's firewall: %w", err)
	}
	return nil
}

// editForeignChains calls edit for every base chain on the host's forward hook
// and commits what it did. It starts anew when a chain has vanished meanwhile:
// firewalls reload without asking.
func editForeignChains(edit func(*nftables.Conn, *nftables.Chain) error) error {
	const tries = 5
	var err error
	for range tries {
		err = withTables(nil, func(c *nftables.Conn) error {
			chains, err := c.ListChains()
			if err != nil {
				return err
			}
			for _, chain := range chains {
				if !onForward(chain) || isOurs(chain.Table) {
					continue
				}
				if err := edit(c, chain); err != nil {
					return err
				}
			}
			return c.Flush()
		})
		if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
	return err
}

func onForward(c *nftables.Chain) bool {
	family := c.Table.Family
	return c.Hooknum != nil && *c.Hooknum == *nftables.ChainHookForward && c.Type == nftables.ChainTypeFilter &&
		(family == nftables.TableFamilyIPv4 || family == nftables.TableFamilyINet)
}

// isOurs reports whether a table is of any enclave, or one that records how the host was.
func isOurs(t *nftables.Table) bool {
	return len(t.Name) > len(ownTables) && t.Name[:len(ownTables)] == ownTables
}

// ownTables begins the names of all our tables on the host.
const ownTables = "lepto_"

func taggedRules(c *nftables.Conn, chain *nftables.Chain, tag string) ([]*nftables.Rule, error) {
	rules, err := c.GetRules(chain.Table, chain)
	return tagged(rules, tag), err
}

func tagged(rules []*nftables.Rule, tag string) []*nftables.Rule {
	var out []*nftables.Rule
	for _, r := range rules {
		if comment, ok := userdata.GetString(r.UserData, userdata.TypeComment); ok && comment == tag {
			out = append(out, r)
		}
	}
	return out
}
