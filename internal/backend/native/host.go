package native

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend"
)

// This file reads what the host has.

const cgroupRoot = "/sys/fs/cgroup"

// unified reports a host with the v2 hierarchy alone.
func unified() bool {
	var st unix.Statfs_t
	return unix.Statfs(cgroupRoot, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

// cgroupMode names the host's layout as people know it.
func cgroupMode() string {
	if unified() {
		if exists(filepath.Join(cgroupRoot, "cgroup.type")) { // the host's root has none
			return "v2, of a container"
		}
		return "v2"
	}
	var st unix.Statfs_t
	if unix.Statfs(filepath.Join(cgroupRoot, "unified"), &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
		return "hybrid"
	}
	if exists(filepath.Join(cgroupRoot, "memory")) || exists(filepath.Join(cgroupRoot, "pids")) {
		return "v1"
	}
	return "none"
}

// missingController gives the reason why a cgroup controller can't be used; ""
// if it can.
func missingController(name string) string {
	if unified() {
		data, _ := os.ReadFile(filepath.Join(cgroupRoot, "cgroup.controllers"))
		if slices.Contains(strings.Fields(string(data)), name) {
			return ""
		}
	} else if unix.Access(filepath.Join(cgroupRoot, name), unix.W_OK) == nil {
		return ""
	}
	return fmt.Sprintf("this host has no cgroup controller %q (cgroups: %s)", name, cgroupMode())
}

// hostLimits gives the capacity of the host.
func hostLimits() backend.Limits {
	return backend.Limits{CPUMillis: uint64(runtime.NumCPU()) * 1000, MemoryBytes: meminfo("MemTotal")}
}

// meminfo gives a field of /proc/meminfo in bytes; 0 if it can't be read.
func meminfo(field string) uint64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) >= 2 && fields[0] == field+":" {
			kib, _ := strconv.ParseUint(fields[1], 10, 64)
			return kib << 10
		}
	}
	return 0
}
