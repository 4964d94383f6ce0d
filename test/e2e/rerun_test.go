package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/run"
)

// This file: a second run does only what is not done, and steps that need not
// wait for one another don't.

// fifty is a package of 50 instructions. What mark says reaches one service,
// which two others connect to.
const fifty = `
def run(plan, mark = "1"):
    conf = plan.render_templates({"hello": struct(template = "hello", data = {})}, name = "conf")
    services = {}
    for i in range(12):
        name = "s{}".format(i)
        env = {"LAB": name}
        if name == "s3":
            env["MARK"] = mark
        if name == "s4":
            env["USES"] = services["s3"].ip_address
        if name == "s5":
            env["USES"] = "http://s3:80/"
        services[name] = plan.add_service(name, ServiceConfig(
            image = "lab", cmd = ["serve", "80"], env_vars = env, files = {"/conf": conf},
            ports = {"http": PortSpec(number = 80, application_protocol = "http")},
        ))
        plan.exec(name, ExecRecipe(["/lab", "get", "http://127.0.0.1:80/count"]))
        plan.request(name, GetHttpRequestRecipe(port_id = "http", endpoint = "/name"))
        plan.wait(name, GetHttpRequestRecipe(port_id = "http", endpoint = "/name"), "code", "==", 200)
    plan.print("done")
`

// started gives when the services' processes have begun, and their ids.
func (w *world) started(enclave string) map[string]string {
	w.t.Helper()
	out := map[string]string{}
	for _, s := range w.inspect(enclave).Services {
		out[s.Name] = fmt.Sprint(s.StartedAt.UnixNano(), " ", s.PID)
	}
	return out
}

func TestRerunDoesOnlyWhatChanged(t *testing.T) {
	w := newWorld(t)
	script := w.script(fifty)
	events, r := w.events(script, "--enclave", "e")
	if r.code != 0 || events[len(events)-1].Done.Steps != 50 {
		t.Fatalf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	before := w.started("e")

	quick := max(100*time.Millisecond, r.took/4) // of fifty instructions; the machine may be slow
	quickest := time.Hour
	for try := 0; try < 5 || quickest > quick && try < 50; try++ { // the machine may be busy
		events, r = w.events(script, "--enclave", "e", "--show-enclave-inspect=false")
		done := events[len(events)-1].Done
		if !done.OK || done.Steps != 0 || done.Skipped != 50 {
			t.Fatalf("unchanged, it does something: %+v", done)
		}
		quickest = min(quickest, r.took)
	}
	t.Logf("unchanged, the whole command takes %v", quickest)
	if quickest > quick {
		t.Errorf("unchanged, it takes %v", quickest)
	}
	if after := w.started("e"); !equalMaps(before, after) {
		t.Errorf("unchanged, it restarts services:\n%v\n%v", before, after)
	}

	events, _ = w.events(script, `{"mark": "2"}`, "--enclave", "e", "--dry-run")
	statuses := map[string][]string{}
	for _, event := range events {
		if event.Begin != nil {
			status := string(event.Begin.Change.Status)
			statuses[status] = append(statuses[status], fmt.Sprintf("%s %s", event.Begin.Name, strings.Join(event.Begin.Change.Reasons, "; ")))
		}
	}
	if got := statuses["update"]; !slices.Equal(got, []string{"add_service changed: env_vars MARK"}) {
		t.Errorf("update: %q", got)
	}
	if n := len(statuses["recreate"]); n != 11 || len(statuses["keep"]) != 38 {
		t.Errorf("the dry run says %v", statuses)
	}

	w.ok("run", script, `{"mark": "2"}`, "--enclave", "e")
	after := w.started("e")
	for name := range before {
		anew := slices.Contains([]string{"s3", "s4", "s5"}, name)
		if (before[name] != after[name]) != anew {
			t.Errorf("%s: made anew is %v", name, !anew)
		}
	}
	if s := w.service("e", "s3"); s.Env["MARK"] != "2" {
		t.Errorf("s3 has %v", s.Env)
	}
}

func equalMaps(a, b map[string]string) bool {
	return fmt.Sprint(a) == fmt.Sprint(b) // maps print sorted
}

// tree is a package of 30 services on three levels: each of the second connects
// to the first, each of the third to one of the second.
const tree = `
def config(delay, uses):
    return ServiceConfig(
        image = "lab", cmd = ["late", delay, "80"], env_vars = {"USES": uses},
        ports = {"http": PortSpec(number = 80)},
    )

def run(plan, delay = "700ms"):
    root = plan.add_service("root", config(delay, "nothing"))
    branches = [plan.add_service("b{}".format(i), config(delay, root.ip_address)) for i in range(5)]
    for i in range(24):
        plan.add_service("l{}".format(i), config(delay, branches[i % 5].ip_address))
`

// names gives what a service uses by name: addresses are given in the order of
// starts.
func (w *world) uses(enclave string) string {
	w.t.Helper()
	services := w.inspect(enclave).Services
	names := map[string]string{"nothing": "nothing"}
	for _, s := range services {
		names[s.IP] = s.Name
	}
	var out []string
	for _, s := range services {
		out = append(out, fmt.Sprintf("%s %s uses %s", s.Name, s.Status, names[s.Env["USES"]]))
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

func TestParallelTakesTheCriticalPath(t *testing.T) {
	w := newWorld(t)
	script := w.script(tree)
	events, r := w.events(script, "--enclave", "par", "--parallel")
	if r.code != 0 {
		t.Fatalf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	done := events[len(events)-1].Done
	t.Logf("30 services in %v; the critical path took %v, one by one %v", done.Duration, done.Parallel.Critical, done.Parallel.Work)
	if done.Duration > done.Parallel.Critical*3/2 || len(done.Parallel.Chain) != 3 {
		t.Errorf("done: %+v, %+v", done, done.Parallel)
	}
	began := map[string]run.Event{}
	for _, event := range events {
		if event.Begin != nil {
			began[string(event.Step)] = event
		}
	}
	if len(began) != 30 {
		t.Errorf("%d steps began", len(began))
	}
	want := w.uses("par")
	w.ok("enclave", "rm", "-f", "par")
	seeds := 3
	if os.Getenv("LEPTO_STRESS") != "" {
		seeds = 50
	}
	for seed := range seeds {
		w.ok("run", script, `{"delay": "0s"}`, "--enclave", "seed", "--shuffle-seed", fmt.Sprint(seed))
		if got := w.uses("seed"); got != want {
			t.Errorf("seed %d leaves\n%s\nwant\n%s", seed, got, want)
		}
		w.ok("enclave", "rm", "-f", "seed")
	}
}
