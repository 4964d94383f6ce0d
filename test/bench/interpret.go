package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/instruction"
	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/lang/types"
	"github.com/lepto-dev/lepto/internal/run"
	"github.com/lepto-dev/lepto/internal/source"
)

// This file times interpretation and validation, in this process: what lepto plan
// does between reading its arguments and writing.

const (
	interpretBar = 60 * time.Millisecond  // 1000 services
	publicBar    = 150 * time.Millisecond // about 200 instructions of a public package
	// linearBar is how much more a service may cost among 10,000 than among 100.
	linearBar = 2.0
	// publicPackage makes 194 instructions with these arguments.
	publicPackage = "github.com/ethpandaops/ethereum-package"
	publicArgs    = ".github/tests/mix-with-tools.yaml"
)

// generated is a package that adds services with a helper of another file, each
// with ports, files, variables and values of the one before.
var generated = map[string]string{
	"kurtosis.yml": "name: github.com/lepto-dev/bench\n",
	"main.star": `lib = import_module("./lib.star")

def run(plan, count = 1000):
    config = plan.render_templates({"/config.toml": struct(template = "{{.Name}}", data = {"Name": "bench"})})
    previous = None
    for i in range(count):
        previous = lib.add(plan, "service-%d" % i, config, previous)
    return previous.hostname
`,
	"lib.star": `def add(plan, name, config, previous):
    peers = [previous.ip_address] if previous else []
    return plan.add_service(name = name, config = ServiceConfig(
        image = "registry.example/service:1.0",
        ports = {
            "http": PortSpec(number = 8080, transport_protocol = "TCP", application_protocol = "http"),
            "p2p": PortSpec(number = 9000, transport_protocol = "UDP", wait = None),
        },
        files = {"/etc/service": config},
        cmd = ["--name={}".format(name), "--peers=" + ",".join(peers)],
        env_vars = {"NAME": name, "PEER": previous.hostname if previous else ""},
        min_cpu = 10,
        max_memory = 256,
    ))
`,
}

// interpretation times plans, and prints their medians.
func interpretation(ctx context.Context, rounds int) error {
	dir, err := os.MkdirTemp("", "lepto-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for name, text := range generated {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	b := interpretBench{host: lang.NewHost(instruction.All(), types.All()), rounds: rounds}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "interpretation and validation\tmedian\tof the processor\tbar\tinstructions\tverdict")
	each := map[int]time.Duration{}
	for _, services := range []int{100, 1000, 10_000} {
		took, busy, steps, err := b.plan(ctx, dir, "", fmt.Sprintf(`{"count": %d}`, services))
		if err != nil {
			return err
		}
		each[services] = took / time.Duration(services)
		bar, verdict := "-", ""
		if services == 1000 {
			bar, verdict = ms(interpretBar), judged(took <= interpretBar)
		}
		fmt.Fprintf(w, "generated package, %d services\t%s\t%s\t%s\t%d\t%s\n", services, ms(took), ms(busy), bar, steps, verdict)
	}
	growth := float64(each[10_000]) / float64(each[100])
	fmt.Fprintf(w, "a service among 10000, of one among 100\t%.2f\t\t%.2f\t\t%s\n", growth, linearBar, judged(growth <= linearBar))
	if err := b.public(ctx, w, dir); err != nil {
		return err
	}
	return w.Flush()
}

func judged(met bool) string {
	if met {
		return "met"
	}
	return "MISSED"
}

type interpretBench struct {
	host   *lang.Host
	rounds int
}

// public times a public package from the directory PACKAGES_DIR; without it, a
// generated one with as many instructions.
func (b interpretBench) public(ctx context.Context, w *tabwriter.Writer, dir string) error {
	name, args, mirror := "generated package, 200 services", `{"count": 200}`, os.Getenv("PACKAGES_DIR")
	if mirror != "" {
		l, err := source.ParseLocator(publicPackage)
		if err != nil {
			return err
		}
		tree, err := source.Mirror{Dir: mirror}.Fetch(ctx, l)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(filepath.Join(tree.Dir, publicArgs))
		if err != nil {
			return err
		}
		if args, err = source.ParamsJSON(string(text)); err != nil {
			return err
		}
		name, dir = publicPackage, tree.Dir
	}
	took, busy, steps, err := b.plan(ctx, dir, mirror, args)
	if err == nil {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n", name, ms(took), ms(busy), ms(publicBar), steps, judged(took <= publicBar))
	}
	return err
}

// plan gives the medians of planning a package — of the clock, and of what the
// processor was busy with it, which tells more where others are at work — and how
// many instructions it has.
func (b interpretBench) plan(ctx context.Context, dir, mirror, args string) (took, busy time.Duration, steps int, err error) {
	var times, processor series
	for range b.rounds {
		began, before := time.Now(), processorTime()
		pkg, err := source.OpenDir(dir, "", source.WithFetcher(source.Mirror{Dir: mirror}))
		if err != nil {
			return 0, 0, 0, err
		}
		planned := run.Plan(ctx, b.host, run.Request{Package: pkg, Args: args}, backend.Capabilities{})
		times.add(time.Since(began))
		processor.add(processorTime() - before)
		if len(planned.Problems) > 0 {
			return 0, 0, 0, errors.New(planned.Problems[0].Summary)
		}
		steps = len(planned.Steps)
	}
	return times.median(), processor.median(), steps, nil
}

// processorTime gives what this process has used of the processors.
func processorTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
