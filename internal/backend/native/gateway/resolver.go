package gateway

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// This file asks the host's name servers.

// resolvConf says which they are (resolv.conf(5)).
const resolvConf = "/etc/resolv.conf"

const (
	// askPatience bounds the wait for one name server, before the next. With
	// three of them, the answer comes before a client's usual 5 s are over.
	askPatience = 1500 * time.Millisecond

	// maxServers is how many are asked, as in the C library (MAXNS).
	maxServers = 3

	// recheck is how old knowledge of the file may be.
	recheck = 500 * time.Millisecond
)

// resolver forwards requests to the name servers of the host, from the host's
// network. Messages go through as they are, but for the id.
type resolver struct {
	path string
	self netip.Addr // never asked: that would be a loop

	mu      sync.Mutex
	checked time.Time
	version os.FileInfo // of the file that was read
	servers []netip.AddrPort
}

func newResolver(path string, self netip.Addr) *resolver { return &resolver{path: path, self: self} }

var errNoServer = errors.New("the host names no name server")

// ask gives the first useful answer of the name servers, in their order.
func (r *resolver) ask(ctx context.Context, network string, request []byte) ([]byte, error) {
	err := errNoServer
	var unhappy []byte
	for _, server := range r.current() {
		var response []byte
		response, err = exchange(ctx, network, server, request)
		if err != nil {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			continue
		}
		// A server that can't or won't answer is no reason not to ask the next.
		if code := responseCode(response); code != dnsmessage.RCodeServerFailure && code != dnsmessage.RCodeRefused {
			return response, nil
		}
		unhappy = response
	}
	if unhappy != nil {
		return unhappy, nil
	}
	return nil, err
}

// current gives the name servers, reading the file again when it has changed.
func (r *resolver) current() []netip.AddrPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.checked) < recheck {
		return r.servers
	}
	r.checked = time.Now()
	info, err := os.Stat(r.path)
	if err != nil {
		r.version, r.servers = nil, nil
		return nil
	}
	if r.version != nil && os.SameFile(info, r.version) && info.ModTime().Equal(r.version.ModTime()) && info.Size() == r.version.Size() {
		return r.servers
	}
	r.version, r.servers = info, r.read()
	return r.servers
}

func (r *resolver) read() []netip.AddrPort {
	f, err := os.Open(r.path)
	if err != nil {
		return nil
	}
	defer f.Close()
	var servers []netip.AddrPort
	for lines := bufio.NewScanner(f); lines.Scan() && len(servers) < maxServers; {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		addr, err := netip.ParseAddr(fields[1])
		if err == nil && addr != r.self {
			servers = append(servers, netip.AddrPortFrom(addr, dnsPort))
		}
	}
	return servers
}

// exchange sends a request to one name server and waits for its answer.
func exchange(ctx context.Context, network string, server netip.AddrPort, request []byte) ([]byte, error) {
	if len(request) < dnsHeaderLen {
		return nil, errors.New("request is too short")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, askPatience, fmt.Errorf("name server %s does not answer", server))
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	defer context.AfterFunc(ctx, func() { conn.Close() })()

	// An id that the client can't know, and a port that the kernel chose: a
	// forged answer has to guess both.
	var id [2]byte
	rand.Read(id[:])
	query := append(id[:], request[2:]...)
	var response []byte
	if network == "tcp" {
		response, err = exchangeStream(conn, query)
	} else {
		response, err = exchangeDatagrams(conn, query)
	}
	if err != nil {
		return nil, err
	}
	copy(response, request[:2])
	return response, nil
}

func exchangeStream(conn net.Conn, query []byte) ([]byte, error) {
	if err := writeFramed(conn, query); err != nil {
		return nil, err
	}
	response, err := readFramed(conn)
	if err == nil && !answers(response, query) {
		err = errors.New("answer to something else")
	}
	return response, err
}

func exchangeDatagrams(conn net.Conn, query []byte) ([]byte, error) {
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	buf := datagrams.Get().(*[]byte)
	defer datagrams.Put(buf)
	for {
		n, err := conn.Read(*buf)
		if err != nil {
			return nil, err
		}
		if answers((*buf)[:n], query) {
			return append([]byte(nil), (*buf)[:n]...), nil
		}
	}
}

// answers reports whether response belongs to query, by id.
func answers(response, query []byte) bool {
	return len(response) >= dnsHeaderLen && response[2]&0x80 != 0 &&
		binary.BigEndian.Uint16(response) == binary.BigEndian.Uint16(query)
}

func responseCode(response []byte) dnsmessage.RCode { return dnsmessage.RCode(response[3] & 0x0f) }
