package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/network/netspace"
)

// This file asks the kernel which sockets of a service listen: sock_diag(7).
//
// For /proc/net/tcp the kernel walks its table of all the host's connections,
// whose size goes by the host's memory: with tcp6, 2.3 ms a service with 24 GB.
// Asked here for listening sockets alone, it looks at no others: 0.3 ms.

// diagQueries are the sockets that count: a TCP socket in the state LISTEN, a
// UDP socket that is bound and not connected, which the kernel files under
// CLOSE (include/net/tcp_states.h).
var diagQueries = []struct {
	proto    backend.Transport
	protocol uint8
	state    uint8
}{
	{backend.TCP, unix.IPPROTO_TCP, 10},
	{backend.UDP, unix.IPPROTO_UDP, 7},
}

// Listening tells which sockets listen in a service's namespace, sorted. An
// error where there is no such namespace, or the kernel lacks sock_diag.
func (n *Network) Listening(name string) ([]backend.Listening, error) {
	path, err := n.names.endpoint(name)
	if err != nil {
		return nil, err
	}
	space, err := netspace.Open(path)
	if err != nil {
		return nil, err
	}
	defer space.Close()
	var found []backend.Listening
	err = space.Do(func() error {
		found, err = diagnose()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("sockets of service %q: %w", name, err)
	}
	slices.SortFunc(found, func(a, b backend.Listening) int {
		if c := strings.Compare(string(a.Proto), string(b.Proto)); c != 0 {
			return c
		}
		return a.Addr.Compare(b.Addr)
	})
	return slices.Compact(found), nil
}

// ephemeral is from where on the kernel gives ports away by itself (ip_local_port_range
// in ip-sysctl(5)); no service can change that.
const ephemeral = 32768

// Quiet reports whether a service's namespace, in which no process is any more, has
// nothing that would keep the next one from a port: the kernel holds the ports of
// connections that are over for a minute. Those that it chose itself don't count: it
// chooses others.
func (n *Network) Quiet(name string) (bool, error) {
	path, err := n.names.endpoint(name)
	if err != nil {
		return false, err
	}
	space, err := netspace.Open(path)
	if err != nil {
		return false, err
	}
	defer space.Close()
	quiet := true
	err = space.Do(func() error {
		if none, err := noTCP(); none || err != nil {
			return err
		}
		return ask(func(dump dumper) error {
			for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
				addrs, err := dump(family, unix.IPPROTO_TCP, ^uint32(0))
				if err != nil {
					return err
				}
				for _, addr := range addrs {
					quiet = quiet && addr.Port() >= ephemeral
				}
			}
			return nil
		})
	})
	return quiet, err
}

// noTCP tells from the kernel's counters that there is no TCP socket in the calling
// thread's namespace, as with nearly all tasks: to look for connections it walks the
// host's table of all, which takes 7 ms for both families.
func noTCP() (bool, error) {
	for _, file := range []string{"sockstat", "sockstat6"} {
		data, err := os.ReadFile("/proc/thread-self/net/" + file)
		if errors.Is(err, os.ErrNotExist) {
			continue // no IPv6
		}
		if err != nil {
			return false, err
		}
		for line := range strings.Lines(string(data)) {
			// "TCP: inuse 0 orphan 0 tw 0 alloc 4 mem 0": the first and the third are this
			// namespace's, the others the host's.
			fields := strings.Fields(line)
			if len(fields) < 3 || !strings.HasPrefix(fields[0], "TCP") {
				continue
			}
			if fields[2] != "0" || len(fields) > 6 && fields[6] != "0" {
				return false, nil
			}
		}
	}
	return true, nil
}

// diagnose lists what listens in the calling thread's namespace.
func diagnose() ([]backend.Listening, error) {
	found := []backend.Listening{}
	err := ask(func(dump dumper) error {
		for _, q := range diagQueries {
			for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
				addrs, err := dump(family, q.protocol, 1<<q.state)
				if err != nil {
					return err
				}
				for _, addr := range addrs {
					found = append(found, backend.Listening{Proto: q.proto, Addr: addr})
				}
			}
		}
		return nil
	})
	return found, err
}

// A dumper gives the local addresses of sockets in some states, a bit each.
type dumper func(family, protocol uint8, states uint32) ([]netip.AddrPort, error)

// ask opens a socket for questions about the calling thread's namespace.
func ask(questions func(dumper) error) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	// The kernel answers within the call; the bound is for a message it has lost.
	patience := unix.NsecToTimeval(int64(time.Second))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	buffer := make([]byte, 32<<10) // no message of a dump is larger (netlink(7))
	return questions(func(family, protocol uint8, states uint32) ([]netip.AddrPort, error) {
		request := diagRequest(family, protocol, states)
		if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return nil, os.NewSyscallError("sendto", err)
		}
		return diagAnswer(fd, buffer)
	})
}

// diagRequest is a request to dump sockets of some states: a struct nlmsghdr,
// then a struct inet_diag_req_v2 (linux/inet_diag.h) that names no socket.
func diagRequest(family, protocol uint8, states uint32) []byte {
	const size = unix.NLMSG_HDRLEN + 8 + 48
	data := make([]byte, size)
	binary.NativeEndian.PutUint32(data[0:], size)
	binary.NativeEndian.PutUint16(data[4:], unix.SOCK_DIAG_BY_FAMILY)
	binary.NativeEndian.PutUint16(data[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	body := data[unix.NLMSG_HDRLEN:]
	body[0], body[1] = family, protocol
	binary.NativeEndian.PutUint32(body[4:], states)
	return data
}

// diagAnswer reads a whole dump.
func diagAnswer(fd int, buffer []byte) ([]netip.AddrPort, error) {
	var addrs []netip.AddrPort
	for {
		n, _, err := unix.Recvfrom(fd, buffer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, os.NewSyscallError("recvfrom", err)
		}
		messages, err := syscall.ParseNetlinkMessage(buffer[:n])
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			switch m.Header.Type {
			case unix.NLMSG_DONE:
				return addrs, nil
			case unix.NLMSG_ERROR:
				return nil, diagError(m.Data)
			}
			if addr, ok := diagAddr(m.Data); ok && addr.Port() != 0 {
				addrs = append(addrs, addr)
			}
		}
	}
}

// diagError reads a struct nlmsgerr, which begins with a negative error number.
func diagError(data []byte) error {
	if len(data) < 4 {
		return unix.EBADMSG
	}
	return os.NewSyscallError("sock_diag", unix.Errno(-int32(binary.NativeEndian.Uint32(data))))
}

// diagAddr reads the local address of a struct inet_diag_msg: family, state,
// timer and retransmissions of a byte each, then the ports and addresses, in
// network order.
func diagAddr(msg []byte) (netip.AddrPort, bool) {
	const port, source = 4, 8
	size := 4
	if len(msg) > 0 && msg[0] == unix.AF_INET6 {
		size = 16
	}
	if len(msg) < source+16 {
		return netip.AddrPort{}, false
	}
	ip, _ := netip.AddrFromSlice(msg[source : source+size])
	return netip.AddrPortFrom(ip.Unmap(), binary.BigEndian.Uint16(msg[port:])), true
}
