// Package e2e tests lepto as a user meets it: the real binary, real containers,
// crashes at random points. Needs root on Linux; starts engines in homes of
// their own and leaves the host as it was.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/api/view"
	"github.com/lepto-dev/lepto/internal/backend/backendtest/bounds"
	"github.com/lepto-dev/lepto/internal/run"
)

// What TestMain builds once: the binary under test, the lab program, and the
// one of package links that measures.
var lepto, lab, linksLab string

func TestMain(m *testing.M) {
	code, err := build(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func build(m *testing.M) (int, error) {
	if os.Geteuid() != 0 {
		return 1, errors.New("these tests run containers: root is needed")
	}
	for _, variable := range []string{"LEPTO_BACKEND", "LEPTO_ENCLAVE_VARS", "LEPTO_PACKAGE_MIRROR", "LEPTO_TRACE"} {
		if err := os.Unsetenv(variable); err != nil { // the caller's own settings
			return 1, err
		}
	}
	dir, err := os.MkdirTemp("", "e2e-lepto-bin")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	if have := os.Getenv("LEPTO_TEST_PROGRAMS"); have != "" { // there is no compiler
		lepto, lab, linksLab = filepath.Join(have, "lepto"), filepath.Join(have, "lab"), filepath.Join(have, "links")
		return m.Run(), nil
	}
	lepto, lab, linksLab = filepath.Join(dir, "lepto"), filepath.Join(dir, "lab"), filepath.Join(dir, "links")
	for _, command := range []*exec.Cmd{
		exec.Command("make", "-C", "../..", "--no-print-directory", "build", "examples"),
		exec.Command("cp", "../../bin/lepto", lepto),
		exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", lab, "./lab"),
		exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", linksLab, "../links/lab"),
	} {
		command.Env = append(os.Environ(), "CGO_ENABLED=0")
		if output, err := command.CombinedOutput(); err != nil {
			return 1, fmt.Errorf("%s: %w\n%s", command, err, output)
		}
	}
	return m.Run(), nil
}

// A world is an engine in a home of its own, and a folder for scripts.
type world struct {
	t      *testing.T
	dir    string
	home   string
	extra  []string // environment
	before snapshot
}

// newWorld makes a world with the lab image built. When the test ends, it
// removes all enclaves, stops the engine, and compares the host with before.
func newWorld(t *testing.T) *world {
	t.Helper()
	before := takeSnapshot(t)
	dir, err := os.MkdirTemp("", "e2e") // short: socket paths end at 107 bytes
	must(t, err)
	w := &world{t: t, dir: dir, home: filepath.Join(dir, "h"), before: before}
	t.Cleanup(w.close)
	context := w.folder("lab", map[string]string{"Dockerfile": "FROM scratch\nCOPY lab /lab\nENV LAB=lab\nENTRYPOINT [\"/lab\"]\n"})
	must(t, os.Link(lab, filepath.Join(context, "lab")))
	w.ok("image", "build", "-t", "lab", context)
	return w
}

// box makes the image "box" available: busybox, with the lab program as /lab.
func (w *world) box() {
	w.t.Helper()
	context := w.folder("box", map[string]string{"Dockerfile": "FROM scratch\nCOPY busybox /bin/busybox\n" +
		"RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\nRUN mkdir -p /tmp && chmod 1777 /tmp\nCOPY lab /lab\n"})
	must(w.t, os.Link(lab, filepath.Join(context, "lab")))
	w.copyFile("/bin/busybox", filepath.Join(context, "busybox"))
	w.ok("image", "build", "-t", "box", context)
}

func (w *world) copyFile(from, to string) {
	w.t.Helper()
	data, err := os.ReadFile(from)
	must(w.t, err)
	must(w.t, os.WriteFile(to, data, 0o755))
}

func (w *world) close() {
	if w.t.Failed() {
		log, _ := os.ReadFile(filepath.Join(w.home, "engine.log"))
		w.t.Logf("engine.log:\n%s", tail(string(log), 60))
	}
	w.run("clean", "-a")
	w.run("engine", "stop")
	if err := os.RemoveAll(w.dir); err != nil {
		w.t.Errorf("the home can't be removed: %v", err)
	}
	w.sameHost()
}

// sameHost waits until the host is as it was before the world: processes that
// were killed need a moment to be gone.
func (w *world) sameHost() {
	w.t.Helper()
	var difference string
	for deadline := time.Now().Add(bounds.Wide(20 * time.Second)); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if difference = w.before.diff(takeSnapshot(w.t), w.home); difference == "" {
			return
		}
	}
	w.t.Errorf("the host is not as it was:\n%s", difference)
}

// A result is what a command gave.
type result struct {
	stdout, stderr string
	code           int
	took           time.Duration
}

func (w *world) command(args ...string) *exec.Cmd {
	command := exec.Command(lepto, args...)
	command.Dir = w.dir
	command.Env = append(os.Environ(), "LEPTO_HOME="+w.home, "LEPTO_LOOPBACK=off", "NO_COLOR=1", "CI=true")
	command.Env = append(command.Env, w.extra...)
	return command
}

func (w *world) run(args ...string) result {
	w.t.Helper()
	return w.finish(w.command(args...))
}

func (w *world) finish(command *exec.Cmd) result {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), bounds.Wide(4*time.Minute))
	defer cancel()
	bounded := exec.CommandContext(ctx, command.Path, command.Args[1:]...)
	bounded.Dir, bounded.Env, bounded.Stdin = command.Dir, command.Env, command.Stdin
	var stdout, stderr bytes.Buffer
	bounded.Stdout, bounded.Stderr = &stdout, &stderr
	begin := time.Now()
	err := bounded.Run()
	r := result{stdout: stdout.String(), stderr: stderr.String(), took: time.Since(begin)}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		r.code = exit.ExitCode()
	case err != nil:
		w.t.Fatalf("%s: %v", command, err)
	}
	return r
}

