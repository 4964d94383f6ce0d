package shape

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// This file writes filters (tc-u32(8)). Those that are about an address lie in hash
// tables, by its last byte: a packet meets a handful of them, however many there
// are.

const (
	// filterPriority is that of all our filters; nobody else has any.
	filterPriority = 1
	// rootTable is where the look-up begins, in the kernel's numbering.
	rootTable = 0x800
	buckets   = 256

	// Where things are in an IPv4 header.
	protocolAt  = 8
	source      = 12
	destination = 16

	anyBucket = 0xff
	wholeWord = 0xffffffff
)

// place is where filters are looked up: at a parent of a device, or in a block,
// which several devices share.
type place struct {
	index  int
	parent uint32
}

// filterHandle names a filter: its table, the bucket there, and a number of 12 bits.
func filterHandle(table, bucket, number uint32) uint32 { return table<<20 | bucket<<12 | number }

func (p place) attrs(handle uint32) netlink.FilterAttrs {
	return netlink.FilterAttrs{LinkIndex: p.index, Parent: p.parent, Priority: filterPriority, Protocol: unix.ETH_P_IP, Handle: handle}
}

// filter is one filter: what it matches, and what becomes of it. Without a link,
// a class or an action, matching packets pass, and are looked up no further.
type filter struct {
	table, bucket, number uint32
	match                 []netlink.TcU32Key
	// link is a table to go on in, by the last byte of the address at a place in the
	// header; what it does not know comes back.
	link, by uint32
	class    uint32
	actions  []netlink.Action
}

func (f filter) handle() uint32 { return filterHandle(f.table, f.bucket, f.number) }

// matching selects packets by an address in their header.
func matching(offset int32, a netip.Addr) netlink.TcU32Key {
	return netlink.TcU32Key{Mask: wholeWord, Val: word(a), Off: offset}
}

// within selects packets by a range of addresses.
func within(offset int32, p netip.Prefix) netlink.TcU32Key {
	return netlink.TcU32Key{Mask: wholeWord << (32 - p.Bits()), Val: word(p.Masked().Addr()), Off: offset}
}

func word(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

// addTable makes a hash table; it may be there.
func (k *kernel) addTable(at place, table uint32) error {
	err := k.handle.FilterAdd(&netlink.U32{FilterAttrs: at.attrs(table << 20), Divisor: buckets})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("table %d of filters: %w", table, err)
	}
	return nil
}

// addFilter adds a filter; it may be there.
func (k *kernel) addFilter(at place, f filter) error {
	if err := k.handle.FilterAdd(f.u32(at)); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("filter %#x: %w", f.handle(), err)
	}
	return nil
}

// putFilter adds a filter, or has one that is there link to another table, with
// nothing between.
func (k *kernel) putFilter(at place, f filter) error {
	if err := k.handle.FilterReplace(f.u32(at)); err != nil {
		return fmt.Errorf("filter %#x: %w", f.handle(), err)
	}
	return nil
}

// endFilter takes a filter away, if it is there.
func (k *kernel) endFilter(at place, handle uint32) error {
	if err := k.handle.FilterDel(&netlink.U32{FilterAttrs: at.attrs(handle)}); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("end filter %#x: %w", handle, err)
	}
	return nil
}

func (f filter) u32(at place) *netlink.U32 {
	u := &netlink.U32{
		FilterAttrs: at.attrs(f.handle()), Hash: filterHandle(f.table, f.bucket, 0), ClassId: f.class, Actions: f.actions,
		Sel: &netlink.TcU32Sel{Keys: f.match, Nkeys: uint8(len(f.match))},
	}
	if f.link != 0 {
		u.Link = f.link << 20
		u.Sel.Hmask, u.Sel.Hoff = anyBucket, int16(f.by)
	} else {
		u.Sel.Flags = netlink.TC_U32_TERMINAL
	}
	return u
}
