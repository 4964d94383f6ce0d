package network

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/lepto-dev/lepto/internal/backend"
)

func BenchmarkCreateDestroy(b *testing.B) {
	cfg := newConfig(b)
	for b.Loop() {
		n, err := Create(b.Context(), cfg)
		check(b, err)
		check(b, n.Destroy(context.Background()))
	}
}

func BenchmarkCreate(b *testing.B) {
	cfg := newConfig(b)
	for b.Loop() {
		n, err := Create(b.Context(), cfg)
		check(b, err)
		b.StopTimer()
		check(b, n.Destroy(context.Background()))
		b.StartTimer()
	}
}

func BenchmarkOpen(b *testing.B) {
	n := newNetwork(b)
	for b.Loop() {
		again, err := Open(b.Context(), n.cfg)
		check(b, err)
		again.Close()
	}
}

func BenchmarkAddEndpoint(b *testing.B) {
	n := newNetwork(b)
	for b.Loop() {
		_, err := n.AddEndpoint(b.Context(), "s", n.host(2))
		check(b, err)
		b.StopTimer()
		check(b, n.RemoveEndpoint(b.Context(), "s"))
		b.StartTimer()
	}
}

func BenchmarkRemoveEndpoint(b *testing.B) {
	n := newNetwork(b)
	for b.Loop() {
		b.StopTimer()
		_, err := n.AddEndpoint(b.Context(), "s", n.host(2))
		check(b, err)
		b.StartTimer()
		check(b, n.RemoveEndpoint(b.Context(), "s"))
	}
}

// BenchmarkDestroyWithTwenty takes away a network of twenty services with its
// gateway process.
func BenchmarkDestroyWithTwenty(b *testing.B) {
	cfg := newConfig(b)
	for b.Loop() {
		b.StopTimer()
		n, err := Create(b.Context(), cfg)
		check(b, err)
		for i := range 20 {
			_, err := n.AddEndpoint(b.Context(), fmt.Sprint("s", i), n.host(2+i))
			check(b, err)
		}
		_, err = n.Apply(b.Context(), self, Table{})
		check(b, err)
		b.StartTimer()
		check(b, n.Destroy(context.Background()))
	}
}

func BenchmarkDial(b *testing.B) {
	n := newNetwork(b)
	server := addMember(b, n, "a", 2).serve(b, port(n.host(2), 80))
	for b.Loop() {
		conn, err := n.Dial(b.Context(), "tcp", server)
		check(b, err)
		conn.Close()
	}
}

// BenchmarkApplyFirst starts the gateway process.
func BenchmarkApplyFirst(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		n := newNetwork(b)
		b.StartTimer()
		_, err := n.Apply(b.Context(), self, Table{})
		check(b, err)
	}
}

func BenchmarkApplyAgain(b *testing.B) {
	n := newNetwork(b)
	for b.Loop() {
		_, err := n.Apply(b.Context(), self, Table{})
		check(b, err)
	}
}

// BenchmarkGatewayProcess tells the memory of an idle gateway process with 20
// published ports. The program is the test binary: the supervisor has other
// pages of its own, but the same heap.
func BenchmarkGatewayProcess(b *testing.B) {
	n := newNetwork(b)
	rules := make([]Rule, 20)
	for i := range rules {
		rules[i] = publish(n, fmt.Sprint("s", i), 2+i, 80, backend.TCP, netip.AddrPort{})
	}
	for b.Loop() {
		apply(b, n, Table{Publish: rules})
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", gatewayPID(b, n)))
	check(b, err)
	for line := range strings.Lines(string(status)) {
		var name string
		var kilobytes float64
		if _, err := fmt.Sscanf(line, "%s %f kB", &name, &kilobytes); err == nil && strings.Contains(name, "R") && strings.Contains(strings.ToLower(name), "rss") {
			b.ReportMetric(kilobytes, strings.TrimSuffix(name, ":")+"-kB")
		}
	}
}
