package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lepto-dev/lepto/internal/api/view"
	"github.com/lepto-dev/lepto/internal/run"
)

// This file: what a newcomer does, and that nothing of it stays.

func TestQuickstart(t *testing.T) {
	w := newWorld(t)
	quickstart, err := filepath.Abs("../../examples/quickstart")
	must(t, err)

	events, r := w.events(quickstart, "--enclave", "first")
	if r.code != 0 || len(events) == 0 {
		t.Fatalf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	last := events[len(events)-1]
	if last.Kind != run.KindDone || !last.Done.OK {
		t.Errorf("the last event is %+v", last)
	}
	for i, event := range events {
		if event.Seq != uint64(i+1) {
			t.Fatalf("event %d has number %d", i+1, event.Seq)
		}
	}
	var output struct {
		APIs      []string `json:"apis"`
		Datastore string   `json:"datastore"`
	}
	must(t, json.Unmarshal([]byte(last.Done.Output), &output))
	if store := w.service("first", "datastore"); output.Datastore != store.IP+":7000" {
		t.Errorf("output names the datastore %q, its address is %s", output.Datastore, store.IP)
	}

	var list []view.Enclave
	w.decode(w.ok("enclave", "ls", "-o", "json"), &list)
	if len(list) != 1 || list[0].Name != "first" || list[0].Status != view.Running {
		t.Errorf("enclave ls: %+v", list)
	}
	if body, err := get(w.url("first", "api", "http")); err != nil || body != "hello from lepto\n" {
		t.Errorf("the API answers %q, %v", body, err)
	}
	if logs := w.ok("service", "logs", "first", "datastore"); !strings.Contains(logs, `stored "greeting"`) {
		t.Errorf("logs: %s", logs)
	}

	// A second run replaces the services in place: same uuid, same address.
	before := w.service("first", "api")
	w.ok("run", quickstart, `{"greeting": "again"}`, "--enclave", "first")
	if after := w.service("first", "api"); after.UUID != before.UUID || after.IP != before.IP {
		t.Errorf("the re-run changed %s %s to %s %s", before.UUID, before.IP, after.UUID, after.IP)
	}
	if body, err := get(w.url("first", "api", "http")); err != nil || body != "again\n" {
		t.Errorf("after the re-run the API answers %q, %v", body, err)
	}

	w.ok("enclave", "rm", "-f", "first")
	w.sameHost()
	w.homeIsClean()
}

// homeIsClean checks that no trace of an enclave is left in the home, beside
// images and the engine's own files.
func (w *world) homeIsClean() {
	w.t.Helper()
	entries, err := os.ReadDir(filepath.Join(w.home, "native"))
	must(w.t, err)
	for _, entry := range entries {
		if entry.IsDir() && len(entry.Name()) == 32 {
			w.t.Errorf("left in the home: native/%s", entry.Name())
		}
	}
}

func TestFailedRunLeavesNothingAfterRemoval(t *testing.T) {
	w := newWorld(t)
	w.problem(`
def run(plan):
    plan.add_service("good", ServiceConfig(image = "lab", cmd = ["serve", "80"], ports = {"http": PortSpec(number = 80)}))
    plan.add_service("bad", ServiceConfig(image = "lab", cmd = ["exit", "3"], ports = {"http": PortSpec(number = 80)}))
`, "--enclave", "broken")
	if service := w.service("broken", "good"); service.Status != view.Running {
		t.Errorf("the service that worked is %s", service.Status)
	}
	w.ok("enclave", "rm", "-f", "broken")
	w.sameHost()
	w.homeIsClean()
}

func TestTwoEnclavesDoNotMeet(t *testing.T) {
	w := newWorld(t)
	script := w.script(`
def run(plan, mark):
    plan.add_services({name: ServiceConfig(
        image = "lab", cmd = ["serve", "8080"], env_vars = {"LAB": mark},
        ports = {"http": PortSpec(number = 8080, application_protocol = "http")},
    ) for name in ["a", "b"]})
`)
	for _, name := range []string{"one", "two"} {
		w.ok("run", script, `{"mark": "`+name+`"}`, "--enclave", name)
	}
	for _, name := range []string{"one", "two"} {
		if body, err := get(w.url(name, "a", "http") + "/name"); err != nil || body != "a "+name {
			t.Errorf("a of %s answers the host %q, %v", name, body, err)
		}
		if body := w.ok("service", "exec", name, "a", "--", "/lab", "get", "http://b:8080/name"); body != "b "+name {
			t.Errorf("b of %s answers its neighbour %q", name, body)
		}
	}
	other := w.service("two", "b")
	if r := w.run("service", "exec", "one", "a", "--", "/lab", "dial", other.IP+":8080"); r.code == 0 {
		t.Errorf("a service of one enclave reaches %s of the other", other.IP)
	}
	port := other.Ports[0].HostPort
	if r := w.run("service", "exec", "one", "a", "--", "/lab", "dial", "127.0.0.1:"+itoa(port)); r.code == 0 {
		t.Error("a service reaches the host's loopback")
	}
}

func TestDryRunTouchesNothing(t *testing.T) {
	w := newWorld(t)
	script := w.script(`
def run(plan):
    plan.add_service("a", ServiceConfig(image = "lab", cmd = ["sleep"]))
`)
	events, r := w.events(script, "--dry-run", "--enclave", "dry")
	if r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.stderr)
	}
	for _, event := range events {
		if event.Kind == run.KindResult {
			t.Errorf("a dry run has a result: %+v", event.Result)
		}
	}
	if r := w.run("enclave", "inspect", "dry"); r.code != 1 {
		t.Errorf("a dry run made its enclave: %s", r.stdout)
	}
}

