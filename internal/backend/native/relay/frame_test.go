package relay

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// bundle makes a TCP bundle as the kernel gives it.
func bundle(payload, mss int) frame {
	f := make(frame, ipAt+20+32+payload)
	f[0], f[1] = flagNeedsCsum, gsoTCP4
	host.PutUint16(f[4:], uint16(mss))
	host.PutUint16(f[6:], etherLen+20)
	host.PutUint16(f[8:], 16)
	f[vnetLen+12], f[vnetLen+13] = 8, 0
	ip := f.ip()
	ip[0], ip[8], ip[9] = 0x45, 64, protoTCP
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	binary.BigEndian.PutUint16(ip[4:], 0xfffe)
	copy(ip[12:], []byte{10, 0, 0, 1, 10, 0, 0, 2})
	tcp := ip[20:]
	binary.BigEndian.PutUint32(tcp[4:], 1000)
	tcp[12], tcp[13] = 8<<4, 0x80|0x10|0x08|0x01 // CWR, ACK, PSH, FIN
	for i := range payload {
		tcp[32+i] = byte(i * 7)
	}
	return f
}

// valid checks both checksums of a packet.
func valid(t *testing.T, f frame) {
	t.Helper()
	ip := f.ip()
	if fold(sum(0, ip[:20])) != 0xffff {
		t.Error("the IP header's checksum is wrong")
	}
	whole := append(frame(nil), f...)
	whole.complete()
	l4 := whole.ip()[20:]
	total := sum(sum(sum(0, ip[12:20]), []byte{0, ip[9], byte(len(l4) >> 8), byte(len(l4))}), l4)
	if fold(total) != 0xffff {
		t.Error("the transport's checksum is wrong")
	}
}

func TestBundlesAreTakenApart(t *testing.T) {
	const mss = 1448
	f := bundle(4*mss+100, mss)
	var payload []byte
	n := 0
	f.segment(make([]byte, 0, maxFrame), func(s frame) {
		ip := s.ip()
		tcp := ip[20:]
		if int(binary.BigEndian.Uint16(ip[2:])) != len(ip) || s.gsoType() != gsoNone || s.gsoSize() != 0 {
			t.Errorf("segment %d: lengths", n)
		}
		if id := binary.BigEndian.Uint16(ip[4:]); id != 0xfffe+uint16(n) {
			t.Errorf("segment %d has id %x", n, id)
		}
		if seq := binary.BigEndian.Uint32(tcp[4:]); seq != 1000+uint32(n*mss) {
			t.Errorf("segment %d has sequence number %d", n, seq)
		}
		flags := byte(0x10)
		if n == 0 {
			flags |= 0x80
		}
		if n == 4 {
			flags |= 0x09
		}
		if tcp[13] != flags {
			t.Errorf("segment %d has flags %x", n, tcp[13])
		}
		valid(t, s)
		payload = append(payload, tcp[32:]...)
		n++
	})
	if n != 5 || !bytes.Equal(payload, f.ip()[52:]) {
		t.Errorf("%d segments with %d bytes", n, len(payload))
	}
}

func TestDatagramBundles(t *testing.T) {
	f := make(frame, ipAt+28+250)
	f[0], f[1] = flagNeedsCsum, gsoUDP
	host.PutUint16(f[4:], 100)
	host.PutUint16(f[6:], etherLen+20)
	host.PutUint16(f[8:], 6)
	ip := f.ip()
	ip[0], ip[9] = 0x45, protoUDP
	var sizes []int
	f.segment(make([]byte, 0, maxFrame), func(s frame) {
		sizes = append(sizes, int(binary.BigEndian.Uint16(s.ip()[24:])))
		valid(t, s)
	})
	if len(sizes) != 3 || sizes[0] != 108 || sizes[2] != 58 {
		t.Errorf("datagrams of %v bytes", sizes)
	}
}

func TestWhatIsNoBundleStaysWhole(t *testing.T) {
	f := bundle(100, 0)
	f[1] = gsoNone
	n := 0
	f.segment(nil, func(s frame) { n++; valid(t, frame(append([]byte(nil), f...)).withHeaderSum()) })
	if n != 1 {
		t.Errorf("%d packets", n)
	}
}

// withHeaderSum completes what the test's bundle leaves out.
func (f frame) withHeaderSum() frame {
	ip := f.ip()
	binary.BigEndian.PutUint16(ip[10:], ^fold(sum(0, ip[:20])))
	tcp := ip[20:]
	binary.BigEndian.PutUint16(tcp[16:], fold(sum(sum(0, ip[12:20]), []byte{0, ip[9], byte(len(tcp) >> 8), byte(len(tcp))})))
	return f
}

// A spoiled packet is one whose receiver can tell: its checksum was complete
// before.
func TestSpoiling(t *testing.T) {
	for random := range uint64(500) {
		f := bundle(10, 0).withHeaderSum()
		f.spoil(random * 977)
		l4 := f.ip()[20:]
		total := sum(sum(sum(0, f.ip()[12:20]), []byte{0, protoTCP, 0, byte(len(l4))}), l4)
		if f.needsChecksum() || fold(total) == 0xffff {
			t.Fatalf("bit %d: the error can't be told", random)
		}
	}
}

func FuzzFrame(f *testing.F) {
	f.Add([]byte(bundle(3000, 1448)))
	f.Add([]byte(bundle(10, 0)))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > maxFrame {
			return
		}
		fr := frame(data)
		if _, _, ok := fr.route(); !ok {
			return
		}
		fr.segment(make([]byte, 0, maxFrame), func(s frame) {
			if len(s) > len(fr) {
				t.Fatal("a segment is larger than its bundle")
			}
			spoiled := frame(append([]byte(nil), s...))
			spoiled.spoil(12345)
		})
	})
}
