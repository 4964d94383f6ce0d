package memory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file is the enclave's network: pipes between a dialler and a listener,
// and real sockets on the host for published ports.

type portKey struct {
	proto backend.Transport
	port  uint16
}

// listener is an open port of a service.
type listener struct {
	svc     *service
	key     portKey
	pending chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

func (r *process) listen(svc *service, proto backend.Transport, port uint16) (net.Listener, error) {
	key := portKey{proto, port}
	l := &listener{svc: svc, key: key, pending: make(chan net.Conn), closed: make(chan struct{})}
	svc.mu.Lock()
	defer svc.mu.Unlock()
	if svc.ports[key] != nil {
		return nil, fmt.Errorf("listen on %s port %d: %w", proto, port, syscall.EADDRINUSE)
	}
	svc.ports[key] = l
	r.mu.Lock()
	r.listeners = append(r.listeners, l)
	r.mu.Unlock()
	return l, nil
}

// Accept waits for the next connection.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.pending:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close closes the port.
func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.svc.mu.Lock()
		defer l.svc.mu.Unlock()
		if l.svc.ports[l.key] == l {
			delete(l.svc.ports, l.key)
		}
	})
	return nil
}

// Addr is the service's address and the port.
func (l *listener) Addr() net.Addr {
	at := netip.AddrPortFrom(l.svc.address.IP, l.key.port)
	if l.key.proto == backend.UDP {
		return net.UDPAddrFromAddrPort(at)
	}
	return net.TCPAddrFromAddrPort(at)
}

// dial connects to a port of the service. As with real sockets nothing answers
// for a closed TCP port, and a datagram to a closed UDP port is just lost.
func (s *service) dial(ctx context.Context, proto backend.Transport, port uint16) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	s.mu.Lock()
	l := s.ports[portKey{proto, port}]
	s.mu.Unlock()
	near, far := net.Pipe()
	if l == nil {
		if proto == backend.UDP {
			go func() { _, _ = io.Copy(io.Discard, far) }() // ends with near
			return near, nil
		}
		return nil, fmt.Errorf("dial %s port %d of %q: %w", proto, port, s.spec.Name, syscall.ECONNREFUSED)
	}
	select {
	case l.pending <- far:
		return near, nil
	case <-l.closed:
		return nil, fmt.Errorf("dial %s port %d of %q: %w", proto, port, s.spec.Name, syscall.ECONNREFUSED)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// published is a port on the host that leads to a service.
type published struct {
	backend.Published
	close func()
}

// publish opens the port on the host: a real listener, so that a test can talk
// to a service as a user would.
func (s *service) publish(p backend.Publish) (*published, error) {
	if p.Proto != backend.TCP {
		return nil, fault.New("E0421", "publish %s port %d of %q: the memory backend publishes TCP only: %w", p.Proto, p.Port, s.spec.Name, fault.ErrUnsupported)
	}
	ip := p.HostIP
	if !ip.IsValid() {
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, p.HostPort)))
	if err != nil {
		return nil, fault.New("E0421", "publish port %q of %q: %w", p.ID, s.spec.Name, err)
	}
	out := &published{Published: backend.Published{
		ID: p.ID, Port: p.Port, Proto: p.Proto, Host: l.Addr().(*net.TCPAddr).AddrPort(),
	}}
	var work sync.WaitGroup
	ctx, cancel := context.WithCancelCause(context.Background())
	work.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() { s.forward(ctx, conn, p.Port) })
		}
	})
	out.close = func() {
		l.Close()
		cancel(net.ErrClosed)
		work.Wait()
	}
	return out, nil
}

func (s *service) forward(ctx context.Context, conn net.Conn, port uint16) {
	defer conn.Close()
	inside, err := s.dial(ctx, backend.TCP, port)
	if err != nil {
		return
	}
	defer inside.Close()
	defer context.AfterFunc(ctx, func() { conn.Close(); inside.Close() })()
	var both sync.WaitGroup
	for _, pair := range [][2]net.Conn{{conn, inside}, {inside, conn}} {
		both.Go(func() {
			if _, err := io.Copy(pair[0], pair[1]); err == nil || !errors.Is(err, net.ErrClosed) {
				pair[0].Close() // a pipe has no half-close: the end of one side ends both
			}
		})
	}
	both.Wait()
}
