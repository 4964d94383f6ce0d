package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

var (
	testSubnet = netip.MustParsePrefix("172.16.0.0/22")
	testHosts  = newHostIndex(map[string]netip.Addr{
		"db":    netip.MustParseAddr("172.16.0.2"),
		"my_db": netip.MustParseAddr("172.16.0.3"),
		"API":   netip.MustParseAddr("172.16.0.4"),
		"twin":  netip.MustParseAddr("172.16.0.4"),
	})
)

func request(t testing.TB, name string, kind dnsmessage.Type) []byte {
	t.Helper()
	n, err := dnsmessage.NewName(name)
	check(t, err)
	message := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 7, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: n, Type: kind, Class: dnsmessage.ClassINET}},
	}
	packed, err := message.Pack()
	check(t, err)
	return packed
}

func TestAnswer(t *testing.T) {
	const a, aaaa, ptr, mx = dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypePTR, dnsmessage.TypeMX
	for _, c := range []struct {
		name string
		kind dnsmessage.Type
		want string // "ask", or the code and the answers
	}{
		{"db.", a, "RCodeSuccess 172.16.0.2"},
		{"dB.", a, "RCodeSuccess 172.16.0.2"},
		{"my_db.", a, "RCodeSuccess 172.16.0.3"},
		{"api.", a, "RCodeSuccess 172.16.0.4"},
		{"API.Enclave.", a, "RCodeSuccess 172.16.0.4"},
		{"db.", dnsmessage.TypeALL, "RCodeSuccess 172.16.0.2"},
		{"db.", aaaa, "RCodeSuccess"},
		{"db.enclave.", mx, "RCodeSuccess"},
		{"nobody.enclave.", a, "RCodeNameError"},
		{"a.db.enclave.", a, "RCodeNameError"},
		{"enclave.", a, "RCodeNameError"},
		{"nobody.", a, "ask"},
		{"db.example.org.", a, "ask"},
		{"myenclave.", a, "ask"},
		{".", a, "ask"},
		{"2.0.16.172.in-addr.arpa.", ptr, "RCodeSuccess db.enclave."},
		{"4.0.16.172.in-addr.arpa.", ptr, "RCodeSuccess api.enclave."},
		{"2.0.16.172.in-addr.arpa.", a, "RCodeSuccess"},
		{"9.0.16.172.in-addr.arpa.", ptr, "RCodeNameError"},
		{"1.2.0.192.in-addr.arpa.", ptr, "ask"},
		{"02.0.16.172.in-addr.arpa.", ptr, "ask"},
		{"0.16.172.in-addr.arpa.", ptr, "ask"},
	} {
		response, what := testHosts.answer(request(t, c.name, c.kind), testSubnet)
		got := "ask"
		if what == respond {
			got = describe(t, response)
		}
		if got != c.want {
			t.Errorf("%s %s: %s, want %s", c.name, c.kind, got, c.want)
		}
	}
}

func describe(t testing.TB, response []byte) string {
	t.Helper()
	var m dnsmessage.Message
	check(t, m.Unpack(response))
	if m.ID != 7 || !m.Response {
		t.Errorf("header is %v", m.Header.GoString())
	}
	out := strings.TrimPrefix(m.RCode.GoString(), "dnsmessage.")
	for _, r := range m.Answers {
		switch body := r.Body.(type) {
		case *dnsmessage.AResource:
			out += " " + netip.AddrFrom4(body.A).String()
		case *dnsmessage.PTRResource:
			out += " " + body.PTR.String()
		}
	}
	return out
}

