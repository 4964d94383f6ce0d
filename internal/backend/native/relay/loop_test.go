package relay

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend/backendtest/bounds"
	"github.com/lepto-dev/lepto/internal/backend/native/network/netspace"
	"github.com/lepto-dev/lepto/internal/link"
)

// This file runs the loop on a real TAP device, in a namespace that nobody sees.

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bench is a loop, and a socket at the other side of its device.
type bench struct {
	t      *testing.T
	loop   *loop
	socket int
	device int
	table  Table
}

// hardware are the stations' link addresses.
var hardware = map[string][]byte{"a": {2, 0, 0, 0, 0, 1}, "b": {2, 0, 0, 0, 0, 2}, "c": {2, 0, 0, 0, 0, 3}}

var stations = map[string]netip.Addr{
	"a": netip.MustParseAddr("10.0.0.1"), "b": netip.MustParseAddr("10.0.0.2"), "c": netip.MustParseAddr("10.0.0.3"),
}

// onBench runs a test in a new namespace.
func onBench(t *testing.T, topology link.Topology, test func(*bench)) {
	t.Helper()
	check(t, netspace.Scratch(func() error {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		space, err := netspace.Open("/proc/thread-self/ns/net")
		if err != nil {
			return err
		}
		defer space.Close()
		b := &bench{t: t, table: Table{Addresses: stations, Hardware: hardware, Links: link.Table{
			Topology: topology, Members: map[string]string{"a": "a", "b": "b", "c": "c"},
		}}}
		fd, err := openTap(space)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if b.loop, err = newLoop(fd); err != nil {
			return err
		}
		if err := b.connect(); err != nil {
			return err
		}
		defer unix.Close(b.socket)
		b.set(topology)
		var work sync.WaitGroup
		work.Go(func() {
			if err := b.loop.run(); err != nil {
				t.Error(err)
			}
		})
		test(b)
		b.loop.stop()
		work.Wait()
		if b.loop.wheel.count == 0 && b.loop.arena.left != arenaBlocks {
			t.Error("memory is not given back")
		}
		return nil
	}))
}

// connect opens the socket.
func (b *bench) connect() error {
	device, err := netlink.LinkByName(Device)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(device); err != nil {
		return err
	}
	b.device = device.Attrs().Index
	const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8
	if b.socket, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all); err != nil {
		return err
	}
	return unix.Bind(b.socket, &unix.SockaddrLinklayer{Protocol: all, Ifindex: b.device})
}

func (b *bench) set(topology link.Topology) {
	b.table.Links.Topology = topology
	b.loop.rules.Store(makeRules(b.table, b.loop.rules.Load()))
}

// send has a frame go to the relay, with a number in it.
func (b *bench) send(from, to string, number byte) {
	b.t.Helper()
	f := make([]byte, etherLen+20+8)
	copy(f, []byte{2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 8, 0, 0x45})
	ip := f[etherLen:]
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	ip[8], ip[9] = 64, protoUDP
	src, dst := stations[from].As4(), stations[to].As4()
	copy(ip[12:], src[:])
	copy(ip[16:], dst[:])
	ip[27] = number
	check(b.t, unix.Sendto(b.socket, f, 0, &unix.SockaddrLinklayer{Ifindex: b.device}))
}

const (
	patience = 10 * time.Second       // with what must come
	briefly  = 300 * time.Millisecond // with what must not
)

// receive gives the number of the next frame that the relay has sent on, or -1.
func (b *bench) receive() int { b.t.Helper(); return b.await(bounds.Wide(patience)) }

// nothing gives -1 where nothing comes for a moment.
func (b *bench) nothing() int { b.t.Helper(); return b.await(briefly) }

func (b *bench) await(patience time.Duration) int {
	b.t.Helper()
	buf := make([]byte, 2048)
	for deadline := time.Now().Add(patience); ; {
		left := unix.NsecToTimeval(int64(max(time.Until(deadline), time.Microsecond)))
		check(b.t, unix.SetsockoptTimeval(b.socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &left))
		n, from, err := unix.Recvfrom(b.socket, buf, 0)
		if errors.Is(err, unix.EINTR) { // Go signals its threads
			continue
		}
		if err != nil {
			return -1
		}
		at, ok := from.(*unix.SockaddrLinklayer)
		if ok && at.Pkttype != unix.PACKET_OUTGOING && n == etherLen+28 && buf[12] == 8 && buf[13] == 0 {
			return int(buf[etherLen+27])
		}
	}
}

