package network

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend/native/network/netspace"
)

// This file keeps what enclaves need of the host's firewall in place while others
// change it. They do so without asking: "systemctl reload nftables" takes away all
// tables, ours too; Docker or an administrator sets a policy that drops.

// settle is how long the firewall has to rest before it is looked at: to reload one
// is many transactions. longest bounds the wait for that.
const (
	settle  = 200 * time.Millisecond
	longest = 3 * time.Second
)

// Watch calls mend after each change of the host's firewall that another process
// made, until ctx ends. A burst of changes is one. It looks after the record of the
// host's forwarding itself; what hinders it there is logged, and tried again with
// the next change.
func Watch(ctx context.Context, log *slog.Logger, mend func()) error {
	changes, err := listenForChanges()
	if err != nil {
		return fmt.Errorf("listen for changes of the host's firewall: %w", err)
	}
	defer changes.Close()
	defer context.AfterFunc(ctx, func() { changes.Close() })()
	var record keptRecord
	for {
		if err := record.look(ctx); err != nil && ctx.Err() == nil {
			log.Warn("the record of the host's forwarding", "err", err)
		}
		foreign, err := nextBurst(changes)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("changes of the host's firewall: %w", err)
		}
		if foreign {
			mend()
		}
	}
}

// listenForChanges opens a socket on which the kernel tells of each transaction of
// nftables, in the network namespace of the calling thread.
func listenForChanges() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "nftables")
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, unix.NFNLGRP_NFTABLES)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// nextBurst waits for a change, and then until there have been no more for a
// while. It reports whether any was made by another process.
func nextBurst(changes *os.File) (foreign bool, err error) {
	_ = changes.SetReadDeadline(time.Time{})
	buf := make([]byte, 64<<10) // more than the kernel sends at once
	var end time.Time
	for {
		n, err := changes.Read(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return foreign, nil
		case errors.Is(err, unix.ENOBUFS): // more than the socket holds: some are lost
			foreign = true
		case err != nil:
			return false, err
		default:
			transaction, by := transactionIn(buf[:n])
			if !transaction {
				continue
			}
			foreign = foreign || !ownThread(by)
		}
		now := time.Now()
		if end.IsZero() {
			end = now.Add(longest)
		}
		_ = changes.SetReadDeadline(earlier(now.Add(settle), end))
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

const (
	nfgenmsgLen = 4
	newGen      = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWGEN
)

// transactionIn looks for the message that ends a transaction, and gives the
// thread that made it (nf_tables_fill_gen_info in net/netfilter/nf_tables_api.c).
func transactionIn(messages []byte) (found bool, by uint32) {
	for len(messages) >= unix.SizeofNlMsghdr {
		size := int(binary.NativeEndian.Uint32(messages))
		if size < unix.SizeofNlMsghdr || size > len(messages) {
			return found, by
		}
		if binary.NativeEndian.Uint16(messages[4:]) == newGen && size >= unix.SizeofNlMsghdr+nfgenmsgLen {
			found, by = true, processIn(messages[unix.SizeofNlMsghdr+nfgenmsgLen:size])
		}
		messages = messages[min(aligned(size), len(messages)):]
	}
	return found, by
}

// processIn gives the attribute NFTA_GEN_PROC_PID; 0 without one.
func processIn(attributes []byte) uint32 {
	for len(attributes) >= unix.SizeofNlAttr {
		size, kind := int(binary.NativeEndian.Uint16(attributes)), binary.NativeEndian.Uint16(attributes[2:])
		if size < unix.SizeofNlAttr || size > len(attributes) {
			return 0
		}
		if kind == unix.NFTA_GEN_PROC_PID && size == unix.SizeofNlAttr+4 {
			return binary.BigEndian.Uint32(attributes[unix.SizeofNlAttr:])
		}
		attributes = attributes[min(aligned(size), len(attributes)):]
	}
	return 0
}

func aligned(size int) int { return (size + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }

// ownThread reports whether a thread is of this process. In a container the kernel
// counts otherwise; then our own changes look like others', and are looked at
// for nothing.
func ownThread(id uint32) bool {
	_, err := os.Stat("/proc/self/task/" + strconv.FormatUint(uint64(id), 10))
	return err == nil
}

// Mend brings back what a change of the host's firewall has taken away. A network
// that is being removed it leaves alone.
func (n *Network) Mend(ctx context.Context) error {
	h, err := lockHost(ctx)
	if err != nil {
		return err
	}
	defer h.unlock()
	if _, err := h.handle.LinkByName(n.names.uplink); err != nil {
		if isGone(err) {
			return nil
		}
		return fmt.Errorf("link %s: %w", n.names.uplink, err)
	}
	link, err := n.recordedUplink()
	if err != nil {
		return err
	}
	there, err := tableExists(n.names.table)
	if err == nil && !there {
		err = writeOutside(n.names, link)
	}
	if err != nil {
		return err
	}
	return h.passForeignChains(n.names)
}

// A keptRecord is what the table forwardingTable said when it was last seen.
type keptRecord struct{ last *forwarding }

// look remembers the record, or writes it again where it is gone although there
// are enclaves still.
func (k *keptRecord) look(ctx context.Context) error {
	h, err := lockHost(ctx)
	if err != nil {
		return err
	}
	defer h.unlock()
	there, err := tableExists(forwardingTable)
	if err != nil {
		return err
	}
	if !there {
		return k.restore(h)
	}
	return withTables(nil, func(c *nftables.Conn) error {
		f, err := readForwarding(c)
		if err == nil {
			k.last = &f
		}
		return err
	})
}

func (k *keptRecord) restore(h *host) error {
	last := k.last
	if last == nil {
		return nil
	}
	links, err := netspace.Whole(h.handle.LinkList)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(links, func(l netlink.Link) bool { return isUplink(l.Attrs().Name) }) {
		k.last = nil // the last enclave has gone, and the table with it
		return nil
	}
	return withTables(nil, func(c *nftables.Conn) error {
		if err := writeForwarding(c, elements(last.still), elements(last.routing), strings.Join(last.settings, " ")); err != nil {
			return err
		}
		return c.Flush()
	})
}

func elements(names map[string]bool) []nftables.SetElement {
	var out []nftables.SetElement
	for name := range names {
		out = append(out, nftables.SetElement{Key: linkKey(name)})
	}
	return out
}
