package supervisor

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
)

// unifiedRoot is where this host has cgroup v2: alone, or beside v1.
func unifiedRoot(t *testing.T) string {
	t.Helper()
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if kind, err := magic(dir); err == nil && kind == unix.CGROUP2_SUPER_MAGIC {
			return dir
		}
	}
	t.Fatal("this test needs cgroup v2, alone or beside v1")
	return ""
}

// TestDeviceFilter runs a shell below the rules of a container, as v2 has them,
// and asks the kernel about each kind of rule.
func TestDeviceFilter(t *testing.T) {
	dir := filepath.Join(unifiedRoot(t), fmt.Sprintf("lepto-test-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	defer unix.Rmdir(dir)
	rules, limited, err := deviceRules(supervise.Spec{Devices: []string{"/dev/kmsg"}})
	if err != nil || !limited {
		t.Fatal(limited, err)
	}
	if err := attachDeviceFilter(dir, rules); err != nil {
		t.Fatal(err)
	}
	group, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer group.Close()
	nodes := t.TempDir()
	script := `cd "$1"; try() { "$@" 2>/dev/null >/dev/null && echo yes || echo no; }
mknod null c 1 3; try head -c 1 null; mknod mem c 1 1; try head -c 1 mem; mknod disk b 254 0; try head -c 1 disk
mknod kmsg c 1 11; try dd if=/dev/null of=kmsg; mknod loop b 7 0 && echo made; mknod zero c 1 5; try head -c 1 zero
try dd if=/dev/null of=/dev/ptmx; mknod x c 1 4 && try head -c 1 x`
	shell := exec.Command("/bin/sh", "-c", script, "sh", nodes)
	shell.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd())}
	out, err := shell.Output()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Fields(string(out)), "yes no no yes made yes yes no"; strings.Join(got, " ") != want {
		t.Errorf("null mem disk kmsg loop zero ptmx port: %v, want %s", got, want)
	}
}

// TestLimits pins what is written where, on v1 and on v2.
func TestLimits(t *testing.T) {
	r := backend.Resources{MemoryBytes: 1 << 20, CPUMillis: 250, PidsLimit: 7}
	text := func(limits []limit) (out []string) {
		for _, l := range limits {
			out = append(out, strings.TrimSpace(l.controller+" "+l.file+"="+l.value))
		}
		return out
	}
	for unified, want := range map[bool]string{
		true: "memory.max=1048576|memory.swap.max=0|cpu.max=25000 100000|pids.max=7",
		false: "memory memory.limit_in_bytes=1048576|memory memory.memsw.limit_in_bytes=1048576|" +
			"cpu cpu.cfs_period_us=100000|cpu cpu.cfs_quota_us=25000|pids pids.max=7",
	} {
		if got := strings.Join(text(limitsOf(r, unified)), "|"); got != want {
			t.Errorf("v2 %v: %s\nwant %s", unified, got, want)
		}
	}
	if got := limitsOf(backend.Resources{CPUMillis: 1}, true); len(got) != 1 || got[0].value != "1000 100000" {
		t.Errorf("the least: %v", got)
	}
}