// A loop that runs shows it; one that does not, doesn't.
func TestLoopGivesASign(t *testing.T) {
	onBench(t, link.Topology{}, func(b *bench) {
		for range 3 {
			if !b.loop.moves(5 * time.Second) {
				t.Fatal("no sign of life")
			}
		}
	})
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	check(t, err)
	defer unix.Close(wake)
	if (&loop{wake: wake}).moves(20 * time.Millisecond) {
		t.Error("a loop that nobody runs gives signs of life")
	}
}

func TestLoopDelaysAndBlocks(t *testing.T) {
	const delay = 400 * time.Millisecond // what is sent just after it comes first, also on a busy machine
	topology := link.Topology{}.Set(link.Pair{"a", "b"}, link.Forward, link.Connection{Delay: link.Delay{Mean: delay}}).
		Set(link.Pair{"a", "b"}, link.Backward, link.Blocked)
	onBench(t, topology, func(b *bench) {
		began := time.Now()
		b.send("a", "b", 1)
		b.send("a", "c", 2) // without a rule, at once
		if got := b.receive(); got != 2 {
			t.Errorf("first came %d", got)
		}
		if got := b.receive(); got != 1 || time.Since(began) < delay-time.Millisecond {
			t.Errorf("then came %d, after %v", got, time.Since(began))
		}
		b.send("b", "a", 3)
		if got := b.nothing(); got != -1 {
			t.Errorf("%d came through a block", got)
		}
		b.set(link.Topology{})
		b.send("b", "a", 4)
		if got := b.receive(); got != 4 {
			t.Errorf("after healing came %d", got)
		}
		b.set(topology) // counters begin anew with the rule
		b.send("b", "a", 5)
		b.send("b", "a", 6)
		b.send("a", "c", 7) // behind them
		if got := b.receive(); got != 7 {
			t.Errorf("behind what is blocked came %d", got)
		}
		for _, s := range b.loop.rules.Load().stats() {
			if s.From == "b" && (s.Packets != 2 || s.Dropped != 2) {
				t.Errorf("counted %+v", s)
			}
		}
	})
}

func TestLoopKeepsOrder(t *testing.T) {
	onBench(t, link.Topology{}.SetDefault(link.Connection{Delay: link.Delay{Mean: 20 * time.Millisecond}}), func(b *bench) {
		for i := range 100 {
			b.send("a", "b", byte(i))
		}
		for i := range 100 {
			if got := b.receive(); got != i {
				t.Fatalf("came %d in place of %d", got, i)
			}
		}
	})
}

func TestLoopDoubles(t *testing.T) {
	onBench(t, link.Topology{}.SetDefault(link.Connection{Duplicate: 100}), func(b *bench) {
		b.send("a", "b", 7)
		if one, two, three := b.receive(), b.receive(), b.nothing(); one != 7 || two != 7 || three != -1 {
			t.Errorf("came %d, %d, %d", one, two, three)
		}
	})
}

// cast has the relay get a packet to everybody.
func (b *bench) cast(from string, number byte) {
	b.t.Helper()
	f := make([]byte, etherLen+28)
	copy(f, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 8, 8, 0, 0x45, 0, 0, 28})
	src := stations[from].As4()
	copy(f[etherLen+12:], src[:])
	copy(f[etherLen+16:], []byte{255, 255, 255, 255})
	f[etherLen+27] = number
	check(b.t, unix.Sendto(b.socket, f, 0, &unix.SockaddrLinklayer{Ifindex: b.device}))
}

// What is for everybody goes to each by the rule for the two.
func TestLoopSpreads(t *testing.T) {
	const delay = 40 * time.Millisecond
	topology := link.Topology{}.Set(link.Pair{"a", "b"}, link.Both, link.Blocked).
		Set(link.Pair{"a", "c"}, link.Both, link.Connection{Delay: link.Delay{Mean: delay}})
	onBench(t, topology, func(b *bench) {
		began := time.Now()
		b.cast("a", 9)
		if got := b.receive(); got != 9 || time.Since(began) < delay-time.Millisecond {
			t.Errorf("came %d, after %v", got, time.Since(began))
		}
		if got := b.nothing(); got != -1 {
			t.Error("it came to a blocked peer")
		}
		b.set(link.Topology{}.Set(link.Pair{"a", "b"}, link.Both, link.Blocked))
		b.cast("a", 10) // to c, without a rule
		if one, two := b.receive(), b.nothing(); one != 10 || two != -1 {
			t.Errorf("came %d, %d", one, two)
		}
	})
}

// Floods of the bridge may reach the device as well, and must not be sent again.
func TestLoopLeavesFloodsAlone(t *testing.T) {
	onBench(t, link.Topology{}.Set(link.Pair{"a", "b"}, link.Both, link.Blocked), func(b *bench) {
		b.cast("c", 1) // nobody is kept from c: its packets do not come here
		if got := b.nothing(); got != -1 {
			t.Error("a broadcast came back")
		}
	})
}
