package api_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	corewire "github.com/kurtosis-tech/kurtosis/api/golang/core/kurtosis_core_rpc_api_bindings"
	wire "github.com/kurtosis-tech/kurtosis/api/golang/engine/kurtosis_engine_rpc_api_bindings"

	"github.com/lepto-dev/lepto/internal/api/client"
	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/memory"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/run"
)

// script adds a service that answers and one that prints, and talks.
const script = `
def run(plan, args):
    plan.add_service("web", ServiceConfig(
        image = "echo-server",
        ports = {"http": PortSpec(number = 8080, transport_protocol = "TCP", application_protocol = "http")},
        env_vars = {"PORTS": "8080"},
    ))
    plan.print("hello " + args["who"])
    return {"done": True}
`

func dialGRPC(t *testing.T, addr string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestWireAPIByGRPC drives the engine as an SDK does: plain gRPC, from the
// engine's loopback address on.
func TestWireAPIByGRPC(t *testing.T) {
	c, _ := startEngine(t, testConfig(memory.New(memory.Options{}), tempHome(t)))
	ctx := t.Context()
	eng := wire.NewEngineServiceClient(dialGRPC(t, c.Engine().Loopback))
	info, err := eng.GetEngineInfo(ctx, &emptypb.Empty{})
	if err != nil || info.GetEngineVersion() != "1.20.0" {
		t.Fatalf("engine info: %v, %v", info, err)
	}
	name := "grpc-test"
	made, err := eng.CreateEnclave(ctx, &wire.CreateEnclaveArgs{EnclaveName: &name})
	if err != nil {
		t.Fatal(err)
	}
	e := made.GetEnclaveInfo()
	if e.GetCreationTime() == nil || e.GetApiContainerInfo() == nil ||
		e.GetContainersStatus() != wire.EnclaveContainersStatus_EnclaveContainersStatus_RUNNING ||
		e.GetApiContainerStatus() != wire.EnclaveAPIContainerStatus_EnclaveAPIContainerStatus_RUNNING {
		t.Fatalf("an SDK can't open %v", e)
	}
	if _, err := eng.CreateEnclave(ctx, &wire.CreateEnclaveArgs{EnclaveName: &name}); status.Code(err) != codes.AlreadyExists {
		t.Fatalf("second enclave of the name: %v", err)
	}
	history, err := eng.GetExistingAndHistoricalEnclaveIdentifiers(ctx, &emptypb.Empty{})
	if err != nil || len(history.GetAllIdentifiers()) != 1 || history.GetAllIdentifiers()[0].GetEnclaveUuid() != e.GetEnclaveUuid() {
		t.Fatalf("history: %v, %v", history, err)
	}
	found, err := eng.GetEnclavesByUuids(ctx, &wire.GetEnclavesByUuidsArgs{EnclaveUuids: []string{e.GetEnclaveUuid(), "nobody"}})
	if err != nil || len(found.GetEnclaveInfo()) != 1 {
		t.Fatalf("by uuids: %v, %v", found, err)
	}
	host := e.GetApiContainerHostMachineInfo()
	core := corewire.NewApiContainerServiceClient(dialGRPC(t, host.GetIpOnHostMachine()+":"+uitoa(host.GetGrpcPortOnHostMachine())))
	runScript(t, core)
	runAgain(t, core)
	useService(t, core, eng, e.GetEnclaveUuid())
	if err := c.StopService(ctx, name, "web"); err != nil {
		t.Fatal(err)
	}
	services, err := core.GetServices(ctx, &corewire.GetServicesArgs{})
	web := services.GetServiceInfo()["web"]
	if err != nil || web.GetMaybePublicIpAddr() != "" || len(web.GetMaybePublicPorts()) > 0 || len(web.GetPrivatePorts()) != 1 {
		t.Fatalf("a stopped service has no public ports: %v, %v", web, err)
	}

	planYAML(t, core)
	if _, err := eng.StopEnclave(ctx, &wire.StopEnclaveArgs{EnclaveIdentifier: name}); err != nil {
		t.Fatal(err)
	}
	all, err := eng.GetEnclaves(ctx, &emptypb.Empty{})
	if err != nil || all.GetEnclaveInfo()[e.GetEnclaveUuid()].GetContainersStatus() != wire.EnclaveContainersStatus_EnclaveContainersStatus_STOPPED {
		t.Fatalf("after stop: %v, %v", all, err)
	}
	cleaned, err := eng.Clean(ctx, &wire.CleanArgs{})
	if err != nil || len(cleaned.GetRemovedEnclaveNameAndUuids()) != 1 {
		t.Fatalf("clean: %v, %v", cleaned, err)
	}
	if _, err := eng.DestroyEnclave(ctx, &wire.DestroyEnclaveArgs{EnclaveIdentifier: name}); status.Code(err) != codes.NotFound {
		t.Fatalf("destroy what is gone: %v", err)
	}
}

func runScript(t *testing.T, core corewire.ApiContainerServiceClient) {
	t.Helper()
	params := `{"who": "world"}`
	stream, err := core.RunStarlarkScript(t.Context(), &corewire.RunStarlarkScriptArgs{SerializedScript: script, SerializedParams: &params})
	if err != nil {
		t.Fatal(err)
	}
	var results []string
	var finished *corewire.StarlarkRunFinishedEvent
	for {
		line, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e := line.GetError(); e != nil {
			t.Fatalf("run: %v", e)
		}
		if r := line.GetInstructionResult(); r != nil {
			results = append(results, r.GetSerializedInstructionResult())
		}
		if f := line.GetRunFinishedEvent(); f != nil {
			finished = f
		}
	}
	if !finished.GetIsRunSuccessful() || !strings.Contains(finished.GetSerializedOutput(), "done") {
		t.Fatalf("finished: %v", finished)
	}
	if len(results) != 2 || !strings.Contains(results[1], "hello world") {
		t.Fatalf("results: %q", results)
	}
	last, err := core.GetStarlarkRun(t.Context(), &emptypb.Empty{})
	if err != nil || last.GetSerializedScript() != script || last.GetSerializedParams() != params {
		t.Fatalf("last run: %v, %v", last, err)
	}
}

// runAgain runs the script a second time, in parallel: all of it is done.
func runAgain(t *testing.T, core corewire.ApiContainerServiceClient) {
	t.Helper()
	params, parallel := `{"who": "world"}`, true
	stream, err := core.RunStarlarkScript(t.Context(), &corewire.RunStarlarkScriptArgs{SerializedScript: script, SerializedParams: &params, Parallel: &parallel})
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for {
		line, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if i := line.GetInstruction(); i != nil {
			told = append(told, fmt.Sprint(i.GetInstructionName(), " ", i.GetIsSkipped()))
		}
		if r := line.GetInstructionResult(); r != nil && r.GetSerializedInstructionResult() != "SKIPPED - This instruction has already been run in this enclave" {
			t.Errorf("result: %q", r.GetSerializedInstructionResult())
		}
	}
	slices.Sort(told)
	if !slices.Equal(told, []string{"add_service true", "print true"}) {
		t.Errorf("the second run tells of %q", told)
	}
}

// planYAML asks for plans: of an enclave that is new, so that what the script
// added before counts for nothing.
func planYAML(t *testing.T, core corewire.ApiContainerServiceClient) {
	t.Helper()
	params := `{"who": "all"}`
	got, err := core.GetStarlarkScriptPlanYaml(t.Context(), &corewire.StarlarkScriptPlanYamlArgs{SerializedScript: script, SerializedParams: &params})
	if err != nil || !strings.Contains(got.GetPlanYaml(), "services:\n- uuid: \"1\"\n  name: web\n") {
		t.Errorf("plan of a script: %v, %v", got, err)
	}
	_, err = core.GetStarlarkScriptPlanYaml(t.Context(), &corewire.StarlarkScriptPlanYamlArgs{SerializedScript: "def run(plan):\n  plan.get_service('web')"})
	if err == nil || !strings.Contains(err.Error(), "\"web\" is not known here") {
		t.Errorf("plan of a script that asks for a service of before: %v", err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"kurtosis.yml": "name: github.com/a/b\n",
		"main.star":    "def run(plan):\n  plan.add_service('a', ServiceConfig(image = 'i'))\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	upload(t, core, "github.com/a/b", archive(t, dir))
	got, err = core.GetStarlarkPackagePlanYaml(t.Context(), &corewire.StarlarkPackagePlanYamlArgs{PackageId: "github.com/a/b"})
	const want = "packageId: github.com/a/b\nservices:\n- uuid: \"1\"\n  name: a\n  image:\n    name: i\nimages:\n- i\n"
	if err != nil || got.GetPlanYaml() != want {
		t.Errorf("plan of a package: %v, %v", got, err)
	}
}

func useService(t *testing.T, core corewire.ApiContainerServiceClient, eng wire.EngineServiceClient, enclave string) {
	t.Helper()
	ctx := t.Context()
	all, err := core.GetServices(ctx, &corewire.GetServicesArgs{})
	if err != nil {
		t.Fatal(err)
	}
	web := all.GetServiceInfo()["web"]
	if web.GetServiceStatus() != corewire.ServiceStatus_RUNNING || web.GetPrivateIpAddr() == "" || web.GetPrivatePorts()["http"].GetNumber() != 8080 {
		t.Fatalf("services: %v", all)
	}
	if web.GetMaybePublicIpAddr() != "127.0.0.1" || web.GetMaybePublicPorts()["http"].GetMaybeApplicationProtocol() != "http" {
		t.Fatalf("public: %v", web)
	}
	short, err := core.GetServices(ctx, &corewire.GetServicesArgs{ServiceIdentifiers: map[string]bool{web.GetShortenedUuid(): true}})
	if err != nil || short.GetServiceInfo()[web.GetShortenedUuid()].GetName() != "web" {
		t.Fatalf("by short uuid: %v, %v", short, err)
	}
	if _, err := core.GetServices(ctx, &corewire.GetServicesArgs{ServiceIdentifiers: map[string]bool{"web": true, "nobody": true}}); status.Code(err) != codes.NotFound {
		t.Fatalf("unknown service: %v", err)
	}
	res, err := core.ExecCommand(ctx, &corewire.ExecCommandArgs{ServiceIdentifier: "web", CommandArgs: []string{"sh", "-c", "echo out; exit 3"}})
	if err != nil || res.GetExitCode() != 3 || res.GetLogOutput() != "out\n" {
		t.Fatalf("exec: %v, %v", res, err)
	}
	path, retries := "", uint32(3)
	if _, err := core.WaitForHttpGetEndpointAvailability(ctx, &corewire.WaitForHttpGetEndpointAvailabilityArgs{
		ServiceIdentifier: "web", Port: 9999, Path: &path, Retries: &retries}); err == nil {
		t.Fatal("a closed port answers")
	}
	readLogs(t, eng, enclave, web.GetServiceUuid())
}

func readLogs(t *testing.T, eng wire.EngineServiceClient, enclave, service string) {
	t.Helper()
	yes := true
	stream, err := eng.GetServiceLogs(t.Context(), &wire.GetServiceLogsArgs{
		EnclaveIdentifier: enclave, ServiceUuidSet: map[string]bool{service: true, "nobody": true}, ReturnAllLogs: &yes})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	notFound := false
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		notFound = notFound || m.GetNotFoundServiceUuidSet()["nobody"]
		lines = append(lines, m.GetServiceLogsByServiceUuid()[service].GetLine()...)
	}
	if !notFound {
		t.Error("an unknown service is not told of")
	}
	t.Logf("log: %q", lines)
}

func uitoa(n uint32) string { return json.Number(jsonOf(n)).String() }

func jsonOf(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// TestConnectJSON asks by Connect's JSON over HTTP/1.1, as curl does.
func TestConnectJSON(t *testing.T) {
	c, _ := startEngine(t, testConfig(memory.New(memory.Options{}), tempHome(t)))
	post := func(path, body string, header ...string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+c.Engine().Loopback+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var text bytes.Buffer
		if _, err := text.ReadFrom(res.Body); err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, text.String()
	}
	if code, text := post("/engine_api.EngineService/GetEngineInfo", "{}"); code != 200 || !strings.Contains(text, "1.20.0") {
		t.Errorf("engine info: %d %s", code, text)
	}
	code, text := post("/lepto.v1.Engine/InspectEnclave", `{"enclave": "nobody"}`)
	if code != 404 || !strings.Contains(text, "E0342") && !strings.Contains(text, "lepto.v1.FaultList") {
		t.Errorf("unknown enclave: %d %s", code, text)
	}
	if code, text := post("/engine_api.EngineService/GetEngineInfo", "{}", "Origin", "http://evil.example"); code != 403 {
		t.Errorf("a page's request: %d %s", code, text)
	}
}

// TestOwnService goes through the client's calls.
func TestOwnService(t *testing.T) {
	home := tempHome(t)
	c, _ := startEngine(t, testConfig(memory.New(memory.Options{}), home))
	ctx := t.Context()
	e, err := c.CreateEnclave(ctx, "", true)
	if err != nil || !e.Production || e.Status != "RUNNING" || e.API == "" {
		t.Fatalf("create: %+v, %v", e, err)
	}
	list, err := c.Enclaves(ctx)
	if err != nil || len(list) != 1 || list[0].UUID != e.UUID {
		t.Fatalf("enclaves: %+v, %v", list, err)
	}
	runID := runEvents(t, c, e.Name)
	again := 0
	for event, err := range c.Events(ctx, e.Name, runID, 2) {
		if err != nil {
			t.Fatal(err)
		}
		if again == 0 && event.Seq != 2 {
			t.Fatalf("first event is %d", event.Seq)
		}
		again++
	}
	if again == 0 {
		t.Fatal("no events of a run that is over")
	}
	detail, err := c.Enclave(ctx, e.ShortUUID)
	if err != nil || len(detail.Services) != 1 || detail.Services[0].Ports[0].HostPort == 0 {
		t.Fatalf("inspect: %+v, %v", detail, err)
	}
	if err := c.StopService(ctx, e.Name, "web"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(ctx, e.Name, "web", backend.ExecSpec{Args: []string{"true"}}, nil); !errors.Is(err, fault.ErrNotRunning) {
		t.Fatalf("exec in what is stopped: %v", err)
	}
	if err := c.StartService(ctx, e.Name, "web"); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	code, err := c.Exec(ctx, e.Name, "web", backend.ExecSpec{
		Args: []string{"cat"}, Stdin: strings.NewReader("through and back"), Stdout: &out}, nil)
	if err != nil || code != 0 || out.String() != "through and back" {
		t.Fatalf("exec: %d, %q, %v", code, out.String(), err)
	}
	if err := c.RemoveService(ctx, e.Name, "web"); err != nil {
		t.Fatal(err)
	}
	if services, err := c.Services(ctx, e.Name); err != nil || len(services) != 0 {
		t.Fatalf("services: %v, %v", services, err)
	}
	if err := c.CancelRun(ctx, e.Name, ""); !errors.Is(err, fault.ErrNotFound) {
		t.Fatalf("cancel nothing: %v", err)
	}
	if removed, err := c.Clean(ctx, true); err != nil || len(removed) != 1 {
		t.Fatalf("clean: %v, %v", removed, err)
	}
}

func runEvents(t *testing.T, c *client.Client, enclave string) (runID string) {
	t.Helper()
	var done *run.Done
	for event, err := range c.Run(t.Context(), client.RunRequest{Enclave: enclave, Script: script, ScriptName: "x.star", Args: `{"who": "you"}`}) {
		if err != nil {
			t.Fatal(err)
		}
		if event.Started != nil {
			runID = event.Started.RunID
		}
		if event.Error != nil {
			t.Fatalf("run: %+v", event.Error)
		}
		done = event.Done
	}
	if done == nil || !done.OK {
		t.Fatalf("done: %+v", done)
	}
	return runID
}

// TestRunOutlivesClient leaves a run at its first event and looks at it again.
func TestRunOutlivesClient(t *testing.T) {
	c, _ := startEngine(t, testConfig(memory.New(memory.Options{}), tempHome(t)))
	ctx := t.Context()
	e, err := c.CreateEnclave(ctx, "left", false)
	if err != nil {
		t.Fatal(err)
	}
	var runID string
	for event, err := range c.Run(ctx, client.RunRequest{Enclave: e.UUID, Script: script, Args: `{"who": "you"}`}) {
		if err != nil {
			t.Fatal(err)
		}
		runID = event.Started.RunID
		break
	}
	var done *run.Done
	for event, err := range c.Events(ctx, e.UUID, runID, 0) {
		if err != nil {
			t.Fatal(err)
		}
		done = event.Done
	}
	if done == nil || !done.OK {
		t.Fatalf("done: %+v", done)
	}
}

// TestPackages runs a package from its directory, and one that was uploaded.
func TestPackages(t *testing.T) {
	c, _ := startEngine(t, testConfig(memory.New(memory.Options{}), tempHome(t)))
	e, err := c.CreateEnclave(t.Context(), "packages", false)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"kurtosis.yml": "name: github.com/example/greeter\n",
		"main.star":    "lib = import_module(\"./lib.star\")\n\ndef run(plan):\n    plan.print(lib.text)\n",
		"lib.star":     "text = \"from a module\"\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	said := func(req client.RunRequest) string {
		var text string
		for event, err := range c.Run(t.Context(), req) {
			if err != nil {
				t.Fatal(err)
			}
			if event.Error != nil {
				t.Fatalf("run: %+v", event.Error)
			}
			if event.Result != nil {
				text = event.Result.Text
			}
		}
		return text
	}
	if text := said(client.RunRequest{Enclave: e.Name, Dir: dir}); text != "from a module" {
		t.Errorf("by directory: %q", text)
	}
	core := corewire.NewApiContainerServiceClient(dialGRPC(t, e.API))
	upload(t, core, "github.com/example/greeter", archive(t, dir))
	if text := said(client.RunRequest{Enclave: e.Name, PackageID: "github.com/example/greeter", Experimental: []string{run.NoCaching}}); text != "from a module" {
		t.Errorf("by upload: %q", text)
	}
	var failed error
	for _, err := range c.Run(t.Context(), client.RunRequest{Enclave: e.Name, PackageID: "github.com/example/other"}) {
		failed = err
	}
	if f, ok := errors.AsType[*fault.Fault](failed); !ok || !errors.Is(failed, fault.ErrNotFound) || f.Code != "E0708" {
		t.Errorf("a package that is not there: %v", failed)
	}
}
