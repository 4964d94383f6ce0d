package network

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file names everything a network makes. Names on the host derive from
// the enclave's id alone.

const (
	bridgeName  = Bridge   // in the enclave's namespace
	uplinkName  = "uplink" // in the enclave's namespace
	innerTable  = "lepto"  // nft table in the enclave's namespace
	ethName     = "eth0"   // in a service's namespace
	routeFamily = unix.NETLINK_ROUTE

	// uplinkPrefix begins the names of all uplinks on the host, of every
	// enclave and every home; rules match it to keep enclaves apart.
	uplinkPrefix = "lp"
)

// Bridge is the bridge's name in the enclave's namespace.
const Bridge = "br0"

// names are the names of one network.
type names struct {
	uplink string // host side of the uplink, at most 15 bytes (IFNAMSIZ)
	table  string // nft table on the host, and the mark on rules in foreign chains
	alias  string // alias of the host side of the uplink, for a human who wonders

	netns     string // the enclave's namespace is bound here
	netDir    string // the gateway process's folder
	link      string // file: what was chosen for the uplink
	endpoints string // folder: services' namespaces are bound here
}

func namesOf(cfg Config) names {
	id := string(cfg.ID)
	net := filepath.Join(cfg.Dir, "net")
	return names{
		uplink:    uplinkPrefix + id[:10],
		table:     "lepto_" + id[:12],
		alias:     "lepto enclave " + id,
		netns:     filepath.Join(cfg.Dir, "netns"),
		netDir:    net,
		link:      filepath.Join(net, "link.json"),
		endpoints: filepath.Join(net, "ns"),
	}
}

func checkID(id backend.EnclaveID) error {
	if len(id) != 32 || strings.Trim(string(id), "0123456789abcdef") != "" {
		return fmt.Errorf("enclave id %q: %w", id, fault.ErrInvalid)
	}
	return nil
}

// isUplink reports whether a link name is that of an enclave's uplink.
func isUplink(name string) bool {
	digits, ok := strings.CutPrefix(name, uplinkPrefix)
	return ok && len(digits) == 10 && strings.Trim(digits, "0123456789abcdef") == ""
}

// endpoint is where a service's namespace is bound.
func (n names) endpoint(service string) (string, error) {
	if service == "" || len(service) > 255 || service[0] == '.' || strings.ContainsAny(service, "/\x00") {
		return "", fmt.Errorf("service name %q: %w", service, fault.ErrInvalid)
	}
	return filepath.Join(n.endpoints, service), nil
}

// EndpointLink names the bridge port of a service in the enclave's namespace.
func EndpointLink(service string) string {
	sum := sha256.Sum256([]byte(service))
	return "s" + hex.EncodeToString(sum[:7])
}

// HardwareAddr derives a link address from an IPv4 address, so that a service
// that is replaced under its address is no stranger to its neighbours' ARP
// caches. 02: locally administered, unicast (IEEE 802).
func HardwareAddr(a netip.Addr) net.HardwareAddr {
	b := a.As4()
	return net.HardwareAddr{0x02, 0x6c, b[0], b[1], b[2], b[3]}
}
