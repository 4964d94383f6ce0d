package supervise_test

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
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

// BenchmarkStart measures a start to the command's run, and the destruction.
func BenchmarkStart(b *testing.B) {
	s := spec(b, "sleep 1000")
	var up time.Duration
	for b.Loop() {
		began := time.Now()
		h, err := launcher.Start(b.Context(), s)
		must(b, err)
		up += time.Since(began)
		must(b, h.Destroy(b.Context()))
	}
	b.ReportMetric(float64(up.Microseconds())/1000/float64(b.N), "start-ms/op")
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
