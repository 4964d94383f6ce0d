package instruction

import (
	"slices"
	"strings"
	"testing"

	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/lang/types"
	"github.com/lepto-dev/lepto/internal/plan"
	"github.com/lepto-dev/lepto/internal/source"
)

// badInputs lists, for every instruction, what is wrong to ask of it, and the
// code that it gets before anything runs: in interpretation (I) or validation (V).
// The service "db" is there, with the ports sql (TCP) and dns (UDP).
var badInputs = []struct{ call, phase, code string }{
	{`plan.add_service()`, "I", "E0202"},
	{`plan.add_service("", ServiceConfig("i"))`, "I", "E0202"},
	{`plan.add_service("s", "i")`, "I", "E0202"},
	{`plan.add_service("s", ServiceConfig("i", ports = {"p": PortSpec()}))`, "I", "E0202"},
	{`plan.add_service("s", ServiceConfig("i", privileged = True))`, "I", "E0214"},
	{`plan.add_service("s", ServiceConfig(NixBuildSpec("d", ".", "n")))`, "I", "E0213"},
	{`plan.add_service("a b", ServiceConfig("i"))`, "V", "E0301"},
	{`plan.add_service("s", ServiceConfig("i", files = {"/x": "nope"}))`, "V", "E0304"},
	{`plan.add_service("s", ServiceConfig("i", ports = {"a b": PortSpec(1)}))`, "V", "E0306"},
	{`plan.add_service("s", ServiceConfig("i", files = {"/x": Directory(persistent_key = "a/b")}))`, "V", "E0308"},
	{`plan.add_service("s", ServiceConfig("i", min_cpu = 99000))`, "V", "E0309"},
	{`plan.add_service("s", ServiceConfig("i", min_memory = 99000))`, "V", "E0310"},
	{`plan.add_service("s", ServiceConfig("i", ready_conditions = ReadyCondition(GetHttpRequestRecipe("p", "/"), "code", "==", 200)))`, "V", "E0305"},
	{`plan.add_services({})`, "I", "E0202"},
	{`plan.add_services(["s"])`, "I", "E0202"},
	{`plan.add_services({"s": 1})`, "I", "E0202"},
	{`plan.add_services({"s": ServiceConfig("i", files = {"/x": "nope"})})`, "V", "E0304"},
	{`plan.assert("a", "=~", "b")`, "I", "E0202"},
	{`plan.assert(1, "==", 1)`, "I", "E0202"},
	{`plan.exec("db", ["true"])`, "I", "E0202"},
	{`plan.exec("db", ExecRecipe("true"))`, "I", "E0202"},
	{`plan.exec("bd", ExecRecipe(["true"]))`, "V", "E0303"},
	{`plan.exec("db", ExecRecipe(["true"], extract = {"x": "."}), acceptable_codes = 0)`, "I", "E0202"},
	{`plan.exec("db", ExecRecipe(["true"], extract = {"x": "]"}))`, "V", "E0516"},
	{`plan.get_cluster_type(1)`, "I", "E0202"},
	{`plan.get_files_artifact("nope")`, "V", "E0304"},
	{`plan.get_service("nope")`, "I", "E0216"},
	{`plan.get_services(1)`, "I", "E0202"},
	{`plan.print()`, "I", "E0202"},
	{`plan.print("a", "b", "c")`, "I", "E0202"},
	{`plan.remove_service("nope")`, "V", "E0303"},
	{`plan.request("db", ExecRecipe(["true"]))`, "I", "E0202"},
	{`plan.request("bd", GetHttpRequestRecipe("sql", "/"))`, "V", "E0303"},
	{`plan.request("db", GetHttpRequestRecipe("slq", "/"))`, "V", "E0305"},
	{`plan.request("db", GetHttpRequestRecipe("dns", "/"))`, "V", "E0517"},
	{`plan.request("db", PostHttpRequestRecipe("sql", "/", extract = {"x": "|"}))`, "V", "E0516"},
	{`plan.run_python(run = "x", args = [1])`, "I", "E0202"},
	{`plan.run_python(run = "x", wait = "soon")`, "I", "E0202"},
	{`plan.run_python(run = "x", name = "db")`, "V", "E0320"},
	{`plan.run_python(run = "x", store = ["/a", "/a"])`, "V", "E0321"},
	{`plan.run_sh("echo")`, "I", "E0202"},
	{`plan.run_sh(run = "x", files = {"/a": 1})`, "I", "E0202"},
	{`plan.run_sh(run = "x", files = {"/a": "nope"})`, "V", "E0304"},
	{`plan.run_sh(run = "x", host_pid_namespace = True)`, "I", "E0214"},
	{`plan.run_sh(run = "x", name = "a b")`, "V", "E0301"},
	{`plan.set_service("db", ServiceConfig("i", cmd = ["x"]))`, "I", "E0226"},
	{`plan.set_service("nope", ServiceConfig("i"))`, "I", "E0225"},
	{`plan.start_service("nope")`, "V", "E0303"},
	{`plan.stop_service(1)`, "I", "E0202"},
	{`plan.stop_service("nope")`, "V", "E0303"},
	{`plan.verify("a", "IN", 1)`, "I", "E0202"},
	{`plan.verify("a", "==", None)`, "I", "E0202"},
	{`plan.wait("db", ExecRecipe(["true"]), "code", "==", 0, interval = "-1s")`, "I", "E0202"},
	{`plan.wait("db", ExecRecipe(["true"]), "code", "==", 0, timeout = "1 hour")`, "I", "E0202"},
	{`plan.wait("db", GetHttpRequestRecipe("slq", "/"), "code", "==", 0)`, "V", "E0305"},
	{`plan.wait("bd", ExecRecipe(["true"]), "code", "==", 0)`, "V", "E0303"},
}

