package network

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/vishvananda/netlink"

	"github.com/lepto-dev/lepto/internal/backend/native/network/netspace"
)

// This file turns the host's IPv4 forwarding on while there are enclaves.
//
// Turning it on makes a router of the whole host, also between networks that
// have nothing to do with us. So where it was off, a table guards what was
// apart: links that did not forward before still do not forward among each
// other. Links that come later (docker0) are free.
//
// The same table is the record of what was before: it lies in the kernel,
// beside the settings it describes, and like them it ends with a reboot or the
// namespace. A file would outlive them and restore what is no longer true. It
// is shared by all enclaves of all homes on this host; the last to go restores.

// forwardingTable exists while it is we who turned forwarding on.
const forwardingTable = ownTables + "forwarding"

// Sets in the table: the links that were there before, by whether they did
// forward.
const (
	stillSet   = "still"
	routingSet = "routing"
)

// sideEffects are the settings that the kernel changes along with ip_forward
// (inet_forward_change in net/ipv4/devinet.c), besides each link's own.
var sideEffects = []string{"ipv4/conf/all/accept_redirects", "ipv4/conf/default/forwarding"}

// enableForwarding turns forwarding on, and records how it was where nobody
// has yet.
func (h *host) enableForwarding() error {
	on, err := readSysctl("ipv4/ip_forward")
	if err != nil || on == "1" {
		return err
	}
	recorded, err := tableExists(forwardingTable)
	if err != nil {
		return err
	}
	if !recorded {
		if err := h.recordForwarding(); err != nil {
			return fmt.Errorf("record the host's forwarding: %w", err)
		}
	}
	return sysctl("ipv4/ip_forward", "1")
}

func (h *host) recordForwarding() error {
	links, err := netspace.Whole(h.handle.LinkList)
	if err != nil {
		return err
	}
	var still, routing []nftables.SetElement
	for _, l := range links {
		name := l.Attrs().Name
		if isUplink(name) || l.Attrs().Flags&flagLoopback != 0 {
			continue
		}
		element := nftables.SetElement{Key: linkKey(name)}
		if value, _ := readSysctl("ipv4/conf/" + name + "/forwarding"); value == "1" {
			routing = append(routing, element)
		} else {
			still = append(still, element)
		}
	}
	settings, err := readSideEffects()
	if err != nil {
		return err
	}
	return withTables(nil, func(c *nftables.Conn) error {
		if err := writeForwarding(c, still, routing, settings); err != nil {
			return err
		}
		return c.Flush()
	})
}

// readSideEffects gives the settings as text: one value after another.
func readSideEffects() (string, error) {
	values := make([]string, len(sideEffects))
	for i, name := range sideEffects {
		var err error
		if values[i], err = readSysctl(name); err != nil {
			return "", err
		}
	}
	return strings.Join(values, " "), nil
}

func writeForwarding(c *nftables.Conn, still, routing []nftables.SetElement, settings string) error {
	w := rewriteTable(c, forwardingTable)
	apart := &nftables.Set{Table: w.table, Name: stillSet, KeyType: nftables.TypeIFName}
	if err := c.AddSet(apart, still); err != nil {
		return err
	}
	if err := c.AddSet(&nftables.Set{Table: w.table, Name: routingSet, KeyType: nftables.TypeIFName}, routing); err != nil {
		return err
	}
	forward := w.chain("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, prioEarly, nftables.ChainPolicyAccept)
	c.AddRule(&nftables.Rule{
		Table: w.table,
		Chain: forward,
		Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
			&expr.Lookup{SourceRegister: 1, SetName: apart.Name, SetID: apart.ID},
			&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
			&expr.Lookup{SourceRegister: 1, SetName: apart.Name, SetID: apart.ID},
			&expr.Verdict{Kind: expr.VerdictDrop},
		},
		UserData: userdata.AppendString(nil, userdata.TypeComment, settings),
	})
	return nil
}

func linkKey(name string) []byte {
	key := make([]byte, 16) // IFNAMSIZ
	copy(key, name)
	return key
}

// restoreForwarding undoes enableForwarding once no uplink is left. It leaves
// forwarding on where a link has come that is not ours: another program
// (Docker, a VPN) found it on and may rely on it.
func (h *host) restoreForwarding() error {
	recorded, err := tableExists(forwardingTable)
	if err != nil || !recorded {
		return err
	}
	links, err := netspace.Whole(h.handle.LinkList)
	if err != nil {
		return err
	}
	for _, l := range links {
		if isUplink(l.Attrs().Name) {
			return nil
		}
	}
	return withTables(nil, func(c *nftables.Conn) error {
		before, err := readForwarding(c)
		if err != nil {
			return err
		}
		if !before.strangers(links) {
			if err := before.restore(); err != nil {
				return err
			}
		}
		c.DelTable(&nftables.Table{Name: forwardingTable, Family: nftables.TableFamilyIPv4})
		return c.Flush()
	})
}

// forwarding is what the record says.
type forwarding struct {
	still, routing map[string]bool
	settings       []string // in the order of sideEffects
}

func readForwarding(c *nftables.Conn) (f forwarding, err error) {
	t := &nftables.Table{Name: forwardingTable, Family: nftables.TableFamilyIPv4}
	if f.still, err = linkSet(c, t, stillSet); err != nil {
		return f, err
	}
	if f.routing, err = linkSet(c, t, routingSet); err != nil {
		return f, err
	}
	rules, err := c.GetRules(t, &nftables.Chain{Name: "forward", Table: t})
	for _, r := range rules {
		if text, ok := userdata.GetString(r.UserData, userdata.TypeComment); ok {
			f.settings = strings.Fields(text)
		}
	}
	return f, err
}

func linkSet(c *nftables.Conn, t *nftables.Table, name string) (map[string]bool, error) {
	elements, err := c.GetSetElements(&nftables.Set{Table: t, Name: name, KeyType: nftables.TypeIFName})
	if err != nil {
		return nil, fmt.Errorf("set %s: %w", name, err)
	}
	names := map[string]bool{}
	for _, e := range elements {
		names[strings.TrimRight(string(e.Key), "\x00")] = true
	}
	return names, nil
}

func (f forwarding) strangers(links []netlink.Link) bool {
	for _, l := range links {
		name := l.Attrs().Name
		if l.Attrs().Flags&flagLoopback == 0 && !f.still[name] && !f.routing[name] {
			return true
		}
	}
	return false
}

// restore sets ip_forward back, then what the kernel changes along with it.
func (f forwarding) restore() error {
	if err := sysctl("ipv4/ip_forward", "0"); err != nil {
		return err
	}
	for i, value := range f.settings {
		if i < len(sideEffects) {
			if err := sysctl(sideEffects[i], value); err != nil {
				return err
			}
		}
	}
	for name := range f.routing {
		// A link that has gone meanwhile has nothing to restore.
		if err := sysctl("ipv4/conf/"+name+"/forwarding", "1"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
