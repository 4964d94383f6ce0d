package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// killPatience bounds the wait for processes to end after SIGKILL: the kernel
// may hold one in a device or a network file system for that long.
const killPatience = 10 * time.Second

const cgroupRoot = "/sys/fs/cgroup"

// A group is a container's cgroups: one in each hierarchy. Package
// github.com/opencontainers/cgroups could make them as well; what is needed of it
// is little, and this program better small.
type group struct {
	name        string            // below each hierarchy's root
	paths       map[string]string // controller → directory; "" is v2
	hierarchies []string          // of v1: names below /sys/fs/cgroup
}

// unified reports a host with the v2 hierarchy alone.
func (g *group) unified() bool { return len(g.hierarchies) == 0 }

// newGroup finds the hierarchies: cgroup v2 mounted on /sys/fs/cgroup, or a
// tmpfs there with a mount for each v1 hierarchy, and for v2 on hybrid hosts.
func newGroup(name string) (*group, error) {
	g := &group{name: strings.Trim(name, "/"), paths: map[string]string{}}
	kind, err := magic(cgroupRoot)
	if err != nil {
		return nil, fmt.Errorf("cgroups: %w", err)
	}
	if kind == unix.CGROUP2_SUPER_MAGIC {
		g.paths[""] = filepath.Join(cgroupRoot, g.name)
		return g, nil
	}
	entries, err := os.ReadDir(cgroupRoot)
	if err != nil {
		return nil, fmt.Errorf("cgroups: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() { // a symlink is another name of one
			continue
		}
		root := filepath.Join(cgroupRoot, e.Name())
		switch kind, _ := magic(root); kind {
		case unix.CGROUP2_SUPER_MAGIC:
			g.paths[""] = filepath.Join(root, g.name)
		case unix.CGROUP_SUPER_MAGIC:
			g.hierarchies = append(g.hierarchies, e.Name())
			for _, controller := range strings.Split(e.Name(), ",") {
				g.paths[controller] = filepath.Join(root, g.name)
			}
		}
	}
	if len(g.paths) == 0 {
		return nil, errors.New("cgroups: no hierarchy is mounted below " + cgroupRoot)
	}
	return g, nil
}

func magic(path string) (int64, error) {
	var st unix.Statfs_t
	err := unix.Statfs(path, &st)
	return st.Type, err
}

// dirs are the directories, each once, sorted.
func (g *group) dirs() []string {
	return slices.Compact(slices.Sorted(maps.Values(g.paths)))
}

// joinFiles are the files that the first process joins the cgroups by.
func (g *group) joinFiles() []string {
	out := g.dirs()
	for i := range out {
		out[i] = filepath.Join(out[i], "cgroup.procs")
	}
	return out
}

// procs are the files that a later process joins the cgroups by. A container on v2
// may have moved its processes further down, and then only there they can be.
func (g *group) procs(pid int) []string {
	var out []string
	for _, dir := range g.dirs() {
		if g.unified() {
			if below := cgroup2Of(pid); below != "" {
				dir = filepath.Join(cgroupRoot, below)
			}
		}
		if _, err := os.Stat(dir); err == nil {
			out = append(out, filepath.Join(dir, "cgroup.procs"))
		}
	}
	return out
}

// cgroup2Of gives a process's v2 cgroup: the line "0::/path" of
// /proc/PID/cgroup.
func cgroup2Of(pid int) string {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSpace(path)
		}
	}
	return ""
}

// kill ends all processes of the cgroups and returns when there are none.
func (g *group) kill() error {
	deadline := time.Now().Add(killPatience)
	for round := 0; ; round++ {
		pids, err := g.pids()
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v do not end %s after SIGKILL", pids, killPatience)
		}
		g.killOnce(pids, round > 2)
		time.Sleep(min(time.Duration(round+1)*500*time.Microsecond, 20*time.Millisecond))
	}
}

// killOnce sends SIGKILL. Processes that fork faster than they are killed are
// frozen meanwhile.
func (g *group) killOnce(pids []int, freeze bool) {
	if p, ok := g.paths[""]; ok && os.WriteFile(filepath.Join(p, "cgroup.kill"), []byte("1"), 0) == nil {
		// All of v2; on hybrid hosts a process may be in v1 alone, so go on.
		defer func() { _ = g.freeze(false) }()
	}
	if freeze && g.freeze(true) == nil {
		if frozen, err := g.pids(); err == nil {
			pids = frozen
		}
	}
	for _, pid := range pids {
		unix.Kill(pid, unix.SIGKILL)
	}
	_ = g.freeze(false) // the dead need no thaw
}

