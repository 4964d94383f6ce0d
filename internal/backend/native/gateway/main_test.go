package gateway

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/backend/backendtest/bounds"
	"github.com/lepto-dev/lepto/internal/backend/native/network/netspace"
	"github.com/lepto-dev/lepto/internal/backend/native/network/scratch"
)

func TestMain(m *testing.M) { os.Exit(scratch.Main(m.Run)) }

// patience bounds every wait for what must come.
var patience = bounds.Wide(5 * time.Second)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// here is the namespace of the tests: host and enclave at once.
func here(t testing.TB) *netspace.Space {
	t.Helper()
	space, err := netspace.Open("/proc/self/ns/net")
	check(t, err)
	t.Cleanup(func() { space.Close() })
	return space
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func local(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
}

func listenTCP(t testing.TB) (*net.TCPListener, netip.AddrPort) {
	t.Helper()
	ln, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(local(0)))
	check(t, err)
	t.Cleanup(func() { ln.Close() })
	return ln, ln.Addr().(*net.TCPAddr).AddrPort()
}

func listenUDP(t testing.TB, addr netip.AddrPort) (*net.UDPConn, netip.AddrPort) {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	check(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn, conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

func dialTCP(t testing.TB, addr netip.AddrPort) *net.TCPConn {
	t.Helper()
	conn, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(addr))
	check(t, err)
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return conn
}

func dialUDP(t testing.TB, addr netip.AddrPort) *net.UDPConn {
	t.Helper()
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr))
	check(t, err)
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return conn
}

// echo answers each datagram with tag and the datagram.
func echo(t testing.TB, tag string) netip.AddrPort {
	t.Helper()
	conn, addr := listenUDP(t, local(0))
	go func() {
		buf := make([]byte, maxDatagram)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			conn.WriteToUDPAddrPort(append([]byte(tag), buf[:n]...), from)
		}
	}()
	return addr
}

// greet sends tag to each connection and closes it.
func greet(t testing.TB, tag string) netip.AddrPort {
	t.Helper()
	ln, addr := listenTCP(t)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(conn, tag)
			conn.Close()
		}
	}()
	return addr
}

func newTestPublisher(t testing.TB) *publisher {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := newPublisher(ctx, here(t), quiet)
	t.Cleanup(func() {
		cancel()
		p.close()
	})
	return p
}

func TestMainWithoutATable(t *testing.T) {
	check(t, Main(t.TempDir()))
}
