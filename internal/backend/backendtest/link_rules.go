package backendtest

import (
	"fmt"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/link"
)

var shaping = []backend.Ability{backend.AbilityShapeLinks}

var linkRules = []rule{
	{"a blocked peer does not answer, others do", shaping, func(w *world) {
		w.trio()
		w.shape(link.Topology{}.Set(link.Pair{"a", "b"}, link.Both, link.Blocked))
		w.wantReach("a", "b", false)
		w.wantReach("a", "c", true)
		w.wantReach("b", "c", true)
		w.shape(link.Topology{})
		w.wantReach("a", "b", true)
		w.wantReach("b", "a", true)
	}},
	{"a delay is for each way", shaping, func(w *world) {
		w.trio()
		w.shape(link.Topology{}.SetDefault(link.Connection{Delay: link.Delay{Mean: 100 * time.Millisecond}}))
		began := time.Now()
		w.wantReach("a", "b", true)
		if took := time.Since(began); took < 200*time.Millisecond {
			w.Errorf("a round trip took %v", took)
		}
	}},
	{"a rule for one way cuts the other way's answers only", shaping, func(w *world) {
		w.trio()
		w.shape(link.Topology{}.Set(link.Pair{"a", "b"}, link.Forward, link.Connection{Delay: link.Delay{Mean: 300 * time.Millisecond}}))
		began := time.Now()
		w.wantReach("b", "a", true)
		if took := time.Since(began); took < 300*time.Millisecond {
			w.Errorf("a round trip took %v", took)
		}
	}},
	{"every property of a connection holds beside others", shaping, func(w *world) {
		w.trio()
		slow := link.Delay{Mean: 10 * time.Millisecond, StdDev: time.Millisecond, Correlation: 10}
		w.shape(link.Topology{}.SetDefault(link.Connection{Delay: slow, RateMbps: 100, Reorder: 1, Loss: 0.1}))
		w.wantReach("a", "b", true)
		w.shape(link.Topology{}.SetDefault(link.Connection{Delay: slow, Duplicate: 50, Corrupt: 0.1}).Set(link.Pair{"a", "b"}, link.Both, link.Blocked))
		w.wantReach("a", "b", false)
		w.wantReach("a", "c", true)
		w.shape(link.Topology{})
		w.wantReach("a", "b", true)
	}},
	{"rules hold for a service before it starts", shaping, func(w *world) {
		w.start("a", "serve tcp/8080 then out open then wait")
		w.waitLine("a", "open")
		address, err := w.enclave.Reserve(w.ctx, "late")
		w.must(err)
		w.must(w.shaper().Shape(w.ctx, link.Table{
			Topology: link.Topology{Default: link.Blocked}, Members: map[string]string{"a": "a", "late": "b"},
		}))
		w.start("late", "ask tcp a 8080 hello")
		if exit := w.exited("late"); exit.Code == 0 {
			w.Errorf("%s reaches a peer it is blocked from: %v", address.IP, w.logged("late"))
		}
	}},
	{"rules hold over stop and restart", shaping, func(w *world) {
		w.trio()
		w.shape(link.Topology{Default: link.Blocked})
		_, err := w.enclave.Stop(w.ctx, "b", bound)
		w.must(err)
		w.must(w.enclave.Restart(w.ctx, "b"))
		w.wantReach("a", "b", false)
		w.wantReach("b", "a", false)
	}},
	{"rules hold for what a new process finds", shaping, func(w *world) {
		w.trio()
		w.shape(link.Topology{Default: link.Blocked})
		again, err := w.Reopen(w.T).OpenEnclave(w.ctx, w.id)
		w.must(err)
		w.wantReach("a", "b", false)
		w.must(again.(backend.Shaper).Shape(w.ctx, link.Table{Members: map[string]string{"a": "a", "b": "b", "c": "c"}}))
		w.wantReach("a", "b", true)
	}},
	{"dial and exec work under a block", shaping, func(w *world) {
		w.trio()
		w.shape(link.Topology{Default: link.Blocked})
		if got := w.ask(w.enclave, "b", backend.TCP, 8080, "hello"); got != "b got hello" {
			w.Errorf("dial: %q", got)
		}
		if code, out, _ := w.run("b", "out fine"); code != 0 || out != "fine" {
			w.Errorf("exec: %d %q", code, out)
		}
	}},
	{"a member without an address is not found", shaping, func(w *world) {
		w.wantErr(w.shaper().Shape(w.ctx, link.Table{Topology: link.Topology{Default: link.Blocked}, Members: map[string]string{"ghost": "a"}}), fault.ErrNotFound)
	}},
	{"what is late is counted while it is", shaping, func(w *world) {
		w.trio()
		count := func(c link.Connection) link.Stats {
			w.shape(link.Topology{}.Set(link.Pair{"a", "b"}, link.Both, c))
			w.wantReach("a", "b", true)
			stats, err := w.shaper().LinkStats(w.ctx)
			w.must(err)
			for _, s := range stats {
				if s.From == "a" && s.To == "b" {
					return s
				}
			}
			w.Fatalf("no counters from a to b: %+v", stats)
			return link.Stats{}
		}
		late := link.Connection{Delay: link.Delay{Mean: 5 * time.Millisecond}}
		one := count(late)
		two := count(link.Connection{Corrupt: 0.0001})
		three := count(late)
		if one.Packets == 0 || one.Delayed != one.Packets || one.Dropped != 0 {
			w.Errorf("a delay: counted %+v", one)
		}
		if two.Packets <= one.Packets || two.Delayed != one.Delayed {
			w.Errorf("then none: counted %+v, before %+v", two, one)
		}
		if more := three.Packets - two.Packets; more == 0 || three.Delayed != two.Delayed+more {
			w.Errorf("then a delay again: counted %+v, before %+v", three, two)
		}
	}},
	{"what is lost is counted", shaping, func(w *world) {
		w.trio()
		w.shape(link.Topology{}.Set(link.Pair{"a", "b"}, link.Both, link.Blocked))
		w.wantReach("a", "b", false)
		stats, err := w.shaper().LinkStats(w.ctx)
		w.must(err)
		for _, s := range stats {
			if s.From == "a" && s.To == "b" {
				if s.Packets == 0 || s.Dropped != s.Packets {
					w.Errorf("counted %+v", s)
				}
				return
			}
		}
		w.Errorf("no counters from a to b: %+v", stats)
	}},
}

