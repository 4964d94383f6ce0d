package supervisor

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
)

// This file says what a container's root has besides its image: the orders that
// lepto-init make follows (initsrc/make.c), in their sequence.

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

// safe are the flags of file systems that hold no programs and no devices.
const safe = unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV

// bind is a host path that is shown in the container.
type bind struct {
	source, target string
	readOnly       bool
}

// layout writes the orders.
func (c *container) layout(e *encoder) error {
	l := layout{e}
	readOnly := uintptr(unix.MS_RDONLY)
	if c.spec.Privileged {
		readOnly = 0
	}
	shm := c.spec.Resources.ShmBytes
	if shm == 0 {
		shm = defaultShm
	}
	l.fs("proc", "proc", "/proc", safe, "")
	l.fs("tmpfs", "tmpfs", "/dev", unix.MS_NOSUID|unix.MS_STRICTATIME, "mode=755,size=65536k")
	l.fs("devpts", "devpts", "/dev/pts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5")
	l.fs("tmpfs", "shm", "/dev/shm", safe, fmt.Sprintf("mode=1777,size=%d", shm))
	l.fs("mqueue", "mqueue", "/dev/mqueue", safe, "")
	l.fs("sysfs", "sysfs", "/sys", safe|readOnly, "")
	l.cgroups(c.group, !c.spec.Privileged)
	for _, b := range c.binds() {
		l.bind(b, 0)
	}
	if !slices.ContainsFunc(c.spec.Mounts, func(m supervise.Mount) bool { return path.Clean(m.Path) == "/dev" }) {
		if err := l.devices(c.spec); err != nil {
			return err
		}
	}
	if c.spec.NetNS != "" {
		// Ports below 1024 and ping for any user, as Docker has it: the network
		// namespace is the container's own.
		l.order("set", "/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")
		l.order("set", "/proc/sys/net/ipv4/ping_group_range", "0 2147483647")
	}
	if !c.spec.Privileged {
		for _, p := range readonlyPaths {
			l.order("fix", p)
		}
		for _, p := range maskedPaths {
			l.order("mask", p)
		}
	}
	e.text("")
	return nil
}

// binds lists the host paths that are mounted in the container, what lies above
// others first: a mount over /etc must not hide /etc/hosts.
func (c *container) binds() []bind {
	var out []bind
	for i, m := range c.spec.Mounts {
		source := m.Bind
		if len(m.Lower) > 0 {
			source = c.root.volume(i)
		}
		out = append(out, bind{source, path.Clean(m.Path), m.ReadOnly})
	}
	for _, f := range etcFiles(c.spec) {
		if !slices.ContainsFunc(out, func(b bind) bool { return b.target == f.target }) {
			out = append(out, bind{source: filepath.Join(c.dir, f.name), target: f.target})
		}
	}
	slices.SortStableFunc(out, func(a, b bind) int { return strings.Count(a.target, "/") - strings.Count(b.target, "/") })
	return out
}

// A layout encodes orders about a root.
type layout struct{ e *encoder }

func (l layout) order(kind string, words ...string) { l.e.text(append([]string{kind}, words...)...) }

func (l layout) fs(kind, source, target string, flags uintptr, options string) {
	l.order("fs", kind, source, target, strconv.FormatUint(uint64(flags), 10), options)
}

func (l layout) bind(b bind, attributes uint64) {
	if b.readOnly {
		attributes |= unix.MOUNT_ATTR_RDONLY
	}
	l.order("bind", b.source, b.target, strconv.FormatUint(attributes, 10))
}

// cgroups shows a container its own cgroups, as /sys/fs/cgroup.
func (l layout) cgroups(g *group, readOnly bool) {
	const top = "/sys/fs/cgroup"
	const attributes = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	if g.unified() {
		l.bind(bind{g.paths[""], top, readOnly}, attributes)
		return
	}
	l.fs("tmpfs", "tmpfs", top, safe, "mode=755")
	for _, h := range g.hierarchies {
		l.bind(bind{filepath.Join(cgroupRoot, h, g.name), path.Join(top, h), readOnly}, attributes)
		if names := strings.Split(h, ","); len(names) > 1 {
			for _, name := range names {
				l.order("link", h, path.Join(top, name))
			}
		}
	}
}
