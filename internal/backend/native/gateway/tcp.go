package gateway

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lepto-dev/lepto/internal/backend/native/companion"
	"github.com/lepto-dev/lepto/internal/backend/native/network/netspace"
)

// This file carries published TCP ports.

// dialPatience bounds connecting to a service. An address that nobody answers
// for fails after 3 s of ARP.
const dialPatience = 10 * time.Second

type tcpProxy struct {
	listener *net.TCPListener
	address  netip.AddrPort
	target   atomic.Pointer[netip.AddrPort]
	space    *netspace.Space
	log      *slog.Logger

	ctx    context.Context
	cancel context.CancelCauseFunc
	work   sync.WaitGroup
}

func newTCPProxy(ctx context.Context, space *netspace.Space, on, target netip.AddrPort, log *slog.Logger) (*tcpProxy, error) {
	listener, err := net.ListenTCP(familyOf("tcp", on), net.TCPAddrFromAddrPort(on))
	if err != nil {
		return nil, err
	}
	p := &tcpProxy{
		listener: listener,
		address:  netip.AddrPortFrom(on.Addr(), listener.Addr().(*net.TCPAddr).AddrPort().Port()),
		space:    space,
		log:      log,
	}
	p.target.Store(&target)
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	p.work.Go(p.accept)
	return p, nil
}

// familyOf keeps a wildcard address to its own family: [::] alone would take
// the IPv4 port too.
func familyOf(network string, addr netip.AddrPort) string {
	if addr.Addr().Is4() {
		return network + "4"
	}
	return network + "6"
}

func (p *tcpProxy) bound() netip.AddrPort        { return p.address }
func (p *tcpProxy) retarget(addr netip.AddrPort) { p.target.Store(&addr) }
func (p *tcpProxy) unlisten()                    { p.listener.Close() }

func (p *tcpProxy) close() {
	p.listener.Close()
	p.cancel(errClosed)
	p.work.Wait()
}

func (p *tcpProxy) accept() {
	for {
		client, err := p.listener.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			p.log.Warn("accept", "port", p.address, "err", err)
			if !companion.Pause(p.ctx, companion.AcceptPause) {
				return
			}
			continue
		}
		p.work.Go(func() { p.carry(client) })
	}
}

// carry connects a client with the service and copies until both have ended.
func (p *tcpProxy) carry(client *net.TCPConn) {
	ctx, cancel := context.WithTimeout(p.ctx, dialPatience)
	conn, err := p.space.Dial(ctx, "tcp", *p.target.Load())
	cancel()
	if err != nil {
		abort(client) // a service that refuses: as near to it as can be
		return
	}
	service := conn.(*net.TCPConn)
	stop := context.AfterFunc(p.ctx, func() {
		abort(client)
		abort(service)
	})
	defer stop()
	var back sync.WaitGroup
	back.Go(func() { copyHalf(client, service) })
	copyHalf(service, client)
	back.Wait()
	client.Close()
	service.Close()
}

// copyHalf copies one direction, in the kernel where it can (splice). The end
// of the stream is passed on as such, the other direction goes on; an error
// breaks both.
func copyHalf(dst, src *net.TCPConn) {
	if _, err := io.Copy(dst, src); err != nil {
		abort(dst)
		abort(src)
		return
	}
	_ = dst.CloseWrite() // fails where the other direction has broken both
}

// abort closes with a reset, so that the other side sees an error, not an end.
func abort(c *net.TCPConn) {
	_ = c.SetLinger(0)
	c.Close()
}
