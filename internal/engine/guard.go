package engine

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"

	"connectrpc.com/connect"
)

// This file decides who may call on loopback addresses, which every user and
// every browser of the machine can reach. The Unix socket needs none of it: its
// file mode says who may.

// guard lets through callers that run as owner or root, and refuses requests
// that a web page made.
type guard struct {
	owner uint32
	next  http.Handler
	// refused is told of callers that were turned away; may be nil.
	refused func(r *http.Request, err error)
}

var errorWriter = connect.NewErrorWriter()

// ServeHTTP passes the request on, or answers why not in the caller's protocol.
func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := errors.Join(checkPage(r), g.checkCaller(r))
	if err == nil {
		g.next.ServeHTTP(w, r)
		return
	}
	if g.refused != nil {
		g.refused(r, err)
	}
	if errorWriter.IsSupported(r) {
		_ = errorWriter.Write(w, r, connect.NewError(connect.CodePermissionDenied, err))
		return
	}
	http.Error(w, err.Error(), http.StatusForbidden)
}

// checkCaller asks who owns the caller's socket.
func (g *guard) checkCaller(r *http.Request) error {
	client, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return fmt.Errorf("unknown caller %q", r.RemoteAddr)
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok {
		return errors.New("unknown caller: not on a TCP socket")
	}
	uid, err := peerUID(client, local.AddrPort())
	if err != nil {
		return fmt.Errorf("unknown caller: %w", err)
	}
	if uid != 0 && uid != g.owner {
		return fmt.Errorf("user %d may not use this engine: it belongs to user %d", uid, g.owner)
	}
	return nil
}

// checkPage refuses what a browser sends for a web page. A page of any site can
// make requests to loopback addresses, with the user's own socket: it says so in
// Origin and Sec-Fetch-Site. Where the site's own name was made to point here
// (DNS rebinding), the page's origin matches, but the name in Host is not ours.
func checkPage(r *http.Request) error {
	if !isLoopbackName(r.Host) {
		return fmt.Errorf("host %q is not a name of this machine's loopback", r.Host)
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		u, err := url.Parse(origin)
		if err != nil || u.Scheme != "http" || u.Host != r.Host {
			return fmt.Errorf("requests of pages from %q are refused", origin)
		}
	}
	switch site := r.Header.Get("Sec-Fetch-Site"); site {
	case "", "none", "same-origin":
		return nil
	default:
		return fmt.Errorf("requests of other pages (%s) are refused", site)
	}
}

func isLoopbackName(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}
