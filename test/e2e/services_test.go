package e2e

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/api/view"
	"github.com/lepto-dev/lepto/internal/run"
)

// This file: services in real containers, by the rows of the specification's
// checklist.

// in gives a world that fails the test t.
func (w *world) in(t *testing.T) *world {
	same := *w
	same.t = t
	return &same
}

// names lists the services of an enclave.
func (w *world) names(enclave string) string {
	w.t.Helper()
	var names []string
	for _, s := range w.inspect(enclave).Services {
		names = append(names, s.Name)
	}
	return strings.Join(names, " ")
}

func TestServices(t *testing.T) {
	w := newWorld(t)
	w.box()
	const head = `
def lab(*cmd, **kw):
    return ServiceConfig("box", cmd = ["/lab"] + list(cmd), **kw)
def run(plan):
`
	t.Run("B1 names and ports are concrete, addresses are references", func(t *testing.T) {
		got, output := w.in(t).results(head+`
    dependency = plan.add_service("dependency", lab("serve", "80", ports = {"http": PortSpec(number = 80)}))
    http = dependency.ports["http"]
    plan.add_service("dependant", lab("sleep", env_vars = {"DEPENDENCY_URL": "http://{}:{}".format(dependency.ip_address, http.number)}))
    url = plan.exec("dependant", ExecRecipe(["sh", "-c", "printf $DEPENDENCY_URL"]))["output"]
    plan.exec("dependant", ExecRecipe(["sh", "-c", "wget -qO- $DEPENDENCY_URL/name"]))
    plan.exec("dependant", ExecRecipe(["wget", "-qO-", "http://" + dependency.hostname + "/name"]))
    return url
`, "--enclave", "b1")
		if ip := w.service("b1", "dependency").IP; output != `"http://`+ip+`:80"` || !strings.HasSuffix(got[3], "following output: dependency ") || got[3] != got[4] {
			t.Errorf("output %s, address %s, results %q", output, ip, got)
		}
	})
	t.Run("B6 one port never opens: none of the batch stays", func(t *testing.T) {
		w := w.in(t)
		problem := w.problem(head+`
    plan.add_services({
        "a": lab("serve", "80", ports = {"p": PortSpec(80)}), "b": lab("sleep", ports = {"p": PortSpec(80, wait = "300ms")}), "c": lab("sleep"),
    })
`, "--enclave", "b6")
		if names := w.names("b6"); names != "" || problem.Code != "E0332" || !strings.Contains(problem.Summary, `"b"`) {
			t.Errorf("left %q; %s", names, problem.Summary)
		}
	})
	t.Run("B7 the third of five never gets ready: none of them stays", func(t *testing.T) {
		w := w.in(t)
		problem := w.problem(head+`
    plan.add_service("before", lab("sleep"))
    never = ReadyCondition(ExecRecipe(["sh", "-c", "echo still not; false"]), "code", "==", 0, interval = "50ms", timeout = "300ms")
    plan.add_services({"s%d" % i: lab("serve", "80", ports = {"p": PortSpec(80)}, ready_conditions = never if i == 3 else None) if i == 3 else lab("serve", "80", ports = {"p": PortSpec(80)}) for i in range(1, 6)})
`, "--enclave", "b7")
		if names := w.names("b7"); names != "before" {
			t.Errorf("left %q", names)
		}
		for _, part := range []string{`"s3"`, "300ms", "tries", "still not", "listening on 80"} {
			if !strings.Contains(problem.Summary+fmt.Sprint(problem.Evidence), part) {
				t.Errorf("%q is not said: %s %v", part, problem.Summary, problem.Evidence)
			}
		}
	})
	t.Run("B8 a service that never gets ready fails the run, and stays", func(t *testing.T) {
		w := w.in(t)
		problem := w.problem(head+`
    plan.add_service("s", lab("sleep", ready_conditions = ReadyCondition(ExecRecipe(["false"]), "code", "==", 0, interval = "50ms", timeout = "200ms")))
`, "--enclave", "b8")
		s := w.service("b8", "s")
		if problem.Code != "E0312" || problem.Service != "s" || s.Status != view.Running || s.Failure == nil {
			t.Errorf("%s about %q; it is %+v", problem.Code, problem.Service, s)
		}
	})
	t.Run("E5 a UDP port counts as open at once", func(t *testing.T) {
		w.in(t).results(head+`
    plan.add_service("s", lab("sleep", ports = {"u": PortSpec(53, "UDP"), "n": PortSpec(81, wait = None), "s": PortSpec(82, "SCTP")}))
`, "--enclave", "e5")
	})
	t.Run("stop, start, remove, and the name again", func(t *testing.T) {
		w := w.in(t)
		got, _ := w.results(head+`
    plan.add_service("s", lab("serve", "80", ports = {"http": PortSpec(80)}))
    plan.stop_service("s")
    plan.start_service("s")
    plan.wait("s", GetHttpRequestRecipe("http", "/name"), "code", "==", 200, interval = "20ms")
    plan.remove_service("s")
    plan.add_service("s", lab("sleep"))
    plan.stop_service("s")
`, "--enclave", "life")
		if got[1] != "Service 's' stopped" || got[2] != "Service 's' started" || !strings.HasPrefix(got[4], "Service 's' with service UUID '") {
			t.Errorf("got %q", got)
		}
		if s := w.service("life", "s"); s.Status != view.Stopped {
			t.Errorf("it is %s", s.Status)
		}
		if problem := w.problem(head+"    plan.exec(\"s\", ExecRecipe([\"true\"]))\n", "--enclave", "life"); problem.Code != "E0347" {
			t.Errorf("exec in a stopped service: %s %s", problem.Code, problem.Summary)
		}
	})
	t.Run("what was added is known, and can be set", func(t *testing.T) {
		w := w.in(t)
		got, output := w.results(head+`
    plan.add_service("s", lab("serve", "80", ports = {"http": PortSpec(80)}))
    plan.set_service("s", ServiceConfig("box", user = User(uid = 77)))
    plan.verify(plan.exec("s", ExecRecipe(["id", "-u"]))["output"], "==", "77\n")
    plan.verify(plan.get_cluster_type(), "==", "docker")
    return [plan.get_service("s").ports["http"].number] + [s.name for s in plan.get_services()]
`, "--enclave", "set")
		if len(got) != 8 || got[1] != "Set service config on service 's'." || output != "[\n\t80,\n\t\"s\"\n]" {
			t.Errorf("got %q, output %q", got, output)
		}
	})
	w.configs(head)
	for _, e := range []string{"b1", "b6", "b7", "b8", "e5", "life", "set", "cfg"} {
		w.ok("enclave", "rm", "-f", e)
	}
}

