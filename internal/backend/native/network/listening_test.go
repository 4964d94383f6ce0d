package network

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/lepto-dev/lepto/internal/backend"
)

func TestListening(t *testing.T) {
	n := newNetwork(t)
	one := addMember(t, n, "one", 2)
	addMember(t, n, "other", 3)
	loopback := netip.MustParseAddr("127.0.0.1")
	one.serve(t, netip.AddrPortFrom(loopback, 8080)) // TCP and UDP
	six, err := one.ListenTCP(netip.MustParseAddrPort("[::]:9090"))
	check(t, err)
	defer six.Close()
	// Connections, at either end, are none that listen.
	conn, err := one.Dial(t.Context(), "tcp", netip.AddrPortFrom(loopback, 8080))
	check(t, err)
	defer conn.Close()
	talks, err := one.Dial(t.Context(), "udp", netip.AddrPortFrom(loopback, 8080))
	check(t, err)
	defer talks.Close()

	got, err := n.Listening("one")
	check(t, err)
	want := []backend.Listening{
		{Proto: backend.TCP, Addr: netip.AddrPortFrom(loopback, 8080)},
		{Proto: backend.TCP, Addr: netip.MustParseAddrPort("[::]:9090")},
		{Proto: backend.UDP, Addr: netip.AddrPortFrom(loopback, 8080)},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, err := n.Listening("other"); err != nil || got == nil || len(got) != 0 {
		t.Errorf("a service that does not listen: got %v, %v", got, err)
	}
	if got, err := n.Listening("nobody"); err == nil {
		t.Errorf("a service that is not there: got %v", got)
	}
}

func TestListeningOnMany(t *testing.T) {
	n := newNetwork(t)
	one := addMember(t, n, "one", 2)
	const many = 900 // more than one message of a dump holds
	for range many {
		ln, err := one.ListenTCP(netip.AddrPortFrom(one.addr, 0))
		check(t, err)
		t.Cleanup(func() { ln.Close() })
	}
	got, err := n.Listening("one")
	check(t, err)
	if len(got) != many {
		t.Errorf("got %d sockets, want %d", len(got), many)
	}
}

func BenchmarkListening(b *testing.B) {
	n := newNetwork(b)
	one := addMember(b, n, "one", 2)
	one.serve(b, netip.AddrPortFrom(one.addr, 8080))
	for b.Loop() {
		_, err := n.Listening("one")
		check(b, err)
	}
}
