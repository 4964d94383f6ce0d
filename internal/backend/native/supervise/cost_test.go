package supervise_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
)

// BenchmarkExec measures an exec of true, on the clock and in processor time of
// the supervisor and what it starts: the latter also tells on a busy machine.
func BenchmarkExec(b *testing.B) {
	h := start(b, spec(b, "sleep 1000"))
	state, err := h.State(b.Context())
	must(b, err)
	before := cpuTime(b, state.SupervisorPID)
	for b.Loop() {
		if _, err := h.Exec(b.Context(), backend.ExecSpec{Args: []string{"/bin/true"}}); err != nil {
			b.Fatal(err)
		}
	}
	used := cpuTime(b, state.SupervisorPID) - before
	b.ReportMetric(float64(used.Milliseconds())/float64(b.N), "cpu-ms/op")
	b.ReportMetric(float64(residentKB(b, state.SupervisorPID)), "rss-kB")
}

// BenchmarkStart measures a start to the command's run, on the clock and in
// processor time of all that takes part: the latter also tells on a busy machine.
func BenchmarkStart(b *testing.B) {
	s := spec(b, "sleep 1000")
	group := measured(b)
	var up, used time.Duration
	for b.Loop() {
		before, began := group(s.CgroupName), time.Now()
		h, err := launcher.Start(b.Context(), s)
		up += time.Since(began)
		used += group(s.CgroupName) - before
		must(b, err)
		must(b, h.Destroy(b.Context()))
	}
	b.ReportMetric(float64(up.Microseconds())/1000/float64(b.N), "start-ms/op")
	b.ReportMetric(float64(used.Microseconds())/1000/float64(b.N), "cpu-ms/op")
}

// measured puts this process in a cgroup of its own. The function that it gives
// tells the processor time used in it, and in a container's.
func measured(b *testing.B) func(container string) time.Duration {
	root := "/sys/fs/cgroup/cpuacct"
	if _, err := os.Stat(root); err != nil {
		b.Skip("needs the cgroup hierarchy cpuacct")
	}
	own := filepath.Join(root, fmt.Sprintf("lepto-cost%d", os.Getpid()))
	join := func(dir string) {
		must(b, os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0))
	}
	must(b, os.Mkdir(own, 0o755))
	join(own)
	b.Cleanup(func() {
		join(root)
		eventually(b, "the cgroup is empty", func() bool { return os.Remove(own) == nil })
	})
	return func(container string) time.Duration {
		var sum time.Duration
		for _, dir := range []string{own, filepath.Join(root, container)} {
			data, err := os.ReadFile(filepath.Join(dir, "cpuacct.usage"))
			if errors.Is(err, os.ErrNotExist) { // not made yet
				continue
			}
			must(b, err)
			n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
			must(b, err)
			sum += time.Duration(n)
		}
		return sum
	}
}

// cpuTime gives what a process and its ended children have used: fields 14 to
// 17 of proc_pid_stat(5), in ticks of 10 ms.
func cpuTime(b *testing.B, pid int) time.Duration {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	must(b, err)
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')'):])
	var ticks int
	for _, f := range fields[12:16] {
		n, err := strconv.Atoi(string(f))
		must(b, err)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
