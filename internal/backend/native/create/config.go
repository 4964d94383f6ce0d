package create

import (
	"fmt"
	"os"
	"strings"

	"github.com/opencontainers/cgroups"
	_ "github.com/opencontainers/cgroups/devices" // registers the device rules
	devices "github.com/opencontainers/cgroups/devices/config"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
)

// defaultShm is the size of /dev/shm where none is asked for, as Docker has it.
const defaultShm = 64 << 20

// What of /proc and /sys a container must not read or write: Docker's lists.
var (
	maskedPaths = []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
		"/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
		"/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
	}
	readonlyPaths = []string{
		"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
	}
)

// configure translates the request into libcontainer's words. no_new_privs
// stays off, as with Docker: images that use sudo or other setuid programs must
// work, and the bounding set and the system call filter hold all the same.
func configure(r supervise.CreateRequest) (*configs.Config, error) {
	spec, zero := r.Spec, 0
	config := &configs.Config{
		Rootfs:      r.Root,
		Namespaces:  namespaces(spec),
		Hostname:    spec.Hostname,
		Cgroups:     &cgroups.Cgroup{Path: "/" + strings.Trim(spec.CgroupName, "/"), Resources: limits(spec)},
		Mounts:      mounts(r),
		OomScoreAdj: &zero, // not the supervisor's own
		Version:     "1.2.0",
	}
	if spec.Privileged {
		// What it mounts ends with it all the same.
		config.RootPropagation = unix.MS_PRIVATE | unix.MS_REC
	} else {
		config.MaskPaths, config.ReadonlyPaths = maskedPaths, readonlyPaths
	}
	if len(r.FilterFor) > 0 {
		seccomp, err := filter(r.FilterFor)
		if err != nil {
			return nil, err
		}
		config.Seccomp = seccomp
	}
	if spec.NetNS != "" {
		// Ports below 1024 and ping for any user, as Docker has it: the network
		// namespace is the container's own.
		config.Sysctl = map[string]string{
			"net.ipv4.ip_unprivileged_port_start": "0",
			"net.ipv4.ping_group_range":           "0 2147483647",
		}
	}
	if err := addDevices(config, spec); err != nil {
		return nil, err
	}
	limits, err := rlimits(spec.Resources.Ulimits)
	if err != nil {
		return nil, err
	}
	config.Rlimits = limits
	return config, nil
}

func namespaces(spec supervise.Spec) configs.Namespaces {
	n := configs.Namespaces{{Type: configs.NEWNS}, {Type: configs.NEWUTS}, {Type: configs.NEWIPC}}
	if cgroupNamespaces() {
		n = append(n, configs.Namespace{Type: configs.NEWCGROUP})
	}
	if !spec.HostPID {
		n = append(n, configs.Namespace{Type: configs.NEWPID})
	}
	if spec.NetNS != "" {
		n = append(n, configs.Namespace{Type: configs.NEWNET, Path: spec.NetNS})
	}
	return n
}

func cgroupNamespaces() bool {
	return unix.Access("/proc/self/ns/cgroup", unix.F_OK) == nil
}

// mounts lists what is mounted in the root, in order.
func mounts(r supervise.CreateRequest) []*configs.Mount {
	const safe = unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV
	shm := r.Spec.Resources.ShmBytes
	if shm == 0 {
		shm = defaultShm
	}
	ro := unix.MS_RDONLY
	if r.Spec.Privileged {
		ro = 0
	}
	m := []*configs.Mount{
		{Source: "proc", Device: "proc", Destination: "/proc", Flags: safe},
		{Source: "tmpfs", Device: "tmpfs", Destination: "/dev", Flags: unix.MS_NOSUID | unix.MS_STRICTATIME, Data: "mode=755,size=65536k"},
		{Source: "devpts", Device: "devpts", Destination: "/dev/pts", Flags: unix.MS_NOSUID | unix.MS_NOEXEC, Data: "newinstance,ptmxmode=0666,mode=0620,gid=5"},
		{Source: "shm", Device: "tmpfs", Destination: "/dev/shm", Flags: safe, Data: fmt.Sprintf("mode=1777,size=%d", shm)},
		{Source: "mqueue", Device: "mqueue", Destination: "/dev/mqueue", Flags: safe},
		{Source: "sysfs", Device: "sysfs", Destination: "/sys", Flags: safe | ro},
		{Source: "cgroup", Device: "cgroup", Destination: "/sys/fs/cgroup", Flags: safe | unix.MS_RELATIME | ro},
	}
	for _, b := range r.Binds {
		flags := unix.MS_BIND | unix.MS_REC
		if b.ReadOnly {
			flags |= unix.MS_RDONLY
		}
		m = append(m, &configs.Mount{
			Source: b.Source, Device: "bind", Destination: b.Target, Flags: flags,
			PropagationFlags: []int{unix.MS_PRIVATE | unix.MS_REC},
		})
	}
	return m
}

// limits translates the bounds. Without any the cgroups are made all the same:
// they are how the container's processes are found.
func limits(spec supervise.Spec) *cgroups.Resources {
	r := &cgroups.Resources{Devices: []*devices.Rule{}}
	if b := spec.Resources.MemoryBytes; b > 0 {
		r.Memory = int64(b)
		if swapAccounted() {
			r.MemorySwap = int64(b) // memory and swap together: no swap
		}
	}
	if m := spec.Resources.CPUMillis; m > 0 {
		const period = 100_000 // µs, the kernel's default
		r.CpuPeriod = period
		r.CpuQuota = max(int64(m)*period/1000, 1000) // the kernel's least is 1 ms
	}
	if n := spec.Resources.PidsLimit; n > 0 {
		r.PidsLimit = &n
	}
	return r
}

// swapAccounted reports whether swap can be limited: v2 always (a kernel
// without swap ignores it), v1 if booted so.
func swapAccounted() bool {
	if cgroups.IsCgroup2UnifiedMode() {
		return true
	}
	_, err := os.Stat("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes")
	return err == nil
}

func rlimits(ulimits map[string]int64) ([]configs.Rlimit, error) {
	parsed, err := supervise.ParseUlimits(ulimits)
	var out []configs.Rlimit
	for _, l := range parsed {
		out = append(out, configs.Rlimit{Type: l.Type, Soft: l.Value, Hard: l.Value})
	}
	return out, err
}