func TestAnswerToWhatIsNoQuestion(t *testing.T) {
	good := request(t, "db.", dnsmessage.TypeA)
	change := func(i int, b byte) []byte {
		r := append([]byte(nil), good...)
		r[i] = b
		return r
	}
	for _, c := range []struct {
		rule    string
		request []byte
		what    disposition
		code    dnsmessage.RCode
	}{
		{"nothing", nil, discard, 0},
		{"half a header", good[:5], discard, 0},
		{"a response", change(2, 0x81), discard, 0},
		{"an update", change(2, 0x28), respond, dnsmessage.RCodeNotImplemented},
		{"no question", change(5, 0)[:12], respond, dnsmessage.RCodeFormatError},
		{"half a question", good[:14], respond, dnsmessage.RCodeFormatError},
		{"another class", change(len(good)-1, 3), ask, 0},
	} {
		response, what := testHosts.answer(c.request, testSubnet)
		if what != c.what || what == respond && responseCode(response) != c.code {
			t.Errorf("%s: disposition %d, response %x", c.rule, what, response)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	for _, name := range []string{"db.", "my_db.enclave.", "2.0.16.172.in-addr.arpa.", "example.org."} {
		f.Add(request(f, name, dnsmessage.TypeA))
		f.Add(request(f, name, dnsmessage.TypePTR))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		response, what := testHosts.answer(message, testSubnet)
		if what == respond {
			var p dnsmessage.Parser
			header, err := p.Start(response)
			if err != nil || !header.Response {
				t.Fatalf("response %x: %v", response, err)
			}
			if response[0] != message[0] || response[1] != message[1] {
				t.Fatal("response has another id")
			}
			if len(response) > 512 {
				t.Fatalf("response of %d bytes does not fit into any datagram", len(response))
			}
		}
		if what == ask {
			if r := refusal(message); len(r) < dnsHeaderLen || responseCode(r) != dnsmessage.RCodeServerFailure {
				t.Fatalf("refusal %x", r)
			}
		}
	})
}

// nameServer is a fake one on a loopback address, port 53.
type nameServer struct {
	addr  string
	asked atomic.Int32
}

func startNameServer(t *testing.T, addr string, code dnsmessage.RCode) *nameServer {
	t.Helper()
	s := &nameServer{addr: addr}
	reply := func(query []byte) []byte {
		s.asked.Add(1)
		response := append([]byte(nil), query...)
		response[2], response[3] = 0x81, 0x80|byte(code)
		return response
	}
	udp, _ := listenUDP(t, netip.MustParseAddrPort(addr+":53"))
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := udp.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			forged := append(reply(buf[:n]), "forged"...)
			forged[0] ^= 1 // an answer to something else comes first
			udp.WriteToUDPAddrPort(forged, from)
			udp.WriteToUDPAddrPort(reply(buf[:n]), from)
			s.asked.Add(-1)
		}
	}()
	tcp, err := net.Listen("tcp", addr+":53")
	check(t, err)
	t.Cleanup(func() { tcp.Close() })
	go func() {
		for {
			conn, err := tcp.Accept()
			if err != nil {
				return
			}
			if query, err := readFramed(conn); err == nil {
				writeFramed(conn, reply(query))
			}
			conn.Close()
		}
	}()
	return s
}

func resolverOf(t *testing.T, servers ...string) *resolver {
	t.Helper()
	path := filepath.Join(t.TempDir(), "resolv.conf")
	writeServers(t, path, servers...)
	return newResolver(path, netip.MustParseAddr("127.0.0.99"))
}

func writeServers(t *testing.T, path string, servers ...string) {
	t.Helper()
	content := "# a comment\nsearch example\noptions edns0\n"
	for _, s := range servers {
		content += "nameserver " + s + "\n"
	}
	check(t, os.WriteFile(path, []byte(content), 0o600))
}

func TestResolver(t *testing.T) {
	good := startNameServer(t, "127.0.0.10", dnsmessage.RCodeSuccess)
	sick := startNameServer(t, "127.0.0.11", dnsmessage.RCodeServerFailure)
	const absent, self = "127.0.0.12", "127.0.0.99"
	query := request(t, "example.org.", dnsmessage.TypeA)
	for _, network := range []string{"udp", "tcp"} {
		for _, c := range []struct {
			rule    string
			servers []string
			want    string
		}{
			{"the first that answers", []string{good.addr}, "RCodeSuccess"},
			{"a refused connection is passed over", []string{absent, good.addr}, "RCodeSuccess"},
			{"a failure too", []string{sick.addr, good.addr}, "RCodeSuccess"},
			{"it stands where all fail", []string{sick.addr, absent}, "RCodeServerFailure"},
			{"the gateway itself is not asked", []string{self}, errNoServer.Error()},
			{"without any server there is no wait", nil, errNoServer.Error()},
		} {
			response, err := resolverOf(t, c.servers...).ask(t.Context(), network, query)
			got := fmt.Sprint(err)
			if err == nil {
				got = describe(t, response)
			}
			if got != c.want {
				t.Errorf("%s, %s: %s, want %s", network, c.rule, got, c.want)
			}
		}
	}
}

func TestResolverReadsTheFileAgain(t *testing.T) {
	r := resolverOf(t, "127.0.0.10")
	if got := fmt.Sprint(r.current()); got != "[127.0.0.10:53]" {
		t.Fatalf("servers are %s", got)
	}
	writeServers(t, r.path, "127.0.0.11", "fd00::1", "not-an-address", "127.0.0.12", "127.0.0.13")
	r.checked = time.Time{}
	if got := fmt.Sprint(r.current()); got != "[127.0.0.11:53 [fd00::1]:53 127.0.0.12:53]" {
		t.Errorf("servers are %s", got)
	}
	check(t, os.Remove(r.path))
	r.checked = time.Time{}
	if got := fmt.Sprint(r.current()); got != "[]" {
		t.Errorf("servers are %s", got)
	}
}

func TestResolverEndsWithItsContext(t *testing.T) {
	listenUDP(t, netip.MustParseAddrPort("127.0.0.13:53")) // never answers
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(cause) })
	_, err := resolverOf(t, "127.0.0.13").ask(ctx, "udp", request(t, "example.org.", dnsmessage.TypeA))
	if !errors.Is(err, cause) {
		t.Errorf("error %v", err)
	}
}

func BenchmarkAnswer(b *testing.B) {
	query := request(b, "my_db.enclave.", dnsmessage.TypeA)
	for b.Loop() {
		testHosts.answer(query, testSubnet)
	}
}