// pids lists the processes of all hierarchies and of the cgroups below: after a
// crash a process may be in some of them only.
func (g *group) pids() ([]int, error) {
	seen := map[int]bool{}
	for _, dir := range g.dirs() {
		err := walk(dir, func(dir string) error {
			data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
			if err != nil {
				return err
			}
			for _, field := range strings.Fields(string(data)) {
				if pid, err := strconv.Atoi(field); err == nil && pid > 0 && pid != os.Getpid() {
					seen[pid] = true
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return slices.Sorted(maps.Keys(seen)), nil
}

// walk calls f for a cgroup and those below, the deepest first. What vanishes
// meanwhile is no error.
func walk(dir string, f func(dir string) error) error {
	entries, err := os.ReadDir(dir)
	if err == nil {
		for _, e := range entries {
			if e.IsDir() {
				if err := walk(filepath.Join(dir, e.Name()), f); err != nil {
					return err
				}
			}
		}
		err = f(dir)
	}
	// ENODEV: removed while it was open. EOPNOTSUPP: a threaded cgroup, whose
	// processes its parent lists.
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return err
}

// freezePatience bounds the wait for all processes to have stopped.
const freezePatience = 3 * time.Second

// freeze stops all processes where they are, or lets them go on.
func (g *group) freeze(frozen bool) error {
	file, on, off := filepath.Join(g.paths["freezer"], "freezer.state"), "FROZEN", "THAWED"
	seen := func() bool { return strings.HasPrefix(read(file), on) }
	if g.paths["freezer"] == "" {
		file, on, off = filepath.Join(g.paths[""], "cgroup.freeze"), "1", "0"
		events := filepath.Join(g.paths[""], "cgroup.events")
		seen = func() bool { return strings.Contains(read(events), "frozen 1") }
	}
	if !frozen {
		return os.WriteFile(file, []byte(off), 0)
	}
	for deadline := time.Now().Add(freezePatience); ; time.Sleep(time.Millisecond) {
		// Again each time: on v1 a process that forked meanwhile keeps the
		// cgroup at "FREEZING" until the state is written once more.
		if err := os.WriteFile(file, []byte(on), 0); err != nil {
			return err
		}
		if seen() {
			return nil
		}
		if time.Now().After(deadline) {
			_ = os.WriteFile(file, []byte(off), 0)
			return fmt.Errorf("processes do not freeze within %s", freezePatience)
		}
	}
}

func read(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return string(data)
}

// oomKills counts the processes here that the kernel has killed for memory. On v1
// a container that has made cgroups of its own has them counted there; on v2 what
// is counted there is counted here too, which does not matter: it only grows.
func (g *group) oomKills() (total uint64) {
	top, file := g.paths["memory"], "memory.oom_control"
	if top == "" {
		top, file = g.paths[""], "memory.events"
	}
	_ = walk(top, func(dir string) error { // what can't be read has none
		for line := range strings.Lines(read(filepath.Join(dir, file))) {
			if text, ok := strings.CutPrefix(line, "oom_kill "); ok {
				n, _ := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
				total += n
			}
		}
		return nil
	})
	return total
}

// remove removes the cgroups, and those above them that are empty then, unless more
// are to come.
func (g *group) remove(more bool) error {
	var errs []error
	for _, dir := range g.dirs() {
		if err := walk(dir, rmdir); err != nil {
			errs = append(errs, err)
			continue
		}
		if more {
			continue
		}
		for range strings.Count(g.name, "/") {
			dir = filepath.Dir(dir)
			if unix.Rmdir(dir) != nil {
				break // another container's
			}
		}
	}
	return errors.Join(errs...)
}

// rmdir removes a cgroup. A process that has ended keeps it busy for a moment.
func rmdir(dir string) error {
	for pause := time.Millisecond; ; pause *= 2 {
		err := unix.Rmdir(dir)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || pause > time.Second {
			return &os.PathError{Op: "remove cgroup", Path: dir, Err: err}
		}
		time.Sleep(pause)
	}
}

// reset makes way for a new run. Before the first one there is nothing: to look
// is a third of the work of removing nothing, and does not take a parent away
// that another container is about to use.
func (g *group) reset() error {
	exists := func(dir string) bool { return unix.Access(dir, unix.F_OK) == nil }
	if !slices.ContainsFunc(g.dirs(), exists) {
		return nil
	}
	if err := g.kill(); err != nil {
		return err
	}
	return g.remove(false)
}
