package supervise_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/fault"
)

// privileges are the lines of proc_pid_status(5) that tell what a process may do.
const privileges = "grep -E '^(Umask|Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp)' /proc/self/status; pwd; echo $HOME"

// status is what libcontainer's own confinement gave, for the values that differ.
func status(uid, gid, groups, permitted, bounding, seccomp, cwd, home string) string {
	const zeros = "0000000000000000"
	pad := func(s string) string { return zeros[len(s):] + s }
	ids := func(s string) string { return s + "\t" + s + "\t" + s + "\t" + s }
	filters := map[string]string{"2": "1", "0": "0"}[seccomp]
	return strings.Join([]string{
		"Umask:\t0022", "Uid:\t" + ids(uid), "Gid:\t" + ids(gid), "Groups:\t" + groups,
		"CapInh:\t" + zeros, "CapPrm:\t" + pad(permitted), "CapEff:\t" + pad(permitted),
		"CapBnd:\t" + pad(bounding), "CapAmb:\t" + zeros,
		"NoNewPrivs:\t0", "Seccomp:\t" + seccomp, "Seccomp_filters:\t" + filters, cwd, home, "",
	}, "\n")
}

// TestPrivileges compares what a container's first command and one run in it
// later may do. The wanted values were read off containers that libcontainer
// confined, with runc 1.5.2.
func TestPrivileges(t *testing.T) {
	const usual = "a80425fb"
	all := ownCapabilities(t)
	cases := []struct {
		name string
		set  func(*supervise.Spec)
		want string
	}{
		{"root", func(s *supervise.Spec) {}, status("0", "0", "0 ", usual, usual, "2", "/", "/root")},
		{"user", func(s *supervise.Spec) { s.User = "guest" }, status("1000", "1001", "10 1001 ", "0", usual, "2", "/", "/home/guest")},
		{"numbers", func(s *supervise.Spec) { s.User = "4321:77" }, status("4321", "77", "77 ", "0", usual, "2", "/", "/")},
		{"no init", func(s *supervise.Spec) { s.NoInit = true }, status("0", "0", "0 ", usual, usual, "2", "/", "/root")},
		{"user, no init", func(s *supervise.Spec) { s.NoInit, s.User = true, "guest:lab" }, status("1000", "77", "77 ", "0", usual, "2", "/", "/home/guest")},
		{"terminal", func(s *supervise.Spec) { s.TTY, s.User = true, "guest" }, status("1000", "1001", "10 1001 ", "0", usual, "2", "/", "/home/guest")},
		{"terminal, no init", func(s *supervise.Spec) { s.TTY, s.NoInit, s.User = true, true, "guest" }, status("1000", "1001", "10 1001 ", "0", usual, "2", "/", "/home/guest")},
		{"added", func(s *supervise.Spec) { s.AddCapabilities = []string{"NET_ADMIN", "CAP_SYS_PTRACE"} }, status("0", "0", "0 ", "a80c35fb", "a80c35fb", "2", "/", "/root")},
		{"added, user", func(s *supervise.Spec) { s.AddCapabilities, s.User = []string{"NET_ADMIN"}, "guest" }, status("1000", "1001", "10 1001 ", "0", "a80435fb", "2", "/", "/home/guest")},
		{"directory", func(s *supervise.Spec) { s.Cwd, s.User = "/made/for/it", "guest" }, status("1000", "1001", "10 1001 ", "0", usual, "2", "/made/for/it", "/home/guest")},
		{"privileged", func(s *supervise.Spec) { s.Privileged = true }, status("0", "0", "0 ", all, all, "0", "/", "/root")},
		{"privileged user", func(s *supervise.Spec) { s.Privileged, s.User = true, "guest" }, status("1000", "1001", "10 1001 ", "0", all, "0", "/", "/home/guest")},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := spec(t, privileges+"; exec sleep 1000")
			c.set(&s)
			comparePrivileges(t, launcher, s, c.want)
		})
	}
}

// ownCapabilities are all that this process may have, and so a privileged
// container: on some hosts not all that there are.
func ownCapabilities(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/status")
	must(t, err)
	for line := range strings.Lines(string(data)) {
		if set, ok := strings.CutPrefix(line, "CapBnd:"); ok {
			return strings.TrimLeft(strings.TrimSpace(set), "0")
		}
	}
	t.Fatal("no CapBnd in /proc/self/status")
	return ""
}

