package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend/native/network/netspace"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file makes the enclave's namespace liveable and joins it to the host.

// uplink is what was chosen for the pair between host and enclave. It is
// written to the enclave's folder before anything is made of it.
type uplink struct {
	Host    netip.Addr `json:"host"`    // on the host's side
	Enclave netip.Addr `json:"enclave"` // on the enclave's side
	MTU     int        `json:"mtu"`     // bytes, of all links of the enclave
}

func (u uplink) net() netip.Prefix { return netip.PrefixFrom(u.Host, 30).Masked() }

// Uplinks take /30s out of this part of the link-local range (RFC 3927). It is
// clear of the addresses that clouds and clusters use by convention
// (169.254.169.254, 169.254.170.2, 169.254.1.1, 169.254.20.10). 4096 enclaves.
var uplinkPool = netip.MustParsePrefix("169.254.64.0/18")

const (
	defaultMTU = 1500
	minMTU     = 1280 // RFC 8200's; below it, the route is not what we think it is
)

// furnish prepares the enclave's fresh namespace; the calling thread is in it.
func (n *Network) furnish() error {
	for name, value := range map[string]string{
		"ipv4/ip_forward": "1",
		// Links made from now on; lo is there already and keeps ::1.
		"ipv6/conf/default/disable_ipv6": "1",
		// Frames between services are none of iptables' business.
		"bridge/bridge-nf-call-iptables":  "0",
		"bridge/bridge-nf-call-ip6tables": "0",
		"bridge/bridge-nf-call-arptables": "0",
	} {
		if err := sysctl(name, value); err != nil {
			return err
		}
	}
	handle, err := netlink.NewHandle(routeFamily)
	if err != nil {
		return err
	}
	defer handle.Close()
	if err := setUp(handle, "lo"); err != nil {
		return err
	}
	return n.addBridge(handle)
}

func (n *Network) addBridge(handle *netlink.Handle) error {
	gateway := n.cfg.gateway()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = bridgeName, n.mtu
	// A bridge without an address of its own takes the lowest of its ports' and
	// changes it as they come and go, which breaks its neighbours' ARP entries.
	attrs.HardwareAddr = HardwareAddr(gateway)
	flood := false // multicast goes to all ports: nobody here answers queries
	bridge := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &flood}
	if err := handle.LinkAdd(bridge); err != nil {
		return fmt.Errorf("add bridge: %w", err)
	}
	addr := &netlink.Addr{IPNet: toIPNet(netip.PrefixFrom(gateway, n.cfg.Subnet.Bits()))}
	if err := handle.AddrAdd(bridge, addr); err != nil {
		return fmt.Errorf("give the bridge its address: %w", err)
	}
	return handle.LinkSetUp(bridge)
}

func setUp(handle *netlink.Handle, name string) error {
	link, err := handle.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	return handle.LinkSetUp(link)
}

// planUplink reads what was chosen for the uplink, or chooses and records it.
// fault.ErrExists if the host routes the enclave's subnet elsewhere.
func (n *Network) planUplink(h *host) (uplink, error) {
	routes, err := hostRoutes(h.handle)
	if err != nil {
		return uplink{}, err
	}
	own := 0
	if link, err := h.handle.LinkByName(n.names.uplink); err == nil {
		own = link.Attrs().Index
	}
	var used []netip.Prefix
	for _, r := range routes {
		if r.wide() || (own != 0 && r.link == own) {
			continue
		}
		used = append(used, r.dst)
	}
	if clash := overlapping(n.cfg.Subnet, used); clash.IsValid() {
		return uplink{}, fmt.Errorf("subnet %s overlaps the host's route to %s: %w", n.cfg.Subnet, clash, fault.ErrExists)
	}
	link, err := n.recordedUplink()
	if err == nil && !overlapping(link.net(), used).IsValid() {
		return link, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return uplink{}, err
	}
	return n.chooseUplink(used, routeMTU(h.handle, routes))
}

func (n *Network) recordedUplink() (uplink, error) {
	data, err := os.ReadFile(n.names.link)
	if err != nil {
		return uplink{}, err
	}
	var link uplink
	if err := json.Unmarshal(data, &link); err != nil || !link.Host.Is4() || !link.Enclave.Is4() {
		return uplink{}, fmt.Errorf("%s is damaged: %w", n.names.link, fs.ErrNotExist)
	}
	return link, nil
}

// chooseUplink takes the first free /30, starting at one that the id chooses:
// ARP caches and logs of neighbours then see few addresses used again soon.
func (n *Network) chooseUplink(used []netip.Prefix, mtu int) (uplink, error) {
	hash := fnv.New32a()
	hash.Write([]byte(n.cfg.ID))
	count := uint32(1) << (30 - uplinkPool.Bits())
	base := uplinkPool.Addr().As4()
	for i := range count {
		offset := (hash.Sum32() + i) % count * 4
		addr := netip.AddrFrom4([4]byte{base[0], base[1], base[2] + byte(offset>>8), byte(offset)})
		if overlapping(netip.PrefixFrom(addr, 30), used).IsValid() {
			continue
		}
		link := uplink{Host: addr.Next(), Enclave: addr.Next().Next(), MTU: mtu}
		return link, writeUplink(n.names.link, link)
	}
	return uplink{}, fault.New("E0423", "no free address for the enclave's uplink in %s", uplinkPool)
}