// configs checks that what a config asks for is so.
func (w *world) configs(head string) {
	w.t.Run("what a config asks for is so", func(t *testing.T) {
		w := w.in(t)
		port := freePort(t)
		_, output := w.results(head+fmt.Sprintf(`
    plan.add_service("s", lab("serve", "80",
        ports = {"http": PortSpec(80), "other": PortSpec(81, wait = None)}, public_ports = {"http": PortSpec(%d)},
        env_vars = {"ME": "MYIP/MYIP"}, private_ip_address_placeholder = "MYIP", labels = {"team": "a-b.c"},
        user = User(uid = 1234, gid = 5678), max_cpu = 500, max_memory = 64, capabilities = ["NET_ADMIN"], devices = ["/dev/fuse"] if %s else []))
    def sh(text):
        return plan.exec("s", ExecRecipe(["sh", "-c", text]))["output"]
    return {"me": sh("printf $ME"), "id": sh("id -u; id -g"), "caps": sh("grep CapBnd /proc/self/status")}
`, port, map[bool]string{true: "True", false: "False"}[exists("/dev/fuse")]), "--enclave", "cfg")
		var got struct{ Me, ID, Caps string }
		w.decode(output, &got)
		s := w.service("cfg", "s")
		if got.Me != s.IP+"/"+s.IP || got.ID != "1234\n5678\n" {
			t.Errorf("got %+v; its address is %s", got, s.IP)
		}
		var caps uint64
		if _, err := fmt.Sscanf(strings.TrimSpace(got.Caps), "CapBnd: %x", &caps); err != nil || caps&(1<<12) == 0 {
			t.Errorf("capabilities %q lack NET_ADMIN: %v", got.Caps, err)
		}
		if body, err := get(fmt.Sprintf("http://127.0.0.1:%d/name", port)); err != nil || body != "s " {
			t.Errorf("on its public port: %q, %v", body, err)
		}
	})
	w.t.Run("a GPU where there is none", func(t *testing.T) {
		problem := w.in(t).problem(head+`
    plan.add_service("g", lab("sleep", gpu = GpuConfig(count = 1)))
`, "--enclave", "cfg")
		if problem.Phase != run.Validation || problem.Code != "E0311" || !strings.Contains(problem.Summary, "a GPU") || problem.Hint == "" {
			t.Errorf("%s in %s: %s (%s)", problem.Code, problem.Phase, problem.Summary, problem.Hint)
		}
	})
	w.t.Run("an update keeps name, UUID and address", func(t *testing.T) {
		w := w.in(t)
		before := w.service("cfg", "s")
		w.results(head+`
    plan.add_service("s", lab("serve", "80", ports = {"http": PortSpec(80)}, env_vars = {"NEW": "1"}))
    plan.verify(plan.exec("s", ExecRecipe(["sh", "-c", "printf $NEW"]))["output"], "==", "1")
`, "--enclave", "cfg")
		if after := w.service("cfg", "s"); after.UUID != before.UUID || after.IP != before.IP {
			t.Errorf("%s %s became %s %s", before.UUID, before.IP, after.UUID, after.IP)
		}
	})
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// TestB5Parallelism: no more than --parallelism services of a batch start at once.
// Each takes 600 ms to open its port, so four of them take that once or four times.
func TestB5Parallelism(t *testing.T) {
	w := newWorld(t)
	w.box()
	script := w.script(`
def run(plan):
    slow = ServiceConfig("box", cmd = ["sh", "-c", "sleep 0.6; exec /lab serve 80"], ports = {"p": PortSpec(80)})
    plan.add_services({name: slow for name in ["a", "b", "c", "d"]})
`)
	took := func(enclave string, flags ...string) time.Duration {
		events, r := w.events(append([]string{script, "--enclave", enclave}, flags...)...)
		if r.code != 0 {
			t.Fatalf("exit %d\n%s", r.code, r.stdout)
		}
		for _, event := range events {
			if event.Result != nil {
				return event.Result.Duration
			}
		}
		return 0
	}
	one, four := took("one", "--parallelism", "1"), took("four")
	if one < 4*600*time.Millisecond || four < 600*time.Millisecond || four > one*3/4 {
		t.Errorf("one at a time took %v, four at a time %v", one, four)
	}
}

// freePort gives a port of the host that nobody listens on.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