// interrupt is a Ctrl-C.
func interrupt(command *exec.Cmd) error { return command.Process.Signal(os.Interrupt) }

// ok runs a command that must succeed, and gives its stdout.
func (w *world) ok(args ...string) string {
	w.t.Helper()
	r := w.run(args...)
	if r.code != 0 {
		w.t.Fatalf("lepto %s: exit %d\nstdout: %s\nstderr: %s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// folder writes files into a new folder of the world.
func (w *world) folder(name string, files map[string]string) string {
	w.t.Helper()
	dir := filepath.Join(w.dir, name)
	for file, text := range files {
		path := filepath.Join(dir, file)
		must(w.t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(w.t, os.WriteFile(path, []byte(text), 0o644))
	}
	return dir
}

// script writes a script and gives its path.
func (w *world) script(text string) string {
	w.t.Helper()
	file, err := os.CreateTemp(w.dir, "*.star")
	must(w.t, err)
	_, err = file.WriteString(text)
	must(w.t, err)
	must(w.t, file.Close())
	return file.Name()
}

// events runs a script or package with -o json and gives its events.
func (w *world) events(args ...string) ([]run.Event, result) {
	w.t.Helper()
	r := w.run(append([]string{"run", "-o", "json"}, args...)...)
	var events []run.Event
	for _, line := range strings.Split(strings.TrimSpace(r.stdout), "\n") {
		if line == "" {
			continue
		}
		event, err := run.Decode([]byte(line))
		if err != nil {
			w.t.Fatalf("stdout is not one event a line: %v\n%s", err, r.stdout)
		}
		events = append(events, event)
	}
	return events, r
}

// problem gives the only error of a failed run.
func (w *world) problem(script string, args ...string) *run.Problem {
	w.t.Helper()
	events, r := w.events(append([]string{w.script(script)}, args...)...)
	if r.code == 0 {
		w.t.Fatalf("the run succeeded:\n%s", r.stdout)
	}
	for _, event := range events {
		if event.Error != nil {
			return event.Error
		}
	}
	w.t.Fatalf("no error event:\n%s\n%s", r.stdout, r.stderr)
	return nil
}

func (w *world) inspect(enclave string) view.EnclaveDetail {
	w.t.Helper()
	var detail view.EnclaveDetail
	w.decode(w.ok("enclave", "inspect", enclave, "-o", "json"), &detail)
	return detail
}

func (w *world) service(enclave, name string) view.Service {
	w.t.Helper()
	for _, service := range w.inspect(enclave).Services {
		if service.Name == name {
			return service
		}
	}
	w.t.Fatalf("enclave %q has no service %q", enclave, name)
	return view.Service{}
}

func (w *world) decode(text string, into any) {
	w.t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		w.t.Fatalf("not JSON: %v\n%s", err, text)
	}
}

// enginePID gives the engine's process id, 0 if none runs.
func (w *world) enginePID() int {
	w.t.Helper()
	var status struct{ PID int }
	if r := w.run("engine", "status", "-o", "json"); r.code == 0 {
		w.decode(r.stdout, &status)
	}
	return status.PID
}

// get fetches a URL from the host.
func get(url string) (string, error) {
	client := http.Client{Timeout: bounds.Wide(30 * time.Second), Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	var body bytes.Buffer
	_, err = body.ReadFrom(response.Body)
	return body.String(), err
}

// url gives where the host reaches a port.
func (w *world) url(enclave, service, port string) string {
	w.t.Helper()
	return strings.TrimSpace(w.ok("port", "print", enclave, service, port))
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// eventually polls until the check holds, for at most half a minute of a plain
// machine: it may be busy.
func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	for deadline := time.Now().Add(bounds.Wide(30 * time.Second)); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if check() {
			return
		}
	}
	t.Fatalf("never happened: %s", what)
}

func itoa(n uint16) string { return strconv.Itoa(int(n)) }
