package relay

import (
	"encoding/binary"
)

// This file knows the form of what the TAP device gives: a header about offloads
// (struct virtio_net_hdr, linux/virtio_net.h), an Ethernet header and an IPv4
// packet, which may be many in one (GSO).

const (
	vnetLen  = 10
	etherLen = 14
	ipAt     = vnetLen + etherLen
	maxFrame = vnetLen + etherLen + 65535 + 4096

	flagNeedsCsum = 1
	gsoNone       = 0
	gsoTCP4       = 1
	gsoUDP        = 5    // USO: datagrams
	gsoECN        = 0x80 // a flag beside the type

	protoTCP = 6
	protoUDP = 17
)

var host = binary.NativeEndian // of the header about offloads

// frame is what was read: header and all.
type frame []byte

// route gives source and destination. ok is false for what is not IPv4.
func (f frame) route() (from, to uint32, ok bool) {
	if len(f) < ipAt+20 || f[vnetLen+12] != 0x08 || f[vnetLen+13] != 0 || f[ipAt]>>4 != 4 {
		return 0, 0, false
	}
	return binary.BigEndian.Uint32(f[ipAt+12:]), binary.BigEndian.Uint32(f[ipAt+16:]), true
}

// toSeveral reports a multicast or a broadcast.
func (f frame) toSeveral() bool     { return f[vnetLen]&1 != 0 }
func (f frame) gsoType() byte       { return f[1] &^ gsoECN }
func (f frame) gsoSize() int        { return int(host.Uint16(f[4:])) }
func (f frame) ip() []byte          { return f[ipAt:] }
func (f frame) ipHeaderLen() int    { return int(f[ipAt]&0x0f) * 4 }
func (f frame) wireSize() int       { return len(f) - vnetLen }
func (f frame) needsChecksum() bool { return f[0]&flagNeedsCsum != 0 }

// segment gives the packets as they would go over a wire, each made in buf, which
// holds one at a time. One that is no bundle, or of a kind that is not known, is
// given as it is.
func (f frame) segment(buf []byte, emit func(frame)) {
	size, head, transport := f.gsoSize(), 0, f.ipHeaderLen()
	switch {
	case len(f) < ipAt+transport+20 || size == 0 || transport < 20:
	case f.gsoType() == gsoTCP4 && f[ipAt+9] == protoTCP:
		head = transport + max(20, int(f[ipAt+transport+12]>>4)*4)
	case f.gsoType() == gsoUDP && f[ipAt+9] == protoUDP:
		head = transport + 8
	}
	if head == 0 || len(f) <= ipAt+head {
		emit(f)
		return
	}
	payload := f[ipAt+head:]
	for i, at := 0, 0; at < len(payload); i, at = i+1, at+size {
		chunk := payload[at:min(at+size, len(payload))]
		s := frame(append(append(buf[:0], f[:ipAt+head]...), chunk...))
		s.finish(transport, i, at, at+len(chunk) == len(payload))
		emit(s)
	}
}

// finish writes the headers of the i-th segment, whose payload began at an offset.
func (f frame) finish(transport, i, at int, last bool) {
	ip := f.ip()
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	binary.BigEndian.PutUint16(ip[4:], binary.BigEndian.Uint16(ip[4:])+uint16(i))
	binary.BigEndian.PutUint16(ip[10:], 0)
	binary.BigEndian.PutUint16(ip[10:], ^fold(sum(0, ip[:transport])))
	t := ip[transport:]
	sumAt := 16
	if ip[9] == protoUDP {
		sumAt = 6
		binary.BigEndian.PutUint16(t[4:], uint16(len(t)))
	} else {
		binary.BigEndian.PutUint32(t[4:], binary.BigEndian.Uint32(t[4:])+uint32(at))
		const fin, psh, cwr = 0x01, 0x08, 0x80
		if !last {
			t[13] &^= fin | psh
		}
		if i > 0 {
			t[13] &^= cwr
		}
	}
	// The kernel completes the sum that begins with the addresses (RFC 9293).
	pseudo := sum(sum(0, ip[12:20]), []byte{0, ip[9], byte(len(t) >> 8), byte(len(t))})
	binary.BigEndian.PutUint16(t[sumAt:], fold(pseudo))
	f[0], f[1] = flagNeedsCsum, gsoNone
	host.PutUint16(f[2:], 0)
	host.PutUint16(f[4:], 0)
	host.PutUint16(f[6:], uint16(etherLen+transport))
	host.PutUint16(f[8:], uint16(sumAt))
}

// complete computes a checksum that was left to the hardware, as a sender does
// before its packet goes on a wire that may spoil it.
func (f frame) complete() {
	if !f.needsChecksum() {
		return
	}
	start, offset := vnetLen+int(host.Uint16(f[6:])), int(host.Uint16(f[8:]))
	if start+offset+2 > len(f) {
		return
	}
	value := ^fold(sum(0, f[start:]))
	if value == 0 && f[ipAt+9] == protoUDP {
		value = 0xffff // zero means that there is none (RFC 768)
	}
	binary.BigEndian.PutUint16(f[start+offset:], value)
	f[0] &^= flagNeedsCsum
}

// spoil flips a bit behind the IP header.
func (f frame) spoil(random uint64) {
	f.complete()
	at := ipAt + f.ipHeaderLen()
	if at >= len(f) {
		return
	}
	bit := random % uint64((len(f)-at)*8)
	f[at+int(bit/8)] ^= 1 << (bit % 8)
}

// sum adds 16-bit words (RFC 1071).
func sum(total uint32, data []byte) uint32 {
	for len(data) >= 2 {
		total += uint32(data[0])<<8 | uint32(data[1])
		data = data[2:]
	}
	if len(data) == 1 {
		total += uint32(data[0]) << 8
	}
	return total
}

func fold(total uint32) uint16 {
	for total > 0xffff {
		total = total>>16 + total&0xffff
	}
	return uint16(total)
}
