package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

func tcpRule(id string, host, target netip.AddrPort) Rule {
	return Rule{Service: "s", ID: id, Proto: backend.TCP, Host: host, Target: target}
}

func (p *publisher) portOf(id string) netip.AddrPort { return p.active[ruleKey{"s", id}].bound() }

func readAll(t testing.TB, addr netip.AddrPort) string {
	t.Helper()
	data, err := io.ReadAll(dialTCP(t, addr))
	if err != nil {
		return err.Error()
	}
	return string(data)
}

func TestPublisherKeepsPorts(t *testing.T) {
	p := newTestPublisher(t)
	one, two := greet(t, "one"), greet(t, "two")
	check(t, p.apply([]Rule{tcpRule("a", netip.AddrPort{}, one)}))
	first := p.portOf("a")
	check(t, p.apply([]Rule{tcpRule("b", netip.AddrPort{}, one), tcpRule("a", netip.AddrPort{}, two)}))
	if p.portOf("a") != first {
		t.Errorf("port was %s, is %s", first, p.portOf("a"))
	}
	if got := readAll(t, first); got != "two" {
		t.Errorf("the new target is %s", got)
	}
	check(t, p.apply([]Rule{tcpRule("a", first, two)})) // asking for what it has
	if got := readAll(t, first); got != "two" {
		t.Errorf("got %s", got)
	}
	check(t, p.apply([]Rule{tcpRule("c", first, one)})) // in place of the one that goes
	if got := readAll(t, first); got != "one" {
		t.Errorf("the port of a rule that went serves %s", got)
	}
}

func TestPublisherAppliesAllOrNothing(t *testing.T) {
	p := newTestPublisher(t)
	target := greet(t, "target")
	_, taken := listenTCP(t)
	check(t, p.apply([]Rule{tcpRule("a", netip.AddrPort{}, target), tcpRule("b", netip.AddrPort{}, target)}))
	a, b := p.portOf("a"), p.portOf("b")
	err := p.apply([]Rule{
		tcpRule("b", netip.AddrPort{}, target),
		tcpRule("new", a, target), // has the port of "a", which goes
		tcpRule("impossible", taken, target),
	})
	var f *fault.Fault
	if !errors.As(err, &f) || f.Code != "E0420" || !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("error %v", err)
	}
	if len(p.active) != 2 || p.portOf("a") != a || p.portOf("b") != b {
		t.Fatalf("published are %v", p.all())
	}
	for _, port := range []netip.AddrPort{a, b} {
		if got := readAll(t, port); got != "target" {
			t.Errorf("%s serves %s", port, got)
		}
	}
}

func TestPublisherRemembersPorts(t *testing.T) {
	p := newTestPublisher(t)
	target := greet(t, "target")
	check(t, p.apply([]Rule{tcpRule("a", netip.AddrPort{}, target), tcpRule("b", netip.AddrPort{}, target)}))
	ports := p.all()
	a, b := p.portOf("a"), p.portOf("b")
	p.close()
	thief, err := net.Listen("tcp", b.String())
	check(t, err)
	defer thief.Close()

	again := newTestPublisher(t)
	again.remember(ports)
	check(t, again.open(tcpRule("a", netip.AddrPort{}, target)))
	check(t, again.open(tcpRule("b", netip.AddrPort{}, target)))
	if again.portOf("a") != a {
		t.Errorf("port was %s, is %s", a, again.portOf("a"))
	}
	if again.portOf("b") == b || readAll(t, again.portOf("b")) != "target" {
		t.Errorf("a port that was taken meanwhile is %s", again.portOf("b"))
	}
}

func TestTCPHalfClose(t *testing.T) {
	p := newTestPublisher(t)
	ln, target := listenTCP(t)
	go func() {
		conn, err := ln.AcceptTCP()
		if err != nil {
			return
		}
		defer conn.Close()
		data, _ := io.ReadAll(conn) // ends with the client's half
		fmt.Fprintf(conn, "got %s", data)
	}()
	check(t, p.apply([]Rule{tcpRule("a", netip.AddrPort{}, target)}))
	conn := dialTCP(t, p.portOf("a"))
	fmt.Fprint(conn, "all")
	conn.CloseWrite()
	if data, err := io.ReadAll(conn); string(data) != "got all" || err != nil {
		t.Errorf("answer %q, error %v", data, err)
	}
}

func TestTCPPassesResetsOn(t *testing.T) {
	p := newTestPublisher(t)
	ln, target := listenTCP(t)
	go func() {
		conn, err := ln.AcceptTCP()
		if err == nil {
			io.ReadFull(conn, make([]byte, 1))
			abort(conn)
		}
	}()
	check(t, p.apply([]Rule{tcpRule("a", netip.AddrPort{}, target)}))
	conn := dialTCP(t, p.portOf("a"))
	fmt.Fprint(conn, "!")
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("error %v", err)
	}
}

func TestTCPConnectionsEndWithTheirRule(t *testing.T) {
	p := newTestPublisher(t)
	ln, target := listenTCP(t)
	check(t, p.apply([]Rule{tcpRule("a", netip.AddrPort{}, target)}))
	conn := dialTCP(t, p.portOf("a"))
	held, err := ln.Accept()
	check(t, err)
	defer held.Close()
	check(t, p.apply(nil))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("error %v", err)
	}
}