func TestPlanNeedsNoEngine(t *testing.T) {
	w := newWorld(t)
	w.ok("engine", "stop")
	out := w.ok("plan", w.script(`
def run(plan):
    plan.add_service("a", ServiceConfig(image = "never/pulled"))
`), "-o", "json")
	var plan struct {
		Status       string
		Instructions []struct{ Name, Call string }
	}
	w.decode(out, &plan)
	if plan.Status != "ok" || len(plan.Instructions) != 1 || plan.Instructions[0].Name != "add_service" {
		t.Errorf("plan: %s", out)
	}
	if w.enginePID() != 0 {
		t.Error("plan started an engine")
	}
}

func TestExecPassesInputAndCode(t *testing.T) {
	w := newWorld(t)
	busybox := w.folder("bb", map[string]string{"Dockerfile": "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\nCMD [\"sleep\", \"1000\"]\n"})
	program, err := exec.LookPath("busybox")
	must(t, err)
	data, err := os.ReadFile(program)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(busybox, "busybox"), data, 0o755))
	w.ok("image", "build", "-t", "bb", busybox)
	w.ok("run", w.script(`
def run(plan):
    plan.add_service("sh", ServiceConfig(image = "bb", env_vars = {"GREETING": "hi"}))
`), "--enclave", "e")

	command := w.command("service", "exec", "e", "sh", "--", "sh", "-c", "cat; echo $GREETING; exit 7")
	command.Stdin = strings.NewReader("from stdin\n")
	r := w.finish(command)
	if r.stdout != "from stdin\nhi\n" || r.code != 7 {
		t.Errorf("exec gave %q and code %d (%s)", r.stdout, r.code, r.stderr)
	}
	if r := w.run("service", "exec", "e", "sh", "--", "no-such-command"); r.code != 127 {
		t.Errorf("an unknown command has code %d: %s", r.code, r.stderr)
	}
	if out := w.ok("service", "exec", "e", "sh", "-u", "65534:65534", "--", "id", "-u"); strings.TrimSpace(out) != "65534" {
		t.Errorf("exec -u ran as %q", out)
	}
}
