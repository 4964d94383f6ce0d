package gateway

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/companion"
)

// This file defines the table: all that the gateway process is told.

// Names of the files in the gateway process's folder.
const (
	tableFile = "table.json" // written by the engine: the whole truth
	portsFile = "ports.json" // written by the gateway process: ports it chose
)

// kind is what the gateway process has in common with other companions.
var kind = companion.Kind{Verb: "net", Name: "gateway process", Table: tableFile, Socket: "net.sock", Log: "gateway.log"}

// Table is what the gateway process serves: the whole of it, not a change.
type Table struct {
	// Hosts are the names that DNS answers, each also as NAME.enclave. Upper
	// and lower case are the same.
	Hosts map[string]netip.Addr `json:"hosts"`
	// Publish are the ports to open on the host.
	Publish []Rule `json:"publish,omitempty"`
}

// A Rule publishes one port of a service on the host. (Service, ID) is its
// identity, unique in a table.
type Rule struct {
	Service string            `json:"service"`
	ID      string            `json:"id"`
	Proto   backend.Transport `json:"proto"`
	// Host is where to listen on the host; no address means 127.0.0.1, port 0
	// means any free one, which stays the same while the rule is in the table,
	// also over restarts of the process.
	Host   netip.AddrPort `json:"host"`
	Target netip.AddrPort `json:"target"` // in the enclave's network
}

// Published is a rule's port as the host reaches it.
type Published struct {
	Service string `json:"service"`
	backend.Published
}

// Setting is where a gateway process works: constant for an enclave.
type Setting struct {
	NetNS   string       `json:"netns"`   // path of the enclave's network namespace
	Gateway netip.Addr   `json:"gateway"` // DNS listens here, port 53
	Subnet  netip.Prefix `json:"subnet"`  // reverse names in it are ours alone to answer
}

// tableDoc is the content of table.json.
type tableDoc struct {
	Setting Setting `json:"setting"`
	Table   Table   `json:"table"`
}

// ruleKey identifies a rule.
type ruleKey struct{ service, id string }

func (r Rule) key() ruleKey { return ruleKey{r.Service, r.ID} }

// listen gives the address to listen on, with the default address filled in.
func (r Rule) listen() netip.AddrPort {
	if !r.Host.Addr().IsValid() {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), r.Host.Port())
	}
	return r.Host
}

// Validate reports what no gateway process could serve.
func (t Table) Validate() error {
	seen := map[ruleKey]bool{}
	for _, r := range t.Publish {
		if seen[r.key()] {
			return fmt.Errorf("port %q of service %q is published twice", r.ID, r.Service)
		}
		seen[r.key()] = true
		if r.Proto != backend.TCP && r.Proto != backend.UDP {
			return fmt.Errorf("port %q of service %q: publishing %s", r.ID, r.Service, r.Proto)
		}
		if !r.Target.IsValid() || r.Target.Port() == 0 {
			return fmt.Errorf("port %q of service %q has no target", r.ID, r.Service)
		}
	}
	for name, addr := range t.Hosts {
		if name == "" || !addr.Is4() {
			return fmt.Errorf("host %q: address %s is not an IPv4 address", name, addr)
		}
	}
	return nil
}

// hostIndex is Hosts prepared for look-up, in both directions.
type hostIndex struct {
	byName map[string]netip.Addr // keys in lower case
	byAddr map[netip.Addr]string // one name per address, the first in order
}

func newHostIndex(hosts map[string]netip.Addr) *hostIndex {
	x := &hostIndex{make(map[string]netip.Addr, len(hosts)), make(map[netip.Addr]string, len(hosts))}
	for name, addr := range hosts {
		name = strings.ToLower(name)
		x.byName[name] = addr
		if old, ok := x.byAddr[addr]; !ok || name < old {
			x.byAddr[addr] = name
		}
	}
	return x
}

// WriteTable puts the table in place, atomically, for the gateway process of
// the folder dir. Reload makes it take effect.
func WriteTable(dir string, s Setting, t Table) error {
	return companion.WriteJSON(filepath.Join(dir, tableFile), tableDoc{s, t})
}

// ReadTable gives the table in place; fs.ErrNotExist if there is none.
func ReadTable(dir string) (Setting, Table, error) {
	var doc tableDoc
	err := companion.ReadJSON(filepath.Join(dir, tableFile), &doc)
	return doc.Setting, doc.Table, err
}