// comparePrivileges starts a container whose command tells its privileges, and
// asks a second command.
func comparePrivileges(t *testing.T, l supervise.Launcher, s supervise.Spec, want string) {
	t.Helper()
	h, err := l.Start(t.Context(), s)
	must(t, err)
	defer destroy(t, h, s)
	eventually(t, "its output", func() bool { return strings.Count(text(t, h), "\n") == strings.Count(want, "\n") })
	if got := text(t, h); got != want {
		t.Errorf("the first command: %s\nwant %s", got, want)
	}
	var out strings.Builder
	_, err = h.Exec(t.Context(), backend.ExecSpec{Args: []string{"/bin/sh", "-c", privileges}, Stdout: &out})
	must(t, err)
	if out.String() != want {
		t.Errorf("a second command: %s\nwant %s", out.String(), want)
	}
}

// copyPrograms copies the programs, so that their filters are compiled anew.
func copyPrograms(t *testing.T) supervise.Launcher {
	t.Helper()
	dir, from := t.TempDir(), filepath.Dir(launcher.Init)
	for _, name := range []string{"lepto-init", "lepto-filter", "lepto-supervisor"} {
		data, err := os.ReadFile(filepath.Join(from, name))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, name), data, 0o755))
	}
	return supervise.Launcher{Supervisor: filepath.Join(dir, "lepto-supervisor"), Init: filepath.Join(dir, "lepto-init")}
}

// TestFilterIsKeptAndVerified: a kept filter that isn't whole, or that others
// could have written, is compiled again; the container has one in any case.
func TestFilterIsKeptAndVerified(t *testing.T) {
	l := copyPrograms(t)
	want := status("0", "0", "0 ", "a80425fb", "a80425fb", "2", "/", "/root")
	begin := func() {
		t.Helper()
		comparePrivileges(t, l, spec(t, privileges+"; exec sleep 1000"), want)
	}
	begin()
	names, err := filepath.Glob(filepath.Join(filepath.Dir(l.Init), "filters", "????????????????????????????????"))
	must(t, err)
	if len(names) != 1 {
		t.Fatalf("filters = %v", names)
	}
	good, err := os.ReadFile(names[0])
	must(t, err)
	spoil := map[string]func(){
		"removed": func() { must(t, os.Remove(names[0])) },
		"empty":   func() { must(t, os.Truncate(names[0], 0)) },
		"cut":     func() { must(t, os.Truncate(names[0], int64(len(good)-8))) },
		"changed": func() {
			must(t, os.WriteFile(names[0], append(good[:len(good)-8:len(good)-8], make([]byte, 8)...), 0o600))
		},
		"writable": func() { must(t, os.Chmod(names[0], 0o666)) },
		"a link":   func() { must(t, os.Rename(names[0], names[0]+"x")); must(t, os.Symlink(names[0]+"x", names[0])) },
	}
	for how, do := range spoil {
		do()
		begin()
		// Compiled twice it differs in the order of architectures; not in its end.
		now, err := os.ReadFile(names[0])
		if err != nil || len(now) != len(good) || !bytes.HasSuffix(now, good[len(good)-8:]) {
			t.Errorf("%s: %d bytes, %v", how, len(now), err)
		}
		if info, err := os.Lstat(names[0]); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", how, info, err)
		}
	}
}

// TestNoContainerWithoutFilter: where the filter can't be compiled, nothing runs.
func TestNoContainerWithoutFilter(t *testing.T) {
	l := copyPrograms(t)
	must(t, os.WriteFile(filepath.Join(filepath.Dir(l.Init), "lepto-filter"), []byte("#!/bin/sh\nexit 3\n"), 0o755))
	s := spec(t, "echo it ran")
	_, err := l.Start(t.Context(), s)
	var f *fault.Fault
	if !errors.As(err, &f) || f.Code != supervise.CodeRuntime || !strings.Contains(f.Summary, "system call filter") {
		t.Errorf("error = %v", err)
	}
	checkGone(t, s)
	s.Privileged = true // it has none
	h, err := l.Start(t.Context(), s)
	must(t, err)
	destroy(t, h, s)
}