// elsewhere names the instructions whose bad inputs other tests list.
var elsewhere = []string{
	"remove_connection", "render_templates", "schedule_faults", "set_connection", "store_service_files", "update_service", "upload_files",
}

func TestBadInputs(t *testing.T) {
	host := lang.NewHost(All(), types.All())
	asked := slices.Clone(elsewhere)
	for _, c := range badInputs {
		name, _, _ := strings.Cut(strings.TrimPrefix(c.call, "plan."), "(")
		asked = append(asked, name)
		p := source.OpenScript("bad.star", "def run(plan):\n    "+c.call+"\n")
		phase := "I"
		made, err := host.Interpret(t.Context(), lang.Request{Package: p, Enclave: existing{}})
		if err == nil {
			phase = "V"
			errs := plan.Validate(made.Steps, plan.NewForecast(plan.ForecastInput{
				Services:  map[string]map[string]enclave.Port{"db": existing{}.ExistingServices()[0].Ports},
				CPUMillis: 4000, MemoryMB: 8000,
			}))
			if len(errs) != 1 {
				t.Errorf("%s: %d problems: %v", c.call, len(errs), errs)
				continue
			}
			err = errs[0]
		}
		f := fault.From(err, "none")
		if phase != c.phase || f.Code != c.code {
			t.Errorf("%s: %s in %s, want %s in %s: %s", c.call, f.Code, phase, c.code, c.phase, f.Summary)
		}
		if len(f.At) == 0 || f.At[0].Line != 2 {
			t.Errorf("%s: its place is %v", c.call, f.At)
		}
	}
	for _, b := range All() {
		if !slices.Contains(asked, b.Name()) {
			t.Errorf("no bad input of %s is listed", b.Name())
		}
	}
}

// existing is an enclave in which an earlier run has added a service.
type existing struct{}

func (existing) ServiceValueID(string) (string, error) { return strings.Repeat("a", 32), nil }
func (existing) EnvVars() string                       { return "" }
func (existing) ClusterType() string                   { return "docker" }
func (existing) ExistingServices() []lang.ExistingService {
	return []lang.ExistingService{{Name: "db", Ports: map[string]enclave.Port{
		"sql": {Number: 5432, Transport: "tcp"}, "dns": {Number: 53, Transport: "udp"},
	}}}
}
