package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// This file makes room for neighbours while there are enclaves of many services.
//
// The kernel remembers link addresses (arp(7)) in one table for all network
// namespaces, by default of 1024 entries: with some thirty services that all talk to
// one another it is full, and packets, those to the gateway's DNS too, are lost. The
// limits can be changed in the host's own namespace alone; entries take memory when
// they are there, some 400 bytes each. What the limits were is recorded as in
// forwarding.go, beside the uplinks of the enclaves that need the room; the last of
// them to go restores the limits.

// crowd is up to how many services make do with what the kernel has.
const crowd = 24

// neighboursTable exists while it is we who made room.
const neighboursTable = ownTables + "neighbours"

// neighbourLimits are the settings: from the first on entries are forgotten sooner, the
// second is never exceeded. An enclave of as many services as fit may fill it.
var neighbourLimits = []struct {
	name string
	room int
}{{"ipv4/neigh/default/gc_thresh2", 1 << 19}, {"ipv4/neigh/default/gc_thresh3", 1 << 20}}

// makeRoomForMany makes room with the endpoint that makes the enclave a large one.
func (n *Network) makeRoomForMany(ctx context.Context) error {
	n.room.Lock()
	defer n.room.Unlock()
	if n.roomMade {
		return nil
	}
	entries, err := os.ReadDir(n.names.endpoints)
	if err != nil || len(entries) <= crowd {
		return err
	}
	h, err := lockHost(ctx)
	if err != nil {
		return err
	}
	defer h.unlock()
	if err := makeRoom(n.names.uplink); err != nil {
		return fmt.Errorf("room for neighbours: %w", err)
	}
	n.roomMade = true
	return nil
}

// makeRoom raises the limits for the enclave of an uplink, and records how they were
// where nobody has yet. Where that is not allowed, they stay. The host is locked.
func makeRoom(uplink string) error {
	before, err := readLimits()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // not the host's own namespace
	}
	if err != nil {
		return err
	}
	recorded, err := tableExists(neighboursTable)
	if err != nil || !recorded && roomy(before) {
		return err
	}
	if err := recordRoom(recorded, strings.Join(before, " "), uplink); err != nil {
		return err
	}
	for i, limit := range neighbourLimits {
		if value, _ := strconv.Atoi(before[i]); value >= limit.room {
			continue
		}
		err := sysctl(limit.name, strconv.Itoa(limit.room))
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func readLimits() ([]string, error) {
	var out []string
	for _, limit := range neighbourLimits {
		text, err := readSysctl(limit.name)
		if err != nil {
			return nil, err
		}
		out = append(out, text)
	}
	return out, nil
}

// roomy reports whether limits are as high as ours.
func roomy(limits []string) bool {
	for i, text := range limits {
		if value, _ := strconv.Atoi(text); value < neighbourLimits[i].room {
			return false
		}
	}
	return true
}

func tableExists(name string) (found bool, err error) {
	err = withTables(nil, func(c *nftables.Conn) error {
		tables, err := c.ListTablesOfFamily(nftables.TableFamilyIPv4)
		for _, t := range tables {
			found = found || t.Name == name
		}
		return err
	})
	return found, err
}

// usersSet has the uplinks of the enclaves that need the room; the rule of limitsChain,
// to which nothing leads, bears the limits.
const (
	usersSet    = "users"
	limitsChain = "limits"
)

// recordRoom notes an enclave, and the limits where that is not done.
func recordRoom(recorded bool, limits, uplink string) error {
	user := []nftables.SetElement{{Key: linkKey(uplink)}}
	return withTables(nil, func(c *nftables.Conn) error {
		users := &nftables.Set{
			Table: &nftables.Table{Name: neighboursTable, Family: nftables.TableFamilyIPv4}, Name: usersSet, KeyType: nftables.TypeIFName,
		}
		if recorded {
			if err := c.SetAddElements(users, user); err != nil {
				return err
			}
			return c.Flush()
		}
		w := rewriteTable(c, neighboursTable)
		users.Table = w.table
		if err := c.AddSet(users, user); err != nil {
			return err
		}
		c.AddRule(&nftables.Rule{
			Table: w.table, Chain: c.AddChain(&nftables.Chain{Name: limitsChain, Table: w.table}),
			Exprs:    []expr.Any{&expr.Verdict{Kind: expr.VerdictReturn}},
			UserData: userdata.AppendString(nil, userdata.TypeComment, limits),
		})
		return c.Flush()
	})
}

// leaveRoom undoes makeRoom once no enclave needs the room any more. Limits that
// somebody else has changed since stay.
func (h *host) leaveRoom(uplink string) error {
	recorded, err := tableExists(neighboursTable)
	if err != nil || !recorded {
		return err
	}
	return withTables(nil, func(c *nftables.Conn) error {
		t := &nftables.Table{Name: neighboursTable, Family: nftables.TableFamilyIPv4}
		users, err := linkSet(c, t, usersSet)
		if err != nil {
			return err
		}
		for name := range users {
			if _, err := h.handle.LinkByName(name); err == nil && name != uplink {
				return leaveUsers(c, t, users, uplink)
			}
		}
		rules, err := c.GetRules(t, &nftables.Chain{Name: limitsChain, Table: t})
		if err != nil {
			return err
		}
		for _, r := range rules {
			text, _ := userdata.GetString(r.UserData, userdata.TypeComment)
			if err := restoreLimits(strings.Fields(text)); err != nil {
				return err
			}
		}
		c.DelTable(t)
		return c.Flush()
	})
}

// leaveUsers takes an enclave from those that need the room.
func leaveUsers(c *nftables.Conn, t *nftables.Table, users map[string]bool, uplink string) error {
	if !users[uplink] {
		return nil
	}
	set := &nftables.Set{Table: t, Name: usersSet, KeyType: nftables.TypeIFName}
	if err := c.SetDeleteElements(set, []nftables.SetElement{{Key: linkKey(uplink)}}); err != nil {
		return err
	}
	return c.Flush()
}

func restoreLimits(before []string) error {
	for i, value := range before {
		if i >= len(neighbourLimits) {
			break
		}
		limit := neighbourLimits[i]
		if now, err := readSysctl(limit.name); err != nil || now != strconv.Itoa(limit.room) {
			continue
		}
		if err := sysctl(limit.name, value); err != nil {
			return err
		}
	}
	return nil
}
