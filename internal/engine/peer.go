package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// This file finds out who is at the other end of a loopback TCP connection.

const (
	tcpEstablished = 1 // include/net/tcp_states.h
	diagRequestLen = 56
	diagAnswerLen  = 72
)

// errNoPeer means that the kernel knows no living socket at the other end.
var errNoPeer = errors.New("the caller's socket is gone")

// peerUID gives the user id that owns the socket at client's end of a TCP
// connection from client to server, both on this host. It asks the kernel
// (sock_diag(7), one exact look-up) and remembers nothing, since a pair of
// addresses belongs to somebody else a moment later.
//
// Only an established connection counts. A socket that its process has closed
// has no owner any more, and the kernel then gives 0, which is root's id.
func peerUID(client, server netip.AddrPort) (uint32, error) {
	req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, 0)
	req.AddRawData(diagRequest(client, server))
	answers, err := req.Execute(unix.NETLINK_INET_DIAG, nl.SOCK_DIAG_BY_FAMILY)
	if errors.Is(err, unix.ENOENT) {
		return 0, errNoPeer
	}
	if err != nil {
		return 0, fmt.Errorf("sock_diag %s to %s: %w", client, server, err)
	}
	for _, answer := range answers {
		if uid, ok := ownerOf(answer, client, server); ok {
			return uid, nil
		}
	}
	return 0, errNoPeer
}

// diagRequest is struct inet_diag_req_v2 of linux/inet_diag.h.
func diagRequest(local, remote netip.AddrPort) []byte {
	b := make([]byte, diagRequestLen)
	b[0] = unix.AF_INET6
	if local.Addr().Unmap().Is4() {
		b[0] = unix.AF_INET
	}
	b[1] = unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(b[4:], 1<<tcpEstablished)
	binary.BigEndian.PutUint16(b[8:], local.Port())
	binary.BigEndian.PutUint16(b[10:], remote.Port())
	copy(b[12:28], local.Addr().Unmap().AsSlice())
	copy(b[28:44], remote.Addr().Unmap().AsSlice())
	// No interface; the cookie of all ones means: any socket.
	binary.NativeEndian.PutUint64(b[48:], ^uint64(0))
	return b
}

// ownerOf reads struct inet_diag_msg, and takes nothing but a live socket with
// exactly these ends: the kernel falls back on a listener where it finds none.
func ownerOf(b []byte, local, remote netip.AddrPort) (uint32, bool) {
	if len(b) < diagAnswerLen || b[1] != tcpEstablished {
		return 0, false
	}
	address := func(raw []byte) netip.Addr {
		if b[0] == unix.AF_INET {
			return netip.AddrFrom4([4]byte(raw))
		}
		return netip.AddrFrom16([16]byte(raw)).Unmap()
	}
	from := netip.AddrPortFrom(address(b[8:24]), binary.BigEndian.Uint16(b[4:]))
	to := netip.AddrPortFrom(address(b[24:40]), binary.BigEndian.Uint16(b[6:]))
	if from != unmapped(local) || to != unmapped(remote) {
		return 0, false
	}
	uid, inode := binary.NativeEndian.Uint32(b[64:]), binary.NativeEndian.Uint32(b[68:])
	return uid, inode != 0
}

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
