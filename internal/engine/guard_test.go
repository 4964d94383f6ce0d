package engine

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// connectTo makes a TCP connection from a client socket of the given family to a
// listener on 127.0.0.1, and gives both of the client's ends.
func connectTo(t *testing.T, family int) (fd int, client, server netip.AddrPort) {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	port := listener.Addr().(*net.TCPAddr).Port
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var to unix.Sockaddr = &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
	if family == unix.AF_INET6 {
		to = &unix.SockaddrInet6{Port: port, Addr: netip.MustParseAddr("::ffff:127.0.0.1").As16()}
	}
	if err := unix.Connect(fd, to); err != nil {
		t.Fatal(err)
	}
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { accepted.Close() })
	return fd, netip.MustParseAddrPort(accepted.RemoteAddr().String()), netip.MustParseAddrPort(accepted.LocalAddr().String())
}

func TestPeerUID(t *testing.T) {
	for name, family := range map[string]int{"IPv4": unix.AF_INET, "IPv4 in IPv6": unix.AF_INET6} {
		t.Run(name, func(t *testing.T) {
			fd, client, server := connectTo(t, family)
			defer unix.Close(fd)
			// A socket's owner can be somebody else than this process.
			if err := unix.Fchown(fd, 4321, -1); err != nil {
				t.Fatal(err)
			}
			if uid, err := peerUID(client, server); err != nil || uid != 4321 {
				t.Errorf("uid %d, %v", uid, err)
			}
		})
	}
}

// TestPeerUIDOfClosedSocket closes the client's socket: the kernel calls root its
// owner then, and nobody must be taken for root by that.
func TestPeerUIDOfClosedSocket(t *testing.T) {
	fd, client, server := connectTo(t, unix.AF_INET)
	if err := unix.Fchown(fd, 4321, -1); err != nil {
		t.Fatal(err)
	}
	if err := unix.Close(fd); err != nil {
		t.Fatal(err)
	}
	if uid, err := peerUID(client, server); !errors.Is(err, errNoPeer) {
		t.Errorf("uid %d, %v", uid, err)
	}
}

// TestPeerUIDOfListener asks for a connection that isn't there, from a port that
// somebody listens on.
func TestPeerUIDOfListener(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client := netip.MustParseAddrPort(listener.Addr().String())
	if uid, err := peerUID(client, netip.MustParseAddrPort("127.0.0.1:1")); !errors.Is(err, errNoPeer) {
		t.Errorf("uid %d, %v", uid, err)
	}
}

func TestGuard(t *testing.T) {
	me := uint32(os.Geteuid())
	for _, c := range []struct {
		name   string
		owner  uint32
		host   string
		header map[string]string
		want   int
	}{
		{"the owner", me, "", nil, 200},
		{"by name", me, "localhost:1", nil, 200},
		{"another address of the loopback", me, "127.1.2.3", nil, 200},
		{"a name made to point here", me, "evil.example:9710", nil, 403},
		{"a name that begins well", me, "localhost.evil.example", nil, 403},
		{"a page of another site", me, "", map[string]string{"Origin": "https://evil.example"}, 403},
		{"a page without an origin of its own", me, "", map[string]string{"Origin": "null"}, 403},
		{"a page of another port here", me, "127.0.0.1:9710", map[string]string{"Origin": "http://127.0.0.1:8080"}, 403},
		{"our own page", me, "127.0.0.1:9710", map[string]string{"Origin": "http://127.0.0.1:9710", "Sec-Fetch-Site": "same-origin"}, 200},
		{"a page of another site that hides its origin", me, "", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			ok := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
			server := httptest.NewServer(&guard{owner: c.owner, next: ok})
			defer server.Close()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = c.host
			for key, value := range c.header {
				req.Header.Set(key, value)
			}
			res, err := server.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != c.want {
				t.Errorf("status %d", res.StatusCode)
			}
		})
	}
}

func TestLoopbackSetting(t *testing.T) {
	for _, c := range []struct{ configured, environment, want string }{
		{"127.0.0.1:9710", "", "127.0.0.1:9710"},
		{"127.0.0.1:9710", "off", ""},
		{"", "", ""},
		{"", "9999", "127.0.0.1:9999"},
		{"127.0.0.1:9710", "0", "127.0.0.1:0"},
		{"127.0.0.1:9710", "localhost:1234", "127.0.0.1:1234"},
		{"", "[::1]:9710", "[::1]:9710"},
	} {
		if got, err := loopbackSetting(c.configured, c.environment); err != nil || got != c.want {
			t.Errorf("%q, %q: %q, %v", c.configured, c.environment, got, err)
		}
	}
	for _, bad := range []string{"0.0.0.0:9710", "192.0.2.1:80", "nonsense", strconv.Itoa(1 << 20)} {
		if got, err := loopbackSetting("", bad); err == nil {
			t.Errorf("%q is taken: %q", bad, got)
		}
	}
}