func TestTCPFanOut(t *testing.T) {
	p := newTestPublisher(t)
	ln, target := listenTCP(t)
	go func() {
		for {
			conn, err := ln.AcceptTCP()
			if err != nil {
				return
			}
			go func() {
				io.Copy(conn, conn)
				conn.Close()
			}()
		}
	}()
	check(t, p.apply([]Rule{tcpRule("a", netip.AddrPort{}, target)}))
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			conn, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(p.portOf("a")))
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(2 * patience))
			want := fmt.Sprint("connection ", i)
			fmt.Fprint(conn, want)
			conn.CloseWrite()
			if got, err := io.ReadAll(conn); string(got) != want {
				t.Errorf("%s got %q, error %v", want, got, err)
			}
		})
	}
	all.Wait()
}

func udpRule(host, target netip.AddrPort) Rule {
	return Rule{Service: "s", ID: "u", Proto: backend.UDP, Host: host, Target: target}
}

// exchangeOne sends one datagram and waits for one, asking again: datagrams may
// be lost.
func exchangeOne(t testing.TB, conn net.Conn, question string) string {
	t.Helper()
	buf := make([]byte, 100)
	for range 10 {
		conn.SetDeadline(time.Now().Add(patience / 5))
		fmt.Fprint(conn, question)
		if n, err := conn.Read(buf); err == nil {
			return string(buf[:n])
		}
	}
	t.Fatal("no answer")
	return ""
}

func TestUDP(t *testing.T) {
	p := newTestPublisher(t)
	check(t, p.apply([]Rule{udpRule(netip.AddrPort{}, echo(t, "one "))}))
	port := p.portOf("u")
	a, b := dialUDP(t, port), dialUDP(t, port)
	for range 2 {
		if got := exchangeOne(t, a, "a"); got != "one a" {
			t.Errorf("got %q", got)
		}
		if got := exchangeOne(t, b, "b"); got != "one b" {
			t.Errorf("got %q", got)
		}
	}
	check(t, p.apply([]Rule{udpRule(netip.AddrPort{}, echo(t, "two "))}))
	if got := exchangeOne(t, a, "a"); got != "two a" || p.portOf("u") != port {
		t.Errorf("after the target has changed: %q on %s, was %s", got, p.portOf("u"), port)
	}
}

// TestUDPAnswersFromWhereItWasAsked: a connected client takes nothing else.
func TestUDPAnswersFromWhereItWasAsked(t *testing.T) {
	p := newTestPublisher(t)
	for _, c := range []struct{ on, ask string }{
		{"0.0.0.0:0", "127.0.0.5"},
		{"[::]:0", "::1"},
	} {
		check(t, p.apply([]Rule{udpRule(netip.MustParseAddrPort(c.on), echo(t, ""))}))
		conn := dialUDP(t, netip.AddrPortFrom(netip.MustParseAddr(c.ask), p.portOf("u").Port()))
		if got := exchangeOne(t, conn, "x"); got != "x" {
			t.Errorf("on %s, asked on %s: %q", c.on, c.ask, got)
		}
	}
}

func TestUDPServiceThatListensLater(t *testing.T) {
	p := newTestPublisher(t)
	probe, target := listenUDP(t, local(0))
	probe.Close()
	check(t, p.apply([]Rule{udpRule(netip.AddrPort{}, target)}))
	conn := dialUDP(t, p.portOf("u"))
	fmt.Fprint(conn, "nobody is there")
	service, _ := listenUDP(t, target)
	go func() {
		buf := make([]byte, 100)
		for {
			_, from, err := service.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			service.WriteToUDPAddrPort([]byte("now"), from)
		}
	}()
	if got := exchangeOne(t, conn, "?"); got != "now" {
		t.Errorf("got %q", got)
	}
}

func TestUDPSessionsAreBounded(t *testing.T) {
	target := echo(t, "")
	p, err := newUDPProxy(context.Background(), here(t), local(0), target)
	check(t, err)
	defer p.close()
	for i := range maxSessions + 10 {
		key := sessionKey{client: local(uint16(1000 + i))}
		if p.session(key) == nil {
			t.Fatalf("no session %d", i)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.sessions) != maxSessions {
		t.Errorf("there are %d sessions", len(p.sessions))
	}
	if p.sessions[sessionKey{client: local(1000)}] != nil {
		t.Error("the idlest session is still there")
	}
}

func TestUDPSessionsEndWhenIdle(t *testing.T) {
	p, err := newUDPProxy(context.Background(), here(t), local(0), echo(t, ""))
	check(t, err)
	defer p.close()
	key := sessionKey{client: local(1000)}
	s := p.session(key)
	// As if the last datagram were long ago, and time had come to look.
	s.last.Store(time.Now().Add(-2 * sessionIdle).UnixNano())
	s.service.SetReadDeadline(time.Now())
	deadline := time.Now().Add(patience)
	for {
		p.mu.Lock()
		gone := p.sessions[key] == nil
		p.mu.Unlock()
		if gone {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the session is still there")
		}
		time.Sleep(time.Millisecond)
	}
}

func BenchmarkTCPBulk(b *testing.B) {
	p := newTestPublisher(b)
	ln, target := listenTCP(b)
	go func() {
		conn, err := ln.AcceptTCP()
		if err == nil {
			io.Copy(io.Discard, conn)
		}
	}()
	check(b, p.apply([]Rule{tcpRule("a", netip.AddrPort{}, target)}))
	conn := dialTCP(b, p.portOf("a"))
	conn.SetDeadline(time.Time{})
	block := make([]byte, 1<<20)
	b.SetBytes(int64(len(block)))
	for b.Loop() {
		_, err := conn.Write(block)
		check(b, err)
	}
}
