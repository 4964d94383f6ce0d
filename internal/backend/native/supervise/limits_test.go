package supervise_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
)

func TestMemoryLimitKills(t *testing.T) {
	s := spec(t, "tail /dev/zero; echo code $?; exit 9")
	s.Resources.MemoryBytes = 32 << 20
	exit, out := run(t, s)
	if exit.Code != 9 || !exit.OOM || !strings.Contains(out, "code 137\n") {
		t.Errorf("exit %+v, output %q", exit, out)
	}
	s = spec(t, "exec tail /dev/zero")
	s.Resources.MemoryBytes = 32 << 20
	if exit, _ = run(t, s); exit.Code != 137 || exit.Signal != 9 || !exit.OOM {
		t.Errorf("exit %+v", exit)
	}
}

func TestCPULimitThrottles(t *testing.T) {
	s := spec(t, "while :; do :; done")
	s.Resources.CPUMillis = 100
	h := start(t, s)
	eventually(t, "throttling", func() bool {
		return counter(t, s, "cpu", "cpu.stat", "nr_throttled") > 3
	})
	must(t, h.Kill(t.Context()))
}

func TestPidsLimit(t *testing.T) {
	s := spec(t, "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 1000 & done; echo all")
	s.Resources.PidsLimit = 6
	_, out := run(t, s)
	if strings.Contains(out, "all") || !strings.Contains(out, "can't fork") {
		t.Errorf("output %q", out)
	}
}

// counter reads a value of a container's cgroup.
func counter(t *testing.T, s supervise.Spec, controller, file, key string) int {
	t.Helper()
	path := filepath.Join("/sys/fs/cgroup", controller, s.CgroupName, file)
	if _, err := os.Stat(path); err != nil {
		path = filepath.Join("/sys/fs/cgroup", s.CgroupName, file) // v2
	}
	data, err := os.ReadFile(path)
	must(t, err)
	for line := range strings.Lines(string(data)) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), " "); name == key {
			n, err := strconv.Atoi(value)
			must(t, err)
			return n
		}
	}
	t.Fatalf("no %s in %s", key, path)
	return 0
}

func TestPauseFreezes(t *testing.T) {
	s := spec(t, "trap 'exit 6' TERM; while :; do echo tick; sleep 0.01; done")
	h := start(t, s)
	eventually(t, "ticks", func() bool { return text(t, h) != "" })
	must(t, h.Pause(t.Context()))
	must(t, h.Pause(t.Context()))
	state, err := h.State(t.Context())
	must(t, err)
	if state.Phase != supervise.PhasePaused {
		t.Errorf("phase = %s", state.Phase)
	}
	eventually(t, "silence", func() bool {
		before := text(t, h)
		time.Sleep(100 * time.Millisecond) // ten ticks long
		return text(t, h) == before
	})
	before := text(t, h)
	must(t, h.Unpause(t.Context()))
	eventually(t, "more ticks", func() bool { return text(t, h) != before })
	must(t, h.Pause(t.Context()))
	exit, err := h.Stop(t.Context(), 10*time.Second)
	must(t, err)
	if exit.Code != 6 {
		t.Errorf("a paused container stopped with %+v", exit)
	}
	if err := h.Pause(t.Context()); err == nil {
		t.Error("paused what has ended")
	}
}

// TestCgroupsOfItsOwn: a privileged container may part its cgroup, as a system or
// a container engine in it does. On v2 its own is then closed to processes.
func TestCgroupsOfItsOwn(t *testing.T) {
	s := spec(t, `
g=/sys/fs/cgroup
[ -e $g/cgroup.procs ] || g=$g/memory
mkdir $g/below $g/empty || exit
for p in $(cat $g/cgroup.procs); do echo $p >$g/below/cgroup.procs; done
[ ! -e $g/cgroup.subtree_control ] || echo +memory >$g/cgroup.subtree_control || exit
echo parted
while [ ! -e /go ]; do sleep 0.01; done
tail /dev/zero
exit 9`)
	s.Privileged, s.Resources.MemoryBytes = true, 32<<20
	h := start(t, s)
	eventually(t, "the parting", func() bool { return strings.Contains(text(t, h), "parted\n") })
	if out, code := output(t, h, "touch", "/go"); code != 0 {
		t.Errorf("exec: %q, %d", out, code)
	}
	exit, err := h.Wait(t.Context())
	must(t, err)
	if exit.Code != 9 || !exit.OOM {
		t.Errorf("exit %+v, output %q", exit, text(t, h))
	}
}
