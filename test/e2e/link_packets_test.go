package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/backend/backendtest/bounds"
)

// This file sends what is not an ordinary packet, and packets without a pause while
// rules change.

// arrived gives the milliseconds that the datagrams took which have reached a service.
func (w *world) arrived(enclave, service string) []float64 {
	w.t.Helper()
	var list []struct{ MS float64 }
	must(w.t, json.Unmarshal([]byte(w.lab(enclave, service, "dump")), &list))
	out := make([]float64, 0, len(list))
	for _, a := range list {
		out = append(out, a.MS)
	}
	return out
}

// arrive waits until n packets have arrived.
func (w *world) arrive(enclave, service string, n int) (took []float64) {
	w.t.Helper()
	eventually(w.t, fmt.Sprintf("%d packets arrive at %s", n, service), func() bool {
		took = w.arrived(enclave, service)
		return len(took) >= n
	})
	if len(took) > n {
		w.t.Errorf("%d packets have arrived at %s, where %d were sent", len(took), service, n)
	}
	return took
}

// What goes to several at once goes to each by the rule for the two.
func TestCastsFollowTheRules(t *testing.T) {
	w := newLinkWorld(t)
	w.ok("run", w.script(quartet), "--enclave", "q", "--show-enclave-inspect=false")
	subnet := netip.PrefixFrom(netip.MustParseAddr(w.service("q", "a").IP), 22).Masked().Addr().As4()
	broadcast := netip.AddrFrom4([4]byte{subnet[0], subnet[1], subnet[2] + 3, 255}).String()
	for _, to := range []string{"255.255.255.255", broadcast, "239.7.0.1"} {
		send := func() {
			for _, service := range []string{"b", "c", "d"} {
				w.lab("q", service, "reset")
			}
			w.lab("q", "a", "send", to, "50", "1ms", "100")
		}
		w.ok("link", "set", "q", "one", "two", "--block")
		send()
		w.arrive("q", "c", 50)
		w.arrive("q", "d", 50)
		if got := len(w.arrived("q", "b")); got != 0 {
			t.Errorf("%s, b is blocked: %d of 50 packets come to it", to, got)
		}
		w.ok("link", "set", "q", "one", "two", "--delay", "100ms")
		send()
		if x := w.arrive("q", "b", 50); least(x) < 99.9 { // the relay's clock ticks every 0.066 ms
			t.Errorf("%s, b is 100 ms away: the fastest packet took %.1f ms", to, least(x))
		}
		if x := w.arrive("q", "c", 50); least(x) > late(50) {
			t.Errorf("%s: the fastest packet to c took %.1f ms", to, least(x))
		}
		w.ok("link", "heal", "q")
		send()
		if x := w.arrive("q", "b", 50); least(x) > late(50) {
			t.Errorf("%s, healed: the fastest packet took %.1f ms", to, least(x))
		}
	}
}

// Datagrams of many fragments arrive, late and whole.
func TestLargeDatagramsAreShaped(t *testing.T) {
	w := newLinkWorld(t)
	w.ok("run", w.script(quartet), "--enclave", "q", "--show-enclave-inspect=false")
	w.ok("link", "set", "q", "one", "two", "--delay", "30ms")
	// With pauses: a socket has room for three of these, and drops more where its reader
	// has to wait for a processor. Each is 41 packets: were some of these lost, few would be whole.
	w.lab("q", "a", "send", "b", "50", bounds.Wide(10*time.Millisecond).String(), "60000")
	eventually(t, "most of 50 datagrams arrive", func() bool { return len(w.arrived("q", "b")) > 25 })
	if x := w.arrived("q", "b"); least(x) < 29.9 {
		t.Errorf("the fastest datagram took %.1f ms", least(x))
	}
}

// However rules and subnetworks change, from one that blocks to another, no packet
// finds a moment between the two; nor does one when the service is another process.
func TestNoPacketSlipsBetweenRules(t *testing.T) {
	w := newLinkWorld(t)
	w.ok("run", w.script(quartet), "--enclave", "q", "--show-enclave-inspect=false")
	w.ok("link", "set", "q", "one", "two", "--block")
	w.ok("link", "set", "q", "one", "four", "--block")
	w.lab("q", "b", "reset")
	flood := w.command("service", "exec", "q", "a", "--", "/lab", "flood", "b", "1h", "64")
	must(t, flood.Start())
	defer func() {
		_ = flood.Process.Kill()
		_ = flood.Wait()
	}()
	for began := time.Now(); time.Since(began) < 3*time.Second; {
		for _, change := range []string{
			"move q b four", "move q b two", "set q --block", "rm q one two", "move q b five", "set q one five --loss 100", "set q --allow",
			"set q one two --block", "move q b two", "set q two three --delay 1ms", "move q d one", "move q d three",
		} {
			w.ok(append([]string{"link"}, strings.Fields(change)...)...)
		}
	}
	if got := w.lab("q", "b", "count"); got != "0" {
		t.Errorf("%s packets found a way", got)
	}
	w.ok("service", "stop", "q", "b")
	w.ok("service", "start", "q", "b")
	if got := w.lab("q", "b", "count"); got != "0" {
		t.Errorf("after a restart of the service, %s packets found a way", got)
	}
	w.ok("link", "heal", "q")
	eventually(t, "packets arrive when all is healed", func() bool { return w.lab("q", "b", "count") != "0" })
}
