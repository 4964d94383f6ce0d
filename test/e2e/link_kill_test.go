package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/backend/backendtest/bounds"
)

// This file kills what shapes links.

// relayPID gives the relay's process id; 0 if none lives.
func (w *world) relayPID() int {
	files, _ := filepath.Glob(filepath.Join(w.home, "native", "*", "link", "status.json"))
	for _, file := range files {
		var status struct{ PID int }
		if data, err := os.ReadFile(file); err == nil && json.Unmarshal(data, &status) == nil && syscall.Kill(status.PID, 0) == nil {
			return status.PID
		}
	}
	return 0
}

// Whoever is killed, links are as bad as their rules say, or cut.
func TestLinksSurviveKills(t *testing.T) {
	w := newLinkWorld(t)
	w.ok("run", w.script(quartet), "--enclave", "q", "--show-enclave-inspect=false")
	w.ok("link", "set", "q", "one", "two", "--delay", "50ms")
	shaped := func() bool {
		x := w.rtt("q", "a", "b", 3)
		return len(x) == 3 && least(x) >= 100
	}
	if !shaped() {
		t.Fatal("the link is not shaped")
	}
	if relay := w.relayPID(); relay != 0 { // no netem here
		soon := bounds.Wide(2 * time.Second) // a look now and then would take longer
		took := w.relayIsReplaced(relay, syscall.SIGKILL)
		for try := 1; took > soon && try < 5; try++ { // the machine may be busy
			took = w.relayIsReplaced(w.relayPID(), syscall.SIGKILL)
		}
		if took > soon {
			t.Errorf("another relay came after %v", took)
		}
		eventually(t, "the link is shaped again", shaped)
		w.relayIsReplaced(w.relayPID(), syscall.SIGSTOP) // it hangs
		eventually(t, "the link is shaped once more", shaped)
	}
	w.killsBothUnder(w.service("q", "a").PID, w.service("q", "b").IP, w.service("q", "c").IP)
	if !shaped() { // the command starts another engine, which starts a relay
		t.Error("after the engine's return the link is not shaped")
	}
	w.ok("enclave", "rm", "-f", "q")
	if pid := w.relayPID(); pid != 0 {
		t.Errorf("relay %d outlives its enclave", pid)
	}
}

// relayIsReplaced sends a signal to the relay, and gives the time until another one
// is in its place.
func (w *world) relayIsReplaced(pid int, signal syscall.Signal) time.Duration {
	w.t.Helper()
	must(w.t, syscall.Kill(pid, signal))
	sent := time.Now()
	eventually(w.t, "another relay works", func() bool { now := w.relayPID(); return now != 0 && now != pid })
	return time.Since(sent)
}

// killsBothUnder kills the engine: the link from the process's container to far is
// as it was. Then the relay, if there is one: what it carried is cut, and nothing
// else.
func (w *world) killsBothUnder(process int, far, near string) {
	w.t.Helper()
	relay := w.relayPID()
	must(w.t, syscall.Kill(w.enginePID(), syscall.SIGKILL))
	inside := func(args ...string) *exec.Cmd {
		return exec.Command("nsenter", append([]string{"-t", strconv.Itoa(process), "-n", linksLab}, args...)...)
	}
	output, err := inside("rtt", far, "3", "5ms").Output()
	var x []float64
	if err := errors.Join(err, json.Unmarshal(output, &x)); err != nil || len(x) != 3 || least(x) < 100 {
		w.t.Errorf("without an engine, echoes took %v ms (%v)", x, err)
	}
	if relay != 0 {
		if syscall.Kill(relay, syscall.SIGKILL) != nil {
			w.t.Error("the relay went with the engine")
		}
		if inside("dial", far).Run() == nil {
			w.t.Error("without a relay, a link with a rule is open")
		}
	}
	if err := inside("dial", near).Run(); err != nil {
		w.t.Errorf("without a relay, a link without a rule is cut: %v", err)
	}
}

// A schedule goes on when the engine was killed: what was due meanwhile comes when
// there is one again, and it is told how late; the rest when its time comes.
func TestSchedulesOutliveTheEngine(t *testing.T) {
	w := newLinkWorld(t)
	w.ok("run", w.script(quartet+`
    plan.schedule_faults([
        FaultStep("1h", "heal"),
        FaultStep("4s", "kill", service = "d"),
        FaultStep("2s", "partition", ("one", "two")),
    ])
`), "--enclave", "q", "--show-enclave-inspect=false")
	due := time.Now().Add(4 * time.Second)
	must(t, syscall.Kill(w.enginePID(), syscall.SIGKILL))
	eventually(t, "two faults are due", func() bool { return time.Now().After(due) })
	var text string
	eventually(t, "what was due has come", func() bool {
		text = w.ok("link", "ls", "q")
		return strings.Count(text, "applied") == 2
	})
	if !strings.Contains(text, "s late") || !strings.Contains(text, "pending, in ") || strings.Index(text, "partition") > strings.Index(text, "kill d") {
		t.Errorf("link ls shows\n%s", text)
	}
	if w.reaches("q", "a", "b") || w.service("q", "d").Status != "STOPPED" {
		t.Error("the faults were noted, but did not come")
	}
	w.ok("link", "heal", "q")
	if text := w.ok("link", "ls", "q"); !strings.Contains(text, "called off") {
		t.Errorf("after healing, link ls shows\n%s", text)
	}
}
