// Command bench times what a user waits for — starting an environment, running a
// command in it, removing it — with lepto and, where a Docker Engine answers,
// with Docker, in turn in the same run, and prints medians, ratios and the bar
// each figure is held to. It runs bin/lepto as a user would, as whole processes.
//
// Before that it times interpretation, in its own process.
//
//	go run ./test/bench [-n ROUNDS] [-lepto PATH] [-interpretation]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"
)

func main() {
	rounds := flag.Int("n", 11, "rounds of each measurement; medians are of these")
	lepto := flag.String("lepto", "bin/lepto", "the binary to measure")
	only := flag.Bool("interpretation", false, "time interpretation only, which needs no engine")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := interpretation(ctx, *rounds)
	if err == nil && !*only {
		fmt.Println()
		err = bench(ctx, *lepto, *rounds)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, binary string, rounds int) error {
	lab, err := newLab(ctx, binary)
	if err != nil {
		return err
	}
	defer lab.close()
	rival := newDocker(ctx, lab)
	defer rival.close()

	results := map[string]*series{}
	for round := range rounds {
		fmt.Fprintf(os.Stderr, "\rround %d of %d", round+1, rounds)
		for _, m := range measurements(lab, rival) {
			if m.name == hundred && round >= hundredRounds {
				continue
			}
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			took, err := m.run(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
			if results[m.name] == nil {
				results[m.name] = &series{}
			}
			results[m.name].add(took)
		}
	}
	fmt.Fprintln(os.Stderr)
	memory, err := lab.memory(ctx)
	if err != nil {
		return err
	}
	print(results, rival.there, memory, rounds)
	return nil
}

// hundred takes as long as all others together: it has its median of a few rounds.
const (
	hundred       = "100 services in one batch, 16 at a time"
	hundredRounds = 3
)

// A measurement is one thing a user waits for. Its run prepares, times and
// clears up, and gives the time alone.
type measurement struct {
	name string
	run  func(context.Context) (time.Duration, error)
}

func measurements(lab *lab, rival *docker) []measurement {
	list := []measurement{
		{"engine start", lab.engineStart},
		{"empty plan, new enclave", lab.runOf("empty.star")},
		{"1 service, port open, new enclave", lab.runOf("one.star")},
		{"10 services, ports open, new enclave", lab.runOf("ten.star")},
		{hundred, lab.hundred},
		{"20 run_sh, one after another, new enclave", lab.runOf("tasks.star")},
		{"re-run, nothing changed", lab.rerun},
		{"exec", lab.exec},
		{"enclave rm, 10 services", lab.remove},
	}
	if !rival.there {
		return list
	}
	return append(list,
		measurement{"docker: run -d, port open", rival.runOne},
		measurement{"docker: run -d ten times, ports open", rival.runTen},
		measurement{"docker: run --rm twenty times", rival.runTwenty},
		measurement{"docker: exec", rival.exec},
		measurement{"docker: rm -f ten", rival.remove},
	)
}

// series are the times of one measurement.
type series struct{ times []time.Duration }

func (s *series) add(d time.Duration) { s.times = append(s.times, d) }

func (s *series) median() time.Duration {
	slices.Sort(s.times)
	return s.times[len(s.times)/2]
}

// row is a line of the table: a figure, its rival's, and the bars for both.
type row struct {
	name, rival string
	bar         time.Duration // 0: none
	ratio       float64       // at most this share of the rival's; 0: none
}

var rows = []row{
	{name: "engine start", bar: 150 * time.Millisecond},
	{name: "empty plan, new enclave"},
	{name: "1 service, port open, new enclave", rival: "docker: run -d, port open", bar: 250 * time.Millisecond, ratio: 0.5},
	{name: "10 services, ports open, new enclave", rival: "docker: run -d ten times, ports open", bar: 600 * time.Millisecond, ratio: 0.25},
	{name: hundred, bar: 5 * time.Second},
	{name: "20 run_sh, one after another, new enclave", rival: "docker: run --rm twenty times", ratio: 0.25},
	{name: "re-run, nothing changed"},
	{name: "exec", rival: "docker: exec", ratio: 1.0 / 3},
	{name: "enclave rm, 10 services", rival: "docker: rm -f ten"},
}

func print(results map[string]*series, docker bool, memory []gauge, rounds int) {
	fmt.Printf("medians of %d rounds, %d cores, %s\n\n", rounds, runtime.NumCPU(), kernel())
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "what\tlepto\tbar\tdocker\tratio\tbar\tverdict")
	for _, r := range rows {
		ours := results[r.name].median()
		bar, theirs, ratio, ratioBar, verdict := "-", "-", "-", "-", ""
		met := true
		if r.bar > 0 {
			bar, met = ms(r.bar), ours <= r.bar
			verdict = "met"
		}
		if docker && r.rival != "" {
			other := results[r.rival].median()
			share := float64(ours) / float64(other)
			theirs, ratio = ms(other), fmt.Sprintf("%.2f", share)
			if r.ratio > 0 {
				ratioBar, verdict = fmt.Sprintf("%.2f", r.ratio), "met"
				met = met && share <= r.ratio
			}
		}
		if !met {
			verdict = "MISSED"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.name, ms(ours), bar, theirs, ratio, ratioBar, verdict)
	}
	for _, g := range memory {
		fmt.Fprintf(w, "%s\t%.1f MB\t%s\t-\t-\t-\t%s\n", g.name, g.megabytes, g.barText(), g.verdict())
	}
	w.Flush()
	if !docker {
		fmt.Println("\nno Docker Engine answers here: its columns are empty")
	}
}

func ms(d time.Duration) string { return fmt.Sprintf("%.0f ms", float64(d.Microseconds())/1000) }

func kernel() string {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown kernel"
	}
	return "kernel " + string(release[:len(release)-1])
}
