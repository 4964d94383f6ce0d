package e2e

import (
	"encoding/json"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/backend/backendtest/bounds"
)

// This file tests links between real containers: the classic dialect's reference
// scenarios, every observable rule of subnetworks, and crashes.

// newLinkWorld is a world with two more images: busybox, and links, which measures.
func newLinkWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	links := w.folder("links", map[string]string{"Dockerfile": "FROM scratch\nCOPY lab /lab\nENTRYPOINT [\"/lab\"]\n"})
	must(t, os.Link(linksLab, filepath.Join(links, "lab")))
	w.ok("image", "build", "-t", "links", links)
	busybox := w.folder("busybox", map[string]string{"Dockerfile": "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\nCMD [\"/bin/busybox\", \"sleep\", \"99999\"]\n"})
	program, err := exec.LookPath("busybox")
	must(t, err)
	w.copyFile(program, filepath.Join(busybox, "busybox"))
	w.ok("image", "build", "-t", "busybox", busybox)
	return w
}

// lab runs the links program in a service, and gives what it prints.
func (w *world) lab(enclave, service string, args ...string) string {
	w.t.Helper()
	return strings.TrimSpace(w.ok(append([]string{"service", "exec", enclave, service, "--", "/lab"}, args...)...))
}

// reaches reports whether a TCP connection opens.
func (w *world) reaches(enclave, from, to string) bool {
	w.t.Helper()
	return w.run("service", "exec", enclave, from, "--", "/lab", "dial", to).code == 0
}

// rtt gives the milliseconds that echoes took.
func (w *world) rtt(enclave, from, to string, n int) []float64 {
	w.t.Helper()
	var out []float64
	if err := json.Unmarshal([]byte(w.lab(enclave, from, "rtt", to, strconv.Itoa(n), "5ms")), &out); err != nil {
		w.t.Fatal(err)
	}
	return out
}

func mean(x []float64) (mean, deviation float64) {
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		deviation += (v - mean) * (v - mean) / float64(len(x))
	}
	return mean, math.Sqrt(deviation)
}

func least(x []float64) float64 {
	out := math.Inf(1)
	for _, v := range x {
		out = min(out, v)
	}
	return out
}

// late is how many milliseconds more than it should a packet may take on this
// machine, where it may be ms on a plain one. All that tests of links allow for slow
// machines is by this factor.
func late(ms float64) float64 { return float64(bounds.Patience()) * ms }

// pings is what the scenarios share: rtt prints the average round trip of five
// pings in milliseconds; near tells whether the fastest was as on a plain machine,
// which is far from any delay here; reaches tells whether a ping is answered.
var pings = "PATIENCE = " + strconv.Itoa(bounds.Patience()) + `

def pinged(plan, a, b, awk):
    command = "ping -q -c 5 -i 0.2 -W 5 {} | awk -F'[/= ]+' '/round-trip/ {{{}}}'".format(b, awk)
    return plan.exec(a, ExecRecipe(["/bin/sh", "-c", command]))["output"]

def rtt(plan, a, b):
    return pinged(plan, a, b, "printf \"%s\", $7")

def near(plan, a, b):
    return pinged(plan, a, b, "printf \"%s\", $5 < 50 * {} ? \"yes\" : $5".format(PATIENCE))

def reaches(plan, a, b, yes):
    patience = "10" if yes else "1"
    plan.exec(a, ExecRecipe(["/bin/ping", "-c", "1", "-W", patience, b]), acceptable_codes = [0 if yes else 1])

def add(plan, name, label = None):
    if label == None:
        plan.add_service(name, ServiceConfig(image = "busybox"))
    else:
        plan.add_service(name, ServiceConfig(image = "busybox", subnetwork = label))
`