func writeUplink(path string, link uplink) error {
	data, err := json.Marshal(link)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".tmp", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

// routeMTU is the MTU towards the outside. Services take it for their own
// links, since path MTU discovery fails where ICMP is filtered.
func routeMTU(handle *netlink.Handle, routes []hostRoute) int {
	for _, r := range routes {
		if r.dst.Bits() != 0 || r.link == 0 {
			continue
		}
		link, err := handle.LinkByIndex(r.link)
		if err == nil && link.Attrs().MTU >= minMTU {
			return min(link.Attrs().MTU, defaultMTU)
		}
	}
	return defaultMTU
}

// ensureUplink makes the uplink, anew unless both ends are there and whole.
func (n *Network) ensureUplink(h *host, link uplink) error {
	outer, err := h.handle.LinkByName(n.names.uplink)
	if err == nil && n.uplinkWhole(h, outer, link) {
		return nil
	}
	if err == nil {
		if err := h.handle.LinkDel(outer); err != nil {
			return fmt.Errorf("remove broken uplink: %w", err)
		}
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = n.names.uplink, link.MTU
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: uplinkName, PeerNamespace: netlink.NsFd(n.space.FD())}
	if err := h.handle.LinkAdd(veth); err != nil {
		return fmt.Errorf("add uplink: %w", err)
	}
	if err := n.connectInner(link); err != nil {
		return fmt.Errorf("enclave's side of the uplink: %w", err)
	}
	if err := n.connectOuter(h, veth, link); err != nil {
		return fmt.Errorf("host's side of the uplink: %w", err)
	}
	return nil
}

// uplinkWhole looks for what is done last on both sides: the routes.
func (n *Network) uplinkWhole(h *host, outer netlink.Link, link uplink) bool {
	inner, err := n.inside.LinkByName(uplinkName)
	if err != nil || outer.Attrs().ParentIndex != inner.Attrs().Index {
		return false
	}
	out, err := netspace.Whole(func() ([]netlink.Route, error) { return h.handle.RouteList(outer, netlink.FAMILY_V4) })
	if err != nil || !hasRoute(out, n.cfg.Subnet.Masked(), link.Enclave) {
		return false
	}
	in, err := netspace.Whole(func() ([]netlink.Route, error) { return n.inside.RouteList(inner, netlink.FAMILY_V4) })
	return err == nil && hasRoute(in, netip.PrefixFrom(netip.IPv4Unspecified(), 0), link.Host)
}

func hasRoute(routes []netlink.Route, dst netip.Prefix, gw netip.Addr) bool {
	for _, r := range routes {
		isDefault := r.Dst == nil && dst.Bits() == 0
		if r.Gw.Equal(net.IP(gw.AsSlice())) && (isDefault || r.Dst != nil && toPrefix(r.Dst) == dst) {
			return true
		}
	}
	return false
}

func (n *Network) connectInner(link uplink) error {
	inner, err := n.inside.LinkByName(uplinkName)
	if err != nil {
		return err
	}
	addr := &netlink.Addr{IPNet: toIPNet(netip.PrefixFrom(link.Enclave, 30))}
	if err := n.inside.AddrAdd(inner, addr); err != nil {
		return err
	}
	if err := n.inside.LinkSetUp(inner); err != nil {
		return err
	}
	return n.inside.RouteAdd(&netlink.Route{LinkIndex: inner.Attrs().Index, Gw: link.Host.AsSlice()})
}

func (n *Network) connectOuter(h *host, outer netlink.Link, link uplink) error {
	if err := sysctl("ipv6/conf/"+n.names.uplink+"/disable_ipv6", "1"); err != nil {
		return err
	}
	// Scope link: the host never takes it as its source towards anyone else.
	addr := &netlink.Addr{IPNet: toIPNet(netip.PrefixFrom(link.Host, 30)), Scope: unix.RT_SCOPE_LINK}
	if err := h.handle.LinkSetAlias(outer, n.names.alias); err != nil {
		return err
	}
	if err := h.handle.AddrAdd(outer, addr); err != nil {
		return err
	}
	if err := h.handle.LinkSetUp(outer); err != nil {
		return err
	}
	return h.handle.RouteAdd(&netlink.Route{
		LinkIndex: outer.Attrs().Index,
		Dst:       toIPNet(n.cfg.Subnet.Masked()),
		Gw:        link.Enclave.AsSlice(),
		Src:       link.Host.AsSlice(),
	})
}
