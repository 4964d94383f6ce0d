package gateway

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend/native/network/netspace"
)

// This file carries published UDP ports.

const (
	// sessionIdle ends a session without traffic.
	sessionIdle = 90 * time.Second

	// maxSessions bounds the clients of one port; the idlest gives way.
	maxSessions = 1024

	maxDatagram = 65535
)

// datagrams are buffers, shared by all sessions: a session that waits has none.
var datagrams = sync.Pool{New: func() any { b := make([]byte, maxDatagram); return &b }}

// udpProxy gives each client a socket of its own towards the service, by which
// answers find their way back.
type udpProxy struct {
	conn    *net.UDPConn
	address netip.AddrPort
	target  atomic.Pointer[netip.AddrPort]
	space   *netspace.Space

	ctx    context.Context
	cancel context.CancelCauseFunc
	work   sync.WaitGroup

	mu       sync.Mutex
	sessions map[sessionKey]*session
}

// sessionKey is a client, and the address of the host it talks to: its answers
// must come from there.
type sessionKey struct {
	client netip.AddrPort
	local  string // control message (IP_PKTINFO); empty where there is one address only
}

type session struct {
	key     sessionKey
	service *net.UDPConn
	target  netip.AddrPort
	last    atomic.Int64 // Unix nanoseconds of the last datagram
}

func newUDPProxy(ctx context.Context, space *netspace.Space, on, target netip.AddrPort) (*udpProxy, error) {
	conn, err := net.ListenUDP(familyOf("udp", on), net.UDPAddrFromAddrPort(on))
	if err != nil {
		return nil, err
	}
	if on.Addr().IsUnspecified() {
		if err := wantLocalAddress(conn, on.Addr()); err != nil {
			conn.Close()
			return nil, err
		}
	}
	p := &udpProxy{
		conn:     conn,
		address:  netip.AddrPortFrom(on.Addr(), conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()),
		space:    space,
		sessions: map[sessionKey]*session{},
	}
	p.target.Store(&target)
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	p.work.Go(p.receive)
	return p, nil
}

// wantLocalAddress asks for the local address of each datagram.
func wantLocalAddress(conn *net.UDPConn, wildcard netip.Addr) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	level, option := unix.IPPROTO_IP, unix.IP_PKTINFO
	if wildcard.Is6() {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), level, option, 1) })
	return errors.Join(err, failed)
}

func (p *udpProxy) bound() netip.AddrPort        { return p.address }
func (p *udpProxy) retarget(addr netip.AddrPort) { p.target.Store(&addr) }
func (p *udpProxy) unlisten()                    { p.conn.Close() }

func (p *udpProxy) close() {
	p.conn.Close()
	p.cancel(errClosed)
	p.mu.Lock()
	for _, s := range p.sessions {
		s.service.Close()
	}
	p.mu.Unlock()
	p.work.Wait()
}

// receive takes what clients send.
func (p *udpProxy) receive() {
	buf := make([]byte, maxDatagram)
	control := make([]byte, 64)
	for {
		n, oobn, _, from, err := p.conn.ReadMsgUDPAddrPort(buf, control)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // of one datagram: an ICMP error for an earlier answer
		}
		s := p.session(sessionKey{from, string(control[:oobn])})
		if s == nil {
			continue // a datagram may be lost, a client may ask again
		}
		s.last.Store(time.Now().UnixNano())
		_, _ = s.service.Write(buf[:n]) // datagrams may be lost
	}
}

// session finds or makes a client's session; nil if none can be had.
func (p *udpProxy) session(key sessionKey) *session {
	target := *p.target.Load()
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.sessions[key]; s != nil {
		if s.target == target {
			return s
		}
		p.drop(s)
	}
	if p.ctx.Err() != nil {
		return nil
	}
	if len(p.sessions) >= maxSessions {
		p.drop(p.idlest())
	}
	conn, err := p.space.Dial(p.ctx, "udp", target)
	if err != nil {
		return nil
	}
	s := &session{key: key, service: conn.(*net.UDPConn), target: target}
	s.last.Store(time.Now().UnixNano())
	p.sessions[key] = s
	p.work.Go(func() { p.answer(s) })
	return s
}

// drop forgets a session; its goroutine ends with its socket. p.mu is held.
func (p *udpProxy) drop(s *session) {
	if p.sessions[s.key] == s {
		delete(p.sessions, s.key)
	}
	s.service.Close()
}

func (p *udpProxy) idlest() *session {
	var idlest *session
	for _, s := range p.sessions {
		if idlest == nil || s.last.Load() < idlest.last.Load() {
			idlest = s
		}
	}
	return idlest
}

// answer takes what the service sends, until the session has been idle for too
// long or was dropped.
func (p *udpProxy) answer(s *session) {
	defer func() {
		p.mu.Lock()
		p.drop(s)
		p.mu.Unlock()
	}()
	raw, err := s.service.SyscallConn()
	if err != nil {
		return
	}
	for {
		_ = s.service.SetReadDeadline(time.Unix(0, s.last.Load()).Add(sessionIdle))
		err := readPooled(raw, func(datagram []byte) {
			s.last.Store(time.Now().UnixNano())
			p.send(datagram, s.key)
		})
		switch {
		case errors.Is(err, unix.ECONNREFUSED): // nobody listens there, yet
		case err == nil:
		case isTimeout(err) && time.Since(time.Unix(0, s.last.Load())) < sessionIdle: // the client spoke meanwhile
		default:
			return
		}
	}
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// readPooled waits for one datagram and only then takes a buffer for it.
func readPooled(raw syscall.RawConn, use func([]byte)) error {
	var failed error
	err := raw.Read(func(fd uintptr) bool {
		buf := datagrams.Get().(*[]byte)
		defer datagrams.Put(buf)
		n, err := unix.Read(int(fd), *buf)
		if errors.Is(err, unix.EAGAIN) {
			return false
		}
		if failed = err; err == nil {
			use((*buf)[:n])
		}
		return true
	})
	return errors.Join(err, failed)
}

// send answers a client, from the address it had written to.
func (p *udpProxy) send(datagram []byte, to sessionKey) {
	_, _, _ = p.conn.WriteMsgUDPAddrPort(datagram, []byte(to.local), to.client)
}
