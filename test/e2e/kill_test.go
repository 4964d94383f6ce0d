package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/api/view"
)

// This file: our processes are killed at random points, and nothing is lost.
// LEPTO_STRESS sets how many times (make stress: 200).

func rounds(t *testing.T) int {
	t.Helper()
	if text := os.Getenv("LEPTO_STRESS"); text != "" {
		n, err := strconv.Atoi(text)
		must(t, err)
		return n
	}
	return 10
}

const steady = `
def run(plan):
    plan.add_service("web", ServiceConfig(image = "lab", cmd = ["serve", "8080"], ports = {"http": PortSpec(number = 8080, application_protocol = "http")}))
    plan.add_service("ticks", ServiceConfig(image = "lab", cmd = ["tick", "2ms"]))
`

const growing = `
def run(plan):
    plan.add_services({"n{}".format(i): ServiceConfig(image = "lab", cmd = ["serve", "8080"], ports = {"http": PortSpec(number = 8080)}) for i in range(3)})
    plan.exec("n0", ExecRecipe(command = ["/lab", "get", "http://n1:8080/name"]))
    plan.remove_service("n2")
    plan.add_service("late", ServiceConfig(image = "lab", cmd = ["serve", "8080"], ports = {"http": PortSpec(number = 8080)}))
`

const tasking = `
def run(plan):
    for i in range(12):
        plan.run_sh(image = "box", run = "echo {}".format(i))
`

func TestKillEngine(t *testing.T) {
	w := newWorld(t)
	w.box()
	w.ok("run", w.script(steady), "--enclave", "steady")
	pid, url := w.service("steady", "web").PID, w.url("steady", "web", "http")
	random := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	scripts := []string{w.script(growing), w.script(tasking)}

	for round := range rounds(t) {
		name := fmt.Sprintf("round-%d", round)
		running := w.command("run", scripts[round%len(scripts)], "--enclave", name)
		var output bytes.Buffer
		running.Stdout, running.Stderr = &output, &output
		must(t, running.Start())
		time.Sleep(time.Duration(random.Int64N(int64(600 * time.Millisecond)))) // the random point
		if engine := w.enginePID(); engine != 0 {
			must(t, syscall.Kill(engine, syscall.SIGKILL))
		}
		_ = running.Wait()

		// While no engine lives, what ran still runs and answers.
		if body, err := get(url + "/name"); err != nil || body != "web lab" {
			t.Fatalf("round %d: with the engine dead, the service answers %q, %v", round, body, err)
		}
		w.nothingHalfMade(name)
		w.run("enclave", "rm", "-f", name)
		if now := w.service("steady", "web").PID; now != pid {
			t.Fatalf("round %d: the service runs as %d, it was %d", round, now, pid)
		}
	}
	w.ticksAreComplete()
	w.ok("enclave", "rm", "-f", "steady")
	w.homeIsClean()
}

// nothingHalfMade lets the next command adopt, and checks that each service the
// engine knows is whole: running with a process, or ended with an exit.
func (w *world) nothingHalfMade(name string) {
	w.t.Helper()
	var list []view.Enclave
	w.decode(w.ok("enclave", "ls", "-o", "json"), &list)
	known := false
	for _, enclave := range list {
		known = known || enclave.Name == name
	}
	if !known {
		return // killed before it was made, or taken back
	}
	for _, service := range w.inspect(name).Services {
		switch {
		case service.Status == view.Running && service.PID == 0:
			w.t.Errorf("%s/%s runs without a process", name, service.Name)
		case service.Status == view.Running && !alive(service.PID):
			w.t.Errorf("%s/%s: process %d is not there", name, service.Name, service.PID)
		case service.Status == view.Unknown:
			w.t.Errorf("%s/%s is half made", name, service.Name)
		}
	}
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// ticksAreComplete checks that no line of the ticking service is missing.
func (w *world) ticksAreComplete() {
	w.t.Helper()
	want := 1
	for _, line := range strings.Split(strings.TrimSpace(w.ok("service", "logs", "steady", "ticks", "--all")), "\n") {
		_, text, _ := strings.Cut(line, "] ")
		if text != fmt.Sprintf("tick %d", want) {
			w.t.Fatalf("line %d of the log is %q", want, line)
		}
		want++
	}
	if want < 100 {
		w.t.Errorf("only %d ticks were kept", want)
	}
}

func TestKillSupervisor(t *testing.T) {
	w := newWorld(t)
	w.ok("run", w.script(steady), "--enclave", "steady")
	web, ticks := w.service("steady", "web").PID, w.service("steady", "ticks").PID
	random := rand.New(rand.NewPCG(2, uint64(time.Now().UnixNano())))
	for round := range rounds(t) {
		victims := w.supervisors()
		if len(victims) == 0 {
			t.Fatalf("round %d: no process of ours is left", round)
		}
		must(t, syscall.Kill(victims[random.IntN(len(victims))], syscall.SIGKILL))
		if round%3 == 0 { // and the engine with it: the next command has both to repair
			if engine := w.enginePID(); engine != 0 {
				must(t, syscall.Kill(engine, syscall.SIGKILL))
			}
		}
		if got := w.service("steady", "web").PID; got != web {
			t.Fatalf("round %d: web runs as %d, it was %d", round, got, web)
		}
		if got := w.service("steady", "ticks").PID; got != ticks {
			t.Fatalf("round %d: ticks runs as %d, it was %d", round, got, ticks)
		}
		url := w.url("steady", "web", "http")
		eventually(t, "the service answers again", func() bool {
			body, err := get(url + "/name")
			return err == nil && body == "web lab"
		})
		if out := w.ok("service", "exec", "steady", "web", "--", "/lab", "get", "http://web:8080/name"); out != "web lab" {
			t.Fatalf("round %d: exec gives %q", round, out)
		}
	}
	w.ticksAreComplete()
	w.exitSurvivesItsSupervisor()
}

// exitSurvivesItsSupervisor: a service ends while nobody watches it.
func (w *world) exitSurvivesItsSupervisor() {
	w.t.Helper()
	w.ok("run", w.script(`
def run(plan):
    plan.add_service("s", ServiceConfig(image = "lab", cmd = ["sleep"]))
`), "--enclave", "alone")
	child := w.service("alone", "s").PID
	must(w.t, syscall.Kill(w.enginePID(), syscall.SIGKILL))
	for _, pid := range w.supervisors() {
		must(w.t, syscall.Kill(pid, syscall.SIGKILL))
	}
	must(w.t, syscall.Kill(child, syscall.SIGTERM))
	eventually(w.t, "the orphan ends", func() bool { return !alive(child) })
	service := w.service("alone", "s")
	if service.Status != view.Stopped || service.Exit == nil || service.Exit.Code != 0 {
		w.t.Errorf("the orphan's end was lost: %s, %+v", service.Status, service.Exit)
	}
}

// supervisors lists the processes beside this world's containers and networks.
func (w *world) supervisors() []int {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var pids []int
	for _, dir := range dirs {
		line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err == nil && bytes.Contains(line, []byte("lepto-supervisor")) && bytes.Contains(line, []byte(w.home)) {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			pids = append(pids, pid)
		}
	}
	return pids
}

func sha256Hex(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
