package supervisor

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file makes a container's cgroups, with their limits. Without limits they
// are made all the same: they are how the container's processes are found.

// make makes the cgroups. Another supervisor may remove a parent that is empty
// just as this one is about to use it: then it begins again.
func (g *group) make(spec supervise.Spec) error {
	rules, limited, err := deviceRules(spec)
	if err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		err := g.makeAll(limitsOf(spec.Resources, g.unified()))
		if err == nil && limited {
			err = g.limitDevices(rules)
		} else if err == nil {
			err = g.allowDevices()
		}
		raced := errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV)
		if err == nil || !raced || attempt == 10 {
			return err
		}
	}
}

func (g *group) makeAll(limits []limit) error {
	for _, dir := range g.dirs() {
		if err := g.makeOne(dir, dir == g.paths[""] && g.unified()); err != nil {
			return err
		}
	}
	if cpuset, ok := g.paths["cpuset"]; ok {
		if err := g.inheritCPUs(cpuset); err != nil {
			return err
		}
	}
	for _, l := range limits {
		if err := g.set(l); err != nil {
			return err
		}
	}
	return nil
}

// makeOne makes a cgroup and those above it, which hand their controllers on
// where the hierarchy is v2.
func (g *group) makeOne(dir string, controllers bool) error {
	root := strings.TrimSuffix(dir, "/"+g.name)
	if controllers {
		handOn(root)
	}
	for part := range strings.SplitSeq(g.name, "/") {
		root = filepath.Join(root, part)
		if err := unix.Mkdir(root, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
			return &os.PathError{Op: "make cgroup", Path: root, Err: err}
		}
		if controllers && root != dir {
			handOn(root)
		}
	}
	return nil
}

// handOn lets the cgroups below one use its controllers. What can't be handed on
// is missed when a limit is set.
func handOn(dir string) {
	controllers := strings.Fields(read(filepath.Join(dir, "cgroup.controllers")))
	if len(controllers) == 0 || len(strings.Fields(read(filepath.Join(dir, "cgroup.subtree_control")))) == len(controllers) {
		return
	}
	file := filepath.Join(dir, "cgroup.subtree_control")
	all := []byte("+" + strings.Join(controllers, " +"))
	err := os.WriteFile(file, all, 0)
	for attempt := 1; errors.Is(err, unix.EBUSY) && attempt <= 10; attempt++ {
		evacuate(dir) // again for what was forked meanwhile
		err = os.WriteFile(file, all, 0)
	}
	if err == nil || errors.Is(err, unix.EBUSY) {
		return // some alone would make all below take threads only
	}
	for _, c := range controllers {
		_ = os.WriteFile(file, []byte("+"+c), 0)
	}
}

// evacuate moves the processes of a cgroup into one below it: only the host's own
// root may have processes and hand controllers on. In a container what looks
// like the root is another, and has the container's processes, this one too.
// The name is the one that others use who must do the same.
func evacuate(dir string) {
	to := filepath.Join(dir, "init")
	if err := unix.Mkdir(to, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		slog.Warn("make room for cgroups", "err", err)
		return
	}
	for _, pid := range strings.Fields(read(filepath.Join(dir, "cgroup.procs"))) {
		err := os.WriteFile(filepath.Join(to, "cgroup.procs"), []byte(pid), 0)
		if err != nil && !errors.Is(err, unix.ESRCH) { // it has ended
			slog.Warn("make room for cgroups", "pid", pid, "err", err)
		}
	}
}

// inheritCPUs copies processors and memory nodes from cgroup to cgroup: on v1 a
// new one has none, and takes no process.
func (g *group) inheritCPUs(dir string) error {
	above := strings.TrimSuffix(dir, "/"+g.name)
	for part := range strings.SplitSeq(g.name, "/") {
		dir := filepath.Join(above, part)
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if strings.TrimSpace(read(filepath.Join(dir, file))) != "" {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, file), []byte(read(filepath.Join(above, file))), 0); err != nil {
				return err
			}
		}
		above = dir
	}
	return nil
}

// A limit is a value for a controller's file.
type limit struct {
	controller, file, value string
	optional                bool // not every host can
}

const cpuPeriod = 100_000 // µs, the kernel's default

// limitsOf translates the bounds. The memory's includes swap: there is none.
func limitsOf(r backend.Resources, unified bool) []limit {
	var out []limit
	add := func(controller, v1, v2, value string, optional bool) {
		if unified {
			controller, v1 = "", v2
		}
		out = append(out, limit{controller, v1, value, optional})
	}
	if r.MemoryBytes > 0 {
		bytes, swap := strconv.FormatUint(r.MemoryBytes, 10), "0"
		if !unified {
			swap = bytes // memory and swap together
		}
		add("memory", "memory.limit_in_bytes", "memory.max", bytes, false)
		add("memory", "memory.memsw.limit_in_bytes", "memory.swap.max", swap, true)
	}
	if r.CPUMillis > 0 {
		quota := strconv.FormatInt(max(int64(r.CPUMillis)*cpuPeriod/1000, 1000), 10) // the kernel's least is 1 ms
		period := strconv.Itoa(cpuPeriod)
		if unified {
			add("", "", "cpu.max", quota+" "+period, false)
		} else {
			add("cpu", "cpu.cfs_period_us", "", period, false)
			add("cpu", "cpu.cfs_quota_us", "", quota, false)
		}
	}
	if r.PidsLimit > 0 {
		add("pids", "pids.max", "pids.max", strconv.FormatInt(r.PidsLimit, 10), false)
	}
	return out
}

func (g *group) set(l limit) error {
	dir, ok := g.paths[l.controller]
	if !ok {
		return fault.New(supervise.CodeRuntime, "this host has no cgroup controller %q", l.controller)
	}
	file := filepath.Join(dir, l.file)
	if unix.Access(file, unix.F_OK) != nil && unix.Access(dir, unix.F_OK) == nil {
		if l.optional {
			return nil
		}
		return fault.New(supervise.CodeRuntime, "the cgroup controller of %s is not to be had on this host", l.file)
	}
	if err := os.WriteFile(file, []byte(l.value), 0); err != nil {
		return fmt.Errorf("limit %s to %s: %w", l.file, l.value, err)
	}
	return nil
}

// limitDevices denies all but what the rules allow.
func (g *group) limitDevices(rules []deviceRule) error {
	if g.unified() {
		return attachDeviceFilter(g.paths[""], rules)
	}
	dir, ok := g.paths["devices"]
	if !ok {
		return fault.New(supervise.CodeRuntime, "this host has no cgroup controller %q", "devices")
	}
	if err := os.WriteFile(filepath.Join(dir, "devices.deny"), []byte("a"), 0); err != nil {
		return fmt.Errorf("limit devices: %w", err)
	}
	for _, r := range rules {
		if err := os.WriteFile(filepath.Join(dir, "devices.allow"), []byte(r.String()), 0); err != nil {
			return fmt.Errorf("limit devices: allow %q: %w", r, err)
		}
	}
	return nil
}

// allowDevices makes sure that the container may use all devices: what this host
// itself may not use, it can't give.
func (g *group) allowDevices() error {
	dir, ok := g.paths["devices"]
	if !ok || strings.HasPrefix(read(filepath.Join(dir, "devices.list")), "a") {
		return nil
	}
	if err := os.WriteFile(filepath.Join(dir, "devices.allow"), []byte("a"), 0); err != nil {
		return fmt.Errorf("allow all devices: %w", err)
	}
	return nil
}
