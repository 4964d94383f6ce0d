package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// This file: what is started stays, whatever ends the one who started it.

// callerGroups makes a cgroup in every hierarchy, as a login session, a systemd
// unit or a CI job has one, and gives their directories.
func callerGroups(t *testing.T) []string {
	t.Helper()
	name := fmt.Sprintf("e2e-caller-%d", os.Getpid())
	tops, err := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	must(t, err)
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.procs"); err == nil {
		tops = []string{"/sys/fs/cgroup/cgroup.procs"} // v2 alone
	}
	var groups []string
	for _, top := range tops {
		top = filepath.Dir(top)
		group := filepath.Join(top, name)
		must(t, os.Mkdir(group, 0o755))
		t.Cleanup(func() { // those who have ended need a moment to be gone
			eventually(t, "nobody is left in "+group, func() bool { return os.Remove(group) == nil })
		})
		groups = append(groups, group)
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} { // none on v1, unless given
			if own, err := os.ReadFile(filepath.Join(top, file)); err == nil && !slices.Contains(tops, "/sys/fs/cgroup/cgroup.procs") {
				must(t, os.WriteFile(filepath.Join(group, file), own, 0o644))
			}
		}
	}
	return groups
}

// within runs a command in cgroups.
func (w *world) within(groups []string, args ...string) result {
	w.t.Helper()
	script := `n=$1; shift; while [ $n -gt 0 ]; do echo $$ >$1/cgroup.procs || exit 99; shift; n=$((n-1)); done; exec "$@"`
	command := w.command(args...)
	words := append([]string{"-c", script, "within", strconv.Itoa(len(groups))}, groups...)
	shell := exec.Command("sh", append(words, command.Args...)...)
	shell.Dir, shell.Env = command.Dir, command.Env
	return w.finish(shell)
}

func TestWhoStartedItMayBeEnded(t *testing.T) {
	w := newWorld(t)
	w.ok("engine", "stop") // the engine that has built the image
	groups := callerGroups(t)
	r := w.within(groups, "run", "--enclave", "apart", w.script(`
def run(plan):
    plan.add_service("web", ServiceConfig("lab", cmd = ["serve", "80"], ports = {"http": PortSpec(number = 80)}))
`))
	if r.code != 0 {
		t.Fatalf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	for _, group := range groups {
		data, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
		must(t, err)
		for _, pid := range strings.Fields(string(data)) {
			line, _ := os.ReadFile("/proc/" + pid + "/cmdline")
			t.Errorf("%s holds %s: %q", group, pid, line)
		}
	}
	if t.Failed() { // let the groups go
		w.ok("enclave", "rm", "-f", "apart")
		w.ok("engine", "stop")
		return
	}
	if body, err := get("http://" + w.url("apart", "web", "http") + "/name"); err != nil || !strings.HasPrefix(body, "web ") {
		t.Errorf("the service answers %q, %v", body, err)
	}
	own := engineGroups(t, w.enginePID())
	if len(own) == 0 {
		t.Error("the engine is in no cgroup of lepto's")
	}
	w.ok("engine", "stop")
	if !present(own) {
		t.Error("the engine took the cgroup of its supervisors away")
	}
	w.ok("engine", "start")
	w.ok("enclave", "rm", "-f", "apart")
	w.ok("engine", "stop")
	eventually(t, "the engine's cgroups are gone", func() bool { return !present(own) })
}

// engineGroups gives the cgroups of ours that an engine is in.
func engineGroups(t *testing.T, pid int) []string {
	t.Helper()
	name := cgroupOf(fmt.Sprintf("/proc/%d", pid))
	if name == "" {
		return nil
	}
	found, err := filepath.Glob("/sys/fs/cgroup/*" + name)
	must(t, err)
	if _, err := os.Stat("/sys/fs/cgroup" + name); err == nil {
		found = append(found, "/sys/fs/cgroup"+name)
	}
	return found
}

func present(dirs []string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool { _, err := os.Stat(dir); return err == nil })
}