// The reference scenarios of the classic dialect, as its own tests have them:
// names with underscores, numbers compared as texts. They wait for answers most of
// their time, so all run at once.
func TestClassicScenarios(t *testing.T) {
	w := newLinkWorld(t)
	for name, script := range map[string]string{
		"one": `
def run(plan):
    plan.set_connection(config = kurtosis.connection.BLOCKED)
    add(plan, "service_1", "sub1")
    add(plan, "service_2", "sub2")
    reaches(plan, "service_2", "service_1", False)
    plan.set_connection(("sub1", "sub2"), config = kurtosis.connection.ALLOWED)
    reaches(plan, "service_2", "service_1", True)
    plan.remove_connection(("sub1", "sub2"))
    reaches(plan, "service_2", "service_1", False)
    plan.set_connection(("sub3", "sub1"), config = ConnectionConfig(packet_loss_percentage = 0.0))
    plan.update_service("service_2", config = UpdateServiceConfig(subnetwork = "sub3"))
    reaches(plan, "service_2", "service_1", True)
`,
		"two": `
def run(plan):
    add(plan, "service_1", "sub1")
    add(plan, "service_2", "sub1")
    add(plan, "service_3")
    plan.set_connection(config = ConnectionConfig(packet_delay_distribution = UniformPacketDelayDistribution(750)))
    plan.assert(rtt(plan, "service_2", "service_3"), ">", "1449")
    plan.assert(near(plan, "service_2", "service_1"), "==", "yes")
    plan.set_connection(config = ConnectionConfig(packet_delay_distribution = UniformPacketDelayDistribution(ms = 350)))
    plan.assert(rtt(plan, "service_2", "service_3"), ">", "649")
    plan.assert(near(plan, "service_2", "service_1"), "==", "yes")
`,
		"three": `
def run(plan):
    plan.set_connection(config = kurtosis.connection.BLOCKED)
    add(plan, "service_1", "sub1")
    add(plan, "service_2", "sub2")
    normal = NormalPacketDelayDistribution(mean_ms = 150, std_dev_ms = 10, correlation = 2.0)
    plan.set_connection(("sub1", "sub2"), ConnectionConfig(packet_delay_distribution = normal))
    plan.assert(rtt(plan, "service_2", "service_1"), ">", "225")
    plan.assert(rtt(plan, "service_2", "service_1"), "<", str(min(300 + 200 * PATIENCE, 999)))
    plan.remove_connection(("sub1", "sub2"))
    reaches(plan, "service_2", "service_1", False)
    plan.set_connection(("sub1", "sub3"), ConnectionConfig(packet_delay_distribution = UniformPacketDelayDistribution(ms = 750)))
    plan.update_service("service_2", UpdateServiceConfig("sub3"))
    plan.assert(rtt(plan, "service_2", "service_1"), ">", "1449")
`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := *w
			w.t = t
			r := w.run("run", w.script(pings+script), "--enclave", "classic-"+name, "--with-subnetworks", "--show-enclave-inspect=false")
			if r.code != 0 {
				t.Errorf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
			}
		})
	}
}

