package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// lab is an engine of its own, in a home of its own, with one image: the static
// program that the end-to-end tests run.
type lab struct {
	binary, dir, program string
	env                  []string
	count                int
}

var packages = map[string]string{
	"empty.star":   "def run(plan):\n    plan.print(\"hello\")\n",
	"one.star":     "def run(plan):\n    plan.add_service(\"s\", " + service + ")\n",
	"hundred.star": "def run(plan):\n    plan.add_services({\"s{}\".format(i): " + service + " for i in range(100)})\n",
	"ten.star": "def run(plan):\n    plan.add_services({\"s{}\".format(i): " + service +
		" for i in range(10)})\n",
	"tasks.star": "def run(plan):\n    for i in range(20):\n        plan.run_sh(image = \"bench/lab\", run = \"echo {}\".format(i))\n",
}

// shell is a static program that is the image's /bin/sh, for tasks.
const shell = "/bin/busybox"

const service = `ServiceConfig(image = "bench/lab", cmd = ["serve", "8080"], ports = {"http": PortSpec(number = 8080)})`

func newLab(ctx context.Context, binary string) (*lab, error) {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "lpbench")
	if err != nil {
		return nil, err
	}
	l := &lab{binary: binary, dir: dir, program: filepath.Join(dir, "lab")}
	l.env = append(os.Environ(), "LEPTO_HOME="+filepath.Join(dir, "home"), "LEPTO_LOOPBACK=off", "NO_COLOR=1")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", l.program, "./test/e2e/lab")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build lab: %w: %s", err, output)
	}
	for name, text := range packages {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	sh, err := os.ReadFile(shell)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "sh"), sh, 0o755); err != nil {
		return nil, err
	}
	dockerfile := "FROM scratch\nCOPY lab /lab\nCOPY sh /bin/sh\nENTRYPOINT [\"/lab\"]\n"
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o644); err != nil {
		return nil, err
	}
	_, err = l.lepto(ctx, "image", "build", "-t", "bench/lab", dir)
	return l, err
}

func (l *lab) close() {
	ctx := context.Background()
	_, _ = l.lepto(ctx, "clean", "-a")
	_, _ = l.lepto(ctx, "engine", "stop")
	_ = os.RemoveAll(l.dir)
}

func (l *lab) lepto(ctx context.Context, args ...string) (string, error) {
	command := exec.CommandContext(ctx, l.binary, args...)
	command.Env = l.env
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("lepto %s: %w\n%s%s", strings.Join(args, " "), err, &stdout, &stderr)
	}
	return stdout.String(), nil
}

func (l *lab) timed(ctx context.Context, args ...string) (time.Duration, error) {
	begin := time.Now()
	_, err := l.lepto(ctx, args...)
	return time.Since(begin), err
}

func (l *lab) fresh() string {
	l.count++
	return fmt.Sprintf("bench-%d", l.count)
}

func (l *lab) engineStart(ctx context.Context) (time.Duration, error) {
	if _, err := l.lepto(ctx, "engine", "stop"); err != nil {
		return 0, err
	}
	return l.timed(ctx, "engine", "start")
}

// runOf times one run in a new enclave; lepto itself waits for the ports.
func (l *lab) runOf(script string) func(context.Context) (time.Duration, error) {
	return func(ctx context.Context) (time.Duration, error) {
		name := l.fresh()
		took, err := l.timed(ctx, "run", filepath.Join(l.dir, script), "--enclave", name)
		_, rm := l.lepto(ctx, "enclave", "rm", "-f", name)
		return took, first(err, rm)
	}
}

// within runs a script in a new enclave, then times what is given.
func (l *lab) within(ctx context.Context, script string, timed func(name string) (time.Duration, error)) (time.Duration, error) {
	name := l.fresh()
	if _, err := l.lepto(ctx, "run", filepath.Join(l.dir, script), "--enclave", name); err != nil {
		return 0, err
	}
	took, err := timed(name)
	_, _ = l.lepto(ctx, "enclave", "rm", "-f", name)
	return took, err
}

// hundred times a run with more services than are started at once.
func (l *lab) hundred(ctx context.Context) (time.Duration, error) {
	name := l.fresh()
	took, err := l.timed(ctx, "run", filepath.Join(l.dir, "hundred.star"), "--enclave", name, "--parallelism", "16")
	_, rm := l.lepto(ctx, "enclave", "rm", "-f", name)
	return took, first(err, rm)
}

func (l *lab) rerun(ctx context.Context) (time.Duration, error) {
	return l.within(ctx, "one.star", func(name string) (time.Duration, error) {
		return l.timed(ctx, "run", filepath.Join(l.dir, "one.star"), "--enclave", name)
	})
}

func (l *lab) exec(ctx context.Context) (time.Duration, error) {
	return l.within(ctx, "one.star", func(name string) (time.Duration, error) {
		return l.timed(ctx, "service", "exec", name, "s", "--", "/lab", "dial", "127.0.0.1:8080")
	})
}

func (l *lab) remove(ctx context.Context) (time.Duration, error) {
	return l.within(ctx, "ten.star", func(name string) (time.Duration, error) {
		return l.timed(ctx, "enclave", "rm", "-f", name)
	})
}

// gauge is a figure of memory, with its bar in megabytes (0: none).
type gauge struct {
	name      string
	megabytes float64
	bar       float64
}

func (g gauge) barText() string {
	if g.bar == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f MB", g.bar)
}

func (g gauge) verdict() string {
	switch {
	case g.bar == 0:
		return ""
	case g.megabytes <= g.bar:
		return "met"
	}
	return "MISSED"
}

// memory reads the resident sizes of the engine and of our other processes
// while ten services run.
func (l *lab) memory(ctx context.Context) ([]gauge, error) {
	var gauges []gauge
	_, err := l.within(ctx, "ten.star", func(string) (time.Duration, error) {
		status, err := l.lepto(ctx, "engine", "status", "-o", "json")
		if err != nil {
			return 0, err
		}
		var engine struct{ PID int }
		if err := json.Unmarshal([]byte(status), &engine); err != nil {
			return 0, err
		}
		// What a start took is given back within a fraction of a second.
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
		supervisors, gateways := l.ours()
		gauges = []gauge{
			{name: "engine, resident", megabytes: resident(engine.PID)},
			{name: "supervisor, resident a second later (mean of ten)", megabytes: mean(supervisors), bar: 5},
			{name: "gateway process, resident", megabytes: mean(gateways)},
		}
		return 0, nil
	})
	return gauges, err
}

// ours finds the supervisors and gateway processes of this lab's home.
func (l *lab) ours() (supervisors, gateways []float64) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || !bytes.Contains(line, []byte(l.dir)) || !bytes.Contains(line, []byte("lepto-supervisor")) {
			continue
		}
		var pid int
		_, _ = fmt.Sscanf(filepath.Base(dir), "%d", &pid)
		if bytes.Contains(line, []byte("\x00net\x00")) {
			gateways = append(gateways, resident(pid))
		} else {
			supervisors = append(supervisors, resident(pid))
		}
	}
	return supervisors, gateways
}

// resident gives VmRSS in megabytes (proc(5)).
func resident(pid int) float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for _, line := range strings.Split(string(status), "\n") {
		var kilobytes float64
		if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kilobytes); err == nil {
			return kilobytes / 1000
		}
	}
	return 0
}

func mean(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	var sum float64
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}
