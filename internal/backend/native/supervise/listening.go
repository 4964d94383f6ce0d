package supervise

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// Listening tells which sockets the container's network namespace listens on,
// sorted. nil, and no error, where it shares the host's.
func (h *Handle) Listening(ctx context.Context) ([]backend.Listening, error) {
	spec, err := ReadSpec(h.dir)
	if err != nil {
		return nil, err
	}
	if spec.NetNS == "" {
		return nil, nil
	}
	state, err := h.State(ctx)
	if err != nil {
		return nil, err
	}
	if !state.Running() {
		return nil, fmt.Errorf("container is %s: %w", state.Phase, fault.ErrNotRunning)
	}
	return listening("/proc/" + strconv.Itoa(state.PID) + "/net/")
}

// sources are the kernel's tables: proc_net(5). A TCP socket listens in state
// 0A; a UDP socket that is bound and not connected is in state 07.
var sources = []struct {
	name  string
	proto backend.Transport
	state string
}{
	{"tcp", backend.TCP, "0A"}, {"tcp6", backend.TCP, "0A"},
	{"udp", backend.UDP, "07"}, {"udp6", backend.UDP, "07"},
}

func listening(dir string) ([]backend.Listening, error) {
	out := []backend.Listening{}
	for _, s := range sources {
		f, err := os.Open(dir + s.name)
		if os.IsNotExist(err) {
			continue // no IPv6
		}
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			fields := strings.Fields(lines.Text())
			if len(fields) < 4 || fields[3] != s.state {
				continue
			}
			if addr, ok := parseAddr(fields[1]); ok && addr.Port() != 0 {
				out = append(out, backend.Listening{Proto: s.proto, Addr: addr})
			}
		}
		f.Close()
		if err := lines.Err(); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(out, func(a, b backend.Listening) int {
		if c := strings.Compare(string(a.Proto), string(b.Proto)); c != 0 {
			return c
		}
		return a.Addr.Compare(b.Addr)
	})
	return slices.Compact(out), nil
}

// parseAddr reads "0100007F:1F90": the address in words of 32 bits as the
// machine stores them, and the port.
func parseAddr(text string) (netip.AddrPort, bool) {
	ip, port, ok := strings.Cut(text, ":")
	raw, err := hex.DecodeString(ip)
	n, perr := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil || perr != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	addr, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), ok
}