func (w *world) shaper() backend.Shaper {
	w.Helper()
	s, ok := w.enclave.(backend.Shaper)
	if !ok {
		w.Fatal("the ability is declared, but the enclave is no Shaper")
	}
	return s
}

// trio starts three services, each in a subnetwork of its name, that answer on
// port 8080.
func (w *world) trio() {
	w.Helper()
	for _, name := range []backend.ServiceName{"a", "b", "c"} {
		w.start(name, "serve tcp/8080 then out open then wait")
	}
	for _, name := range []backend.ServiceName{"a", "b", "c"} {
		w.waitLine(name, "open")
	}
}

func (w *world) shape(t link.Topology) {
	w.Helper()
	w.must(w.shaper().Shape(w.ctx, link.Table{Topology: t, Members: map[string]string{"a": "a", "b": "b", "c": "c"}}))
}

// wantReach asks one service's port from another.
func (w *world) wantReach(from, to backend.ServiceName, reaches bool) {
	w.Helper()
	code, out, errs := w.run(from, fmt.Sprintf("ask tcp %s 8080 hello", to))
	if got := code == 0 && out == string(to)+" got hello"; got != reaches {
		w.Errorf("%s reaches %s: %v (%q %q), want %v", from, to, got, out, errs, reaches)
	}
}
