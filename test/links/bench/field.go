package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// field is an engine of its own with three services: a and c in one subnetwork, b
// in another.
type field struct {
	ctx                    context.Context
	binary, dir, mechanism string
}

const enclave = "field"

func newField(ctx context.Context, binary string) (*field, error) {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "lplinks")
	if err != nil {
		return nil, err
	}
	f := &field{ctx: ctx, binary: binary, dir: dir, mechanism: "netem"}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, "lab"), "./test/links/lab")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build lab: %w: %s", err, output)
	}
	dockerfile := "FROM scratch\nCOPY lab /lab\nENTRYPOINT [\"/lab\"]\n"
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o644); err != nil {
		return nil, err
	}
	if _, err := f.lepto("image", "build", "-t", "links/lab", dir); err != nil {
		return nil, err
	}
	script := `
def run(plan):
    port = {"tell": PortSpec(7001)}
    plan.add_services({
        "a": ServiceConfig("links/lab", cmd = ["serve"], ports = port, capabilities = ["NET_ADMIN"], subnetwork = "one"),
        "b": ServiceConfig("links/lab", cmd = ["serve"], ports = port, capabilities = ["NET_ADMIN"], subnetwork = "two"),
        "c": ServiceConfig("links/lab", cmd = ["serve"], ports = port, subnetwork = "one"),
    })
    plan.set_connection(("one", "two"), ConnectionConfig(packet_loss_percentage = 1.0))
`
	if err := f.run(enclave, script); err != nil {
		f.close()
		return nil, err
	}
	if f.relayMemory() > 0 {
		f.mechanism = "the relay"
	}
	return f, nil
}

func (f *field) close() {
	_, _ = f.lepto("clean", "-a")
	_, _ = f.lepto("engine", "stop")
	_ = os.RemoveAll(f.dir)
}

func (f *field) lepto(args ...string) (string, error) {
	command := exec.CommandContext(f.ctx, f.binary, args...)
	command.Env = append(os.Environ(), "LEPTO_HOME="+filepath.Join(f.dir, "h"), "LEPTO_LOOPBACK=off", "NO_COLOR=1")
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("lepto %s: %w\n%s%s", strings.Join(args, " "), err, &stdout, &stderr)
	}
	return stdout.String(), nil
}

// run runs a script in an enclave.
func (f *field) run(enclave, script string) error {
	path := filepath.Join(f.dir, "script.star")
	if err := os.WriteFile(path, []byte(script), 0o644); err != nil {
		return err
	}
	_, err := f.lepto("run", path, "--enclave", enclave, "--show-enclave-inspect=false")
	return err
}

// set sets the connection between the two subnetworks.
func (f *field) set(args ...string) error {
	_, err := f.lepto(append([]string{"link", "set", enclave, "one", "two"}, args...)...)
	return err
}

func (f *field) exec(service string, args ...string) (string, error) {
	return f.exec1(enclave, service, args...)
}

func (f *field) exec1(enclave, service string, args ...string) (string, error) {
	return f.lepto(append([]string{"service", "exec", enclave, service, "--", "/lab"}, args...)...)
}

func (f *field) execJSON(into any, service string, args ...string) error {
	text, err := f.exec(service, args...)
	if err != nil {
		return err
	}
	return decode(text, into)
}

// delays sets a connection and gives how long datagrams took, in order of sending.
func (f *field) delays(n int, args ...string) ([]float64, error) {
	if err := f.set(args...); err != nil {
		return nil, err
	}
	return f.sample("b", n)
}

func (f *field) sample(to string, n int) ([]float64, error) {
	if _, err := f.exec(to, "reset"); err != nil {
		return nil, err
	}
	if _, err := f.exec("a", "send", to, strconv.Itoa(n), "1ms", "100"); err != nil {
		return nil, err
	}
	var got []arrival
	if err := f.execJSON(&got, to, "dump"); err != nil {
		return nil, err
	}
	slices.SortFunc(got, func(a, b arrival) int { return cmp.Compare(a.Seq, b.Seq) })
	out := make([]float64, len(got))
	for i, a := range got {
		out[i] = a.MS
	}
	return out, nil
}

// arrival is a datagram that came in.
type arrival struct {
	Seq uint32
	MS  float64
}

func (f *field) tcp(to, time string) (float64, error) {
	text, err := f.exec("a", "tcp", to, time)
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(strings.TrimSpace(text), 64)
}

// relayMemory gives the resident megabytes of the relay; 0 if there is none.
func (f *field) relayMemory() float64 {
	files, _ := filepath.Glob(filepath.Join(f.dir, "h", "native", "*", "link", "status.json"))
	most := 0.0
	for _, file := range files {
		var status struct{ PID int }
		text, err := os.ReadFile(file)
		if err != nil || decode(string(text), &status) != nil {
			continue
		}
		memory, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", status.PID))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(memory)) {
			var kilobytes float64
			if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kilobytes); err == nil {
				most = max(most, kilobytes/1024)
			}
		}
	}
	return most
}
