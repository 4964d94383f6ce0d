package gateway

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
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

// This file is the DNS server: sockets in the enclave's network.

const (
	dnsPort = 53

	// maxRequest bounds a request over UDP. Requests are a name and a few
	// options.
	maxRequest = 4096

	// maxAsking bounds the requests that wait for the host's name servers; a
	// request beyond is refused at once. Names of the table never wait.
	maxAsking = 256

	// maxDNSConns bounds connections over TCP; further ones wait to be accepted.
	maxDNSConns = 64

	// dnsIdle ends a TCP connection without requests (RFC 7766 leaves it to us).
	dnsIdle = 10 * time.Second
)

type dnsServer struct {
	hosts   atomic.Pointer[hostIndex]
	setting Setting
	resolve *resolver
	log     *slog.Logger

	udp    *net.UDPConn
	tcp    *net.TCPListener
	asking chan struct{}
	work   sync.WaitGroup
	cancel context.CancelCauseFunc
}

// startDNS listens on the gateway address and serves until close.
func startDNS(ctx context.Context, space *netspace.Space, setting Setting, log *slog.Logger) (*dnsServer, error) {
	addr := netip.AddrPortFrom(setting.Gateway, dnsPort)
	udp, err := space.ListenUDP(addr)
	if err != nil {
		return nil, fmt.Errorf("dns: %w", err)
	}
	tcp, err := space.ListenTCP(addr)
	if err != nil {
		udp.Close()
		return nil, fmt.Errorf("dns: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	s := &dnsServer{
		setting: setting,
		resolve: newResolver(resolvConf, setting.Gateway),
		log:     log,
		udp:     udp,
		tcp:     tcp,
		asking:  make(chan struct{}, maxAsking),
		cancel:  cancel,
	}
	s.hosts.Store(newHostIndex(nil))
	s.work.Go(func() { s.serveUDP(ctx) })
	s.work.Go(func() { s.serveTCP(ctx) })
	return s, nil
}

func (s *dnsServer) close() {
	s.cancel(errClosed)
	s.udp.Close()
	s.tcp.Close()
	s.work.Wait()
}

func (s *dnsServer) serveUDP(ctx context.Context) {
	buf := make([]byte, maxRequest)
	for {
		n, from, err := s.udp.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // of one datagram, such as an ICMP error for an answer
		}
		response, what := s.hosts.Load().answer(buf[:n], s.setting.Subnet)
		switch what {
		case respond:
			s.send(response, from)
		case ask:
			s.askFor(ctx, append([]byte(nil), buf[:n]...), from)
		}
	}
}

// send answers over UDP. An answer that gets lost is asked for again.
func (s *dnsServer) send(response []byte, to netip.AddrPort) {
	_, _ = s.udp.WriteToUDPAddrPort(response, to)
}

// askFor forwards a request and sends the answer, without holding up others.
func (s *dnsServer) askFor(ctx context.Context, request []byte, from netip.AddrPort) {
	select {
	case s.asking <- struct{}{}:
	default:
		s.send(refusal(request), from)
		return
	}
	s.work.Go(func() {
		defer func() { <-s.asking }()
		s.send(s.forward(ctx, "udp", request), from)
	})
}

// forward gives the name servers' answer, or a refusal.
func (s *dnsServer) forward(ctx context.Context, network string, request []byte) []byte {
	response, err := s.resolve.ask(ctx, network, request)
	if err != nil {
		s.log.Debug("name servers", "err", err)
		return refusal(request)
	}
	return response
}

func (s *dnsServer) serveTCP(ctx context.Context) {
	slots := make(chan struct{}, maxDNSConns)
	for {
		slots <- struct{}{} // conns end after dnsIdle at the latest
		conn, err := s.tcp.Accept()
		if err != nil {
			<-slots
			if errors.Is(err, net.ErrClosed) || !companion.Pause(ctx, companion.AcceptPause) {
				return
			}
			continue
		}
		s.work.Go(func() {
			defer func() { <-slots }()
			s.serveConn(ctx, conn)
		})
	}
}

// serveConn answers requests with a length before each (RFC 1035 §4.2.2).
func (s *dnsServer) serveConn(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	for {
		_ = conn.SetDeadline(time.Now().Add(dnsIdle))
		request, err := readFramed(conn)
		if err != nil {
			return
		}
		response, what := s.hosts.Load().answer(request, s.setting.Subnet)
		if what == ask {
			response = s.forward(ctx, "tcp", request)
		}
		if what == discard || writeFramed(conn, response) != nil {
			return
		}
	}
}

func readFramed(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(r, message)
	return message, err
}

func writeFramed(w io.Writer, message []byte) error {
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(message)), uint16(len(message)))
	_, err := w.Write(append(framed, message...))
	return err
}