// The rules about who holds for whom, with pings.
func TestConnectionRules(t *testing.T) {
	w := newLinkWorld(t)
	r := w.run("run", w.script(pings+`
def run(plan):
    plan.set_connection(("late", "a"), kurtosis.connection.ALLOWED)
    add(plan, "a1", "a")
    add(plan, "a2", "a")
    add(plan, "b1", "b")
    add(plan, "plain")
    plan.set_connection(config = kurtosis.connection.BLOCKED)

    # Within a subnetwork nothing is ever blocked; unlabelled services are in one of their own.
    reaches(plan, "a1", "a2", True)
    reaches(plan, "a1", "b1", False)
    reaches(plan, "plain", "a1", False)

    # An override beats the default, whichever way it is named.
    plan.set_connection(("b", "a"), kurtosis.connection.ALLOWED)
    reaches(plan, "a1", "b1", True)
    reaches(plan, "b1", "a1", True)
    plan.set_connection(config = kurtosis.connection.ALLOWED)
    plan.set_connection(("a", "b"), kurtosis.connection.BLOCKED)
    reaches(plan, "plain", "a1", True)
    reaches(plan, "a1", "b1", False)

    # Removing it falls back to the default as it is now; what is not there is no error.
    plan.remove_connection(("a", "b"))
    reaches(plan, "a1", "b1", True)
    plan.remove_connection(("a", "b"))
    plan.remove_connection(("never", "seen"))

    # One set before anybody is there holds for whom it is about.
    plan.set_connection(config = kurtosis.connection.BLOCKED)
    add(plan, "l1", "late")
    reaches(plan, "l1", "a1", True)
    reaches(plan, "l1", "b1", False)

    # To the default subnetwork and back.
    plan.update_service("a2", UpdateServiceConfig("default"))
    reaches(plan, "a2", "plain", True)
    reaches(plan, "a2", "a1", False)
    plan.update_service("a2", UpdateServiceConfig("a"))
    reaches(plan, "a2", "a1", True)

    # A pair of one subnetwork has no effect.
    plan.set_connection(("a", "a"), kurtosis.connection.BLOCKED)
    reaches(plan, "a1", "a2", True)

    # A name used again is where its new config says.
    plan.remove_service("b1")
    add(plan, "b1", "a")
    reaches(plan, "b1", "a1", True)

    # The peer's name resolves under a block.
    plan.exec("plain", ExecRecipe(["/bin/sh", "-c", "ping -c 1 -W 1 a1 | grep -q 'PING a1 (1'"]))

    # Rules hold over a stop and a start.
    plan.stop_service("l1")
    plan.start_service("l1")
    reaches(plan, "l1", "b1", True)
    reaches(plan, "l1", "plain", False)
`), "--enclave", "rules", "--show-enclave-inspect=false")
	if r.code != 0 {
		t.Errorf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

// A batch that fails takes its services back, and leaves the connections that
// others have set.
func TestRollbackKeepsConnections(t *testing.T) {
	w := newLinkWorld(t)
	run := func(script string) result {
		return w.run("run", w.script(pings+script), "--enclave", "back", "--show-enclave-inspect=false")
	}
	r := run(`
def run(plan):
    add(plan, "a1", "a")
    plan.set_connection(("a", "b"), kurtosis.connection.BLOCKED)
    plan.add_services({
        "b1": ServiceConfig("busybox", subnetwork = "b"),
        "b2": ServiceConfig("busybox", cmd = ["/no/such/program"], subnetwork = "b"),
    })
`)
	if r.code == 0 || len(w.inspect("back").Services) != 1 {
		t.Fatalf("the batch: exit %d, services %v", r.code, w.inspect("back").Services)
	}
	if r = run(`
def run(plan):
    add(plan, "b1", "b")
    add(plan, "c1", "c")
    reaches(plan, "b1", "a1", False)
    reaches(plan, "b1", "c1", True)
    plan.remove_connection(("b", "a"))
    reaches(plan, "b1", "a1", True)
`); r.code != 0 {
		t.Errorf("after it: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

const quartet = `
def run(plan):
    port = {"tell": PortSpec(7001)}
    plan.add_services({name: ServiceConfig("links", cmd = ["serve"], ports = port, subnetwork = label)
        for name, label in {"a": "one", "b": "two", "c": "one", "d": "three"}.items()})
`

func TestDelayAndLoss(t *testing.T) {
	w := newLinkWorld(t)
	w.ok("run", w.script(quartet), "--enclave", "q", "--link-seed", "11", "--show-enclave-inspect=false")
	set := func(args ...string) { t.Helper(); w.ok(append([]string{"link", "set", "q", "one", "two"}, args...)...) }

	set("--delay", "500ms")
	if x := w.rtt("q", "a", "b", 50); len(x) != 50 || least(x) < 1000 || least(x) > 1000+late(150) {
		t.Errorf("500 ms: %d echoes, the fastest in %.1f ms", len(x), least(x))
	}
	if x := w.rtt("q", "a", "c", 50); least(x) > late(50) {
		t.Errorf("a peer without a rule: %.1f ms", least(x))
	}

	set("--loss", "50")
	if n := len(w.rtt("q", "a", "b", 200)); n < 20 || n > 85 { // of 50 on average: five times the deviation
		t.Errorf("50%% loss: %d of 200 echoes", n)
	}

	set("--loss", "20", "--delay", "100ms")
	if x := w.rtt("q", "a", "b", 100); len(x) < 40 || len(x) > 90 || least(x) < 200 {
		t.Errorf("loss and delay: %d of 100 echoes, the fastest in %.1f ms", len(x), least(x))
	}

	set("--delay", "150ms", "--jitter", "10ms", "--correlation", "2")
	if m, sd := mean(w.rtt("q", "a", "b", 200)); m < 275 || m > 300+late(100) || sd < 3 {
		t.Errorf("normal delay: mean %.1f, deviation %.1f", m, sd)
	}

	set("--duplicate", "100")
	w.lab("q", "b", "reset")
	w.lab("q", "a", "send", "b", "50", "1ms", "100")
	eventually(t, "50 packets arrive, each twice", func() bool { return w.lab("q", "b", "count") == "100" })

	set("--corrupt", "100")
	w.lab("q", "b", "reset")
	w.lab("q", "a", "send", "b", "50", "1ms", "100")
	if got := w.lab("q", "b", "count"); got != "0" {
		t.Errorf("50 packets with an error: %s were taken for good", got)
	}

	set("--rate", "8")
	if text := w.lab("q", "a", "tcp", "b", "4s"); number(t, text) < 5/late(1) || number(t, text) > 8.2 {
		t.Errorf("a line of 8 Mbit/s carries %s", text)
	}
	w.ok("link", "heal", "q")
	if !w.reaches("q", "a", "b") {
		t.Error("after healing nothing passes")
	}
}

func number(t *testing.T, text string) float64 {
	t.Helper()
	f, err := strconv.ParseFloat(text, 64)
	must(t, err)
	return f
}

// What is no traffic between services goes on under a block, and moving a
// service changes nothing else of it.
func TestBlockedIsForServicesAlone(t *testing.T) {
	w := newLinkWorld(t)
	w.ok("run", w.script(quartet), "--enclave", "q", "--show-enclave-inspect=false")
	before := w.service("q", "b")
	w.ok("link", "set", "q", "--block")
	began := time.Now()
	if w.reaches("q", "a", "b") || time.Since(began) < time.Second {
		t.Error("a blocked peer answers, or refuses")
	}
	if host, port, ok := strings.Cut(strings.TrimPrefix(w.url("q", "b", "tell"), "http://"), ":"); !ok || !dials(net.JoinHostPort(host, port)) {
		t.Errorf("the published port %q does not answer", w.url("q", "b", "tell"))
	}
	r := w.run("run", w.script(`
def run(plan):
    plan.add_service("web", ServiceConfig("lab", cmd = ["serve", "80"], ports = {"http": PortSpec(80)}, subnetwork = "five"))
    plan.request("web", GetHttpRequestRecipe("http", "/name"))
    plan.wait("web", GetHttpRequestRecipe("http", "/name"), "code", "==", 200, timeout = "5s")
    plan.exec("web", ExecRecipe(["/lab", "exit", "0"]))
`), "--enclave", "q", "--show-enclave-inspect=false")
	if r.code != 0 {
		t.Errorf("probes under a block: %s%s", r.stdout, r.stderr)
	}
	w.ok("link", "move", "q", "b", "one")
	if !w.reaches("q", "a", "b") {
		t.Error("after the move the peer is out of reach")
	}
	if after := w.service("q", "b"); after.IP != before.IP || after.PID != before.PID || !after.StartedAt.Equal(before.StartedAt) {
		t.Errorf("the move changed the service: %v %v, was %v %v", after.IP, after.PID, before.IP, before.PID)
	}
}

func dials(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, bounds.Wide(10*time.Second))
	if err == nil {
		conn.Close()
	}
	return err == nil
}

// A service that sends from its first instruction on reaches nobody it is blocked
// from: in a hundred single adds, and a hundred in batches; in as many fewer as the
// machine is slower.
func TestNoFirstPacketSlipsThrough(t *testing.T) {
	w := newLinkWorld(t)
	w.ok("run", w.script(quartet), "--enclave", "q", "--show-enclave-inspect=false")
	w.ok("link", "set", "q", "--block")
	r := w.run("run", w.script("PATIENCE = "+strconv.Itoa(bounds.Patience())+`

def run(plan):
    def config(i):
        return ServiceConfig("links", cmd = ["blurt", "a"], subnetwork = "n{}".format(i))
    for i in range(100 // PATIENCE):
        plan.add_service("x", config(i))
        plan.remove_service("x")
    for batch in range(5 // PATIENCE):
        names = ["y{}".format(i) for i in range(20)]
        plan.add_services({name: config(i) for i, name in enumerate(names)})
        for name in names:
            plan.remove_service(name)
`), "--enclave", "q", "--show-enclave-inspect=false", "--parallelism", "8")
	if r.code != 0 {
		t.Fatalf("exit %d\n%s%s", r.code, tail(r.stdout, 20), r.stderr)
	}
	if got := w.lab("q", "a", "count"); got != "0" {
		t.Errorf("%s packets slipped through", got)
	}
	// The same service does get through where it may.
	w.ok("run", w.script(`
def run(plan):
    plan.add_service("friend", ServiceConfig("links", cmd = ["blurt", "a"], subnetwork = "one"))
`), "--enclave", "q", "--show-enclave-inspect=false")
	eventually(t, "a friend's packets arrive", func() bool { return w.lab("q", "a", "count") != "0" })
}

// lockedText is output that is read while it is being written.
type lockedText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Rules change under open connections: those that are affected pause and go on,
// others notice nothing.
func TestRulesChangeUnderOpenConnections(t *testing.T) {
	w := newLinkWorld(t)
	w.ok("run", w.script(quartet), "--enclave", "q", "--show-enclave-inspect=false")
	type held struct{ *exec.Cmd }
	hold := func(to string) (held, *lockedText) {
		out := &lockedText{}
		c := w.command("service", "exec", "q", "a", "--", "/lab", "hold", to, bounds.Wide(4*time.Second).String())
		c.Stdout = out
		must(t, c.Start())
		return held{c}, out
	}
	affected, affectedOut := hold("b")
	other, otherOut := hold("c")
	eventually(t, "the connections are open", func() bool {
		return strings.Contains(affectedOut.String(), "connected") && strings.Contains(otherOut.String(), "connected")
	})
	w.ok("link", "set", "q", "one", "two", "--block")
	blocked := time.Now()
	eventually(t, "a second has gone", func() bool { return time.Since(blocked) > time.Second })
	w.ok("link", "set", "q", "one", "two", "--delay", "20ms")
	w.ok("link", "heal", "q")
	must(t, affected.Wait())
	must(t, other.Wait())
	silence := func(out *lockedText) float64 {
		lines := strings.Fields(out.String())
		return number(t, lines[len(lines)-1])
	}
	if s := silence(affectedOut); s < 900 {
		t.Errorf("the affected connection was silent for %v ms at most", s)
	}
	if s, long := silence(otherOut), silence(affectedOut); s > late(700) && s > long/2 { // on a busy machine all pause
		t.Errorf("the other connection was silent for %v ms, the affected one for %v ms", s, long)
	}
}

// A consensus store under a partition, as one package: make split-brain fetches
// the store first.
func TestSplitBrain(t *testing.T) {
	const bin = "../../examples/split-brain/etcd/bin"
	if _, err := os.Stat(bin); err != nil {
		if output, err := exec.Command("../../scripts/etcd.sh", bin).CombinedOutput(); err != nil {
			t.Fatalf("fetch etcd: %v\n%s", err, output)
		}
	}
	w := newWorld(t)
	path, err := filepath.Abs("../../examples/split-brain")
	must(t, err)
	r := w.run("run", path, "{rounds: 2}", "--enclave", "brain", "--show-enclave-inspect=false")
	if r.code != 0 || !strings.Contains(r.stdout, "a leader was cut off 2 times, and nothing was lost") {
		t.Errorf("exit %d\n%s%s", r.code, tail(r.stdout, 60), r.stderr)
	}
}

// Faults come when they are to, and every run that is under way is told.
func TestScheduledFaults(t *testing.T) {
	w := newLinkWorld(t)
	events, r := w.events(w.script(quartet+`
    plan.schedule_faults([
        FaultStep("300ms", "partition", ("one", "two")),
        FaultStep("500ms", "pause", service = "d"),
        FaultStep("700ms", "unpause", service = "d"),
        FaultStep("900ms", "kill", service = "d"),
        FaultStep("1h", "heal"),
    ], seed = 1)
    plan.exec("c", ExecRecipe(["/lab", "send", "b", "1000", "4ms", "64"]))
`), "--enclave", "q")
	if r.code != 0 {
		t.Fatalf("exit %d\n%s", r.code, r.stderr)
	}
	var said []string
	for _, e := range events {
		if e.Fault == nil {
			continue
		}
		said = append(said, e.Fault.Text)
		if late := e.Fault.Applied.Sub(e.Fault.Planned); late < 0 || late > bounds.Wide(2*time.Second) || e.Fault.Error != "" {
			t.Errorf("%s came %v late: %q", e.Fault.Text, late, e.Fault.Error)
		}
	}
	if got := strings.Join(said, ", "); got != "partition one | two, pause d, unpause d, kill d" {
		t.Errorf("came: %s", got)
	}
	if w.reaches("q", "a", "b") {
		t.Error("the partition is not there")
	}
	if s := w.service("q", "d"); s.Status != "STOPPED" {
		t.Errorf("the killed service is %s", s.Status)
	}
	if text := w.ok("link", "ls", "q"); !strings.Contains(text, "heal everything") || !strings.Contains(text, "pending") {
		t.Errorf("link ls shows\n%s", text)
	}
	w.ok("link", "heal", "q")
	if !w.reaches("q", "a", "b") || !strings.Contains(w.ok("link", "ls", "q"), "called off") {
		t.Error("after healing")
	}
}
