package netspace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// This file opens connections from inside a namespace.

// Dial connects to an address in the namespace. network is "tcp" or "udp".
// Only making the socket takes a thread; waiting for the other side does not,
// so that thousands of calls can wait at once. The connection is a
// *net.TCPConn or *net.UDPConn. Bounded by ctx, and by the kernel's own limit
// on connecting.
func (s *Space) Dial(ctx context.Context, network string, dst netip.AddrPort) (net.Conn, error) {
	conn, err := s.dial(ctx, network, dst)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: net.TCPAddrFromAddrPort(dst), Err: err}
	}
	return conn, nil
}

func (s *Space) dial(ctx context.Context, network string, dst netip.AddrPort) (net.Conn, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	kind := unix.SOCK_STREAM
	if network == "udp" {
		kind = unix.SOCK_DGRAM
	}
	family, sockaddr := sockaddrOf(dst)
	var fd int
	err := s.Do(func() (err error) {
		fd, err = unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		return os.NewSyscallError("socket", err)
	})
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), network)
	defer f.Close()
	if err := unix.Connect(fd, sockaddr); errors.Is(err, unix.EINPROGRESS) {
		err = awaitConnect(ctx, f)
		if err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, os.NewSyscallError("connect", err)
	}
	return net.FileConn(f)
}

// awaitConnect waits until a connecting socket has connected or failed.
func awaitConnect(ctx context.Context, f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = f.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	var result error
	err = raw.Write(func(fd uintptr) bool {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		if n, err := unix.Poll(poll, 0); n == 0 || errors.Is(err, unix.EINTR) {
			return false
		}
		code, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && code != 0 {
			err = unix.Errno(code)
		}
		result = os.NewSyscallError("connect", err)
		return true
	})
	if err == nil {
		return result
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("wait for connection: %w", err)
}

func sockaddrOf(a netip.AddrPort) (family int, sa unix.Sockaddr) {
	if a.Addr().Unmap().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().Unmap().As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// ListenTCP listens in the namespace.
func (s *Space) ListenTCP(addr netip.AddrPort) (ln *net.TCPListener, err error) {
	err = s.Do(func() error {
		ln, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr))
		return err
	})
	return ln, err
}

// ListenUDP opens a datagram socket in the namespace.
func (s *Space) ListenUDP(addr netip.AddrPort) (conn *net.UDPConn, err error) {
	err = s.Do(func() error {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
		return err
	})
	return conn, err
}
