package supervise_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/fault"
)

func TestRunTellsExitCodeAndOutput(t *testing.T) {
	for _, noInit := range []bool{false, true} {
		t.Run(fmt.Sprintf("noInit=%v", noInit), func(t *testing.T) {
			s := spec(t, "echo hello; echo oops >&2; exit 7")
			s.NoInit = noInit
			exit, out := run(t, s)
			if exit.Code != 7 || exit.Signal != 0 || exit.OOM || exit.At.IsZero() {
				t.Errorf("exit = %+v", exit)
			}
			if out != "hello\noops\n" && out != "oops\nhello\n" {
				t.Errorf("output = %q", out)
			}
		})
	}
}

func TestSignalBecomesCode(t *testing.T) {
	exit, _ := run(t, spec(t, "kill -9 $$"))
	if exit.Code != 137 || exit.Signal != 9 || exit.OOM {
		t.Errorf("exit = %+v", exit)
	}
}

func TestCommandFaults(t *testing.T) {
	root := busyboxRoot(t)
	must(t, os.WriteFile(filepath.Join(root, "bin/plain"), []byte("no program"), 0o755))
	must(t, os.WriteFile(filepath.Join(root, "bin/locked"), []byte("#!/bin/sh\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(root, "bin/orphan"), []byte("#!/usr/bin/nothing\n"), 0o755))
	arm := append([]byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00\x01\x00\x00\x00"), make([]byte, 40)...)
	arm[52], arm[54], arm[58] = 64, 56, 64 // sizes of the headers
	must(t, os.WriteFile(filepath.Join(root, "bin/arm"), arm, 0o755))
	must(t, os.WriteFile(filepath.Join(root, "srv/file"), nil, 0o644))
	cases := []struct {
		name   string
		change func(*supervise.Spec)
		code   string
		says   string
	}{
		{"missing", func(s *supervise.Spec) { s.Args = []string{"foo"} }, "E0401", `command "foo" not found in the image's PATH`},
		{"missing path", func(s *supervise.Spec) { s.Args = []string{"/opt/foo"} }, "E0401", `command "/opt/foo" not found in the image`},
		{"missing interpreter", func(s *supervise.Spec) { s.Args = []string{"orphan"} }, "E0401", `its interpreter "/usr/bin/nothing" is not in the image`},
		{"no permission", func(s *supervise.Spec) { s.Args = []string{"locked"} }, "E0402", "permission denied"},
		{"directory", func(s *supervise.Spec) { s.Args = []string{"/etc"} }, "E0402", "permission denied"},
		{"no program", func(s *supervise.Spec) { s.Args = []string{"plain"} }, "E0402", "exec format error"},
		{"architecture", func(s *supervise.Spec) { s.Args = []string{"arm"} }, "E0403", "exec format error: image is for another architecture (arm64"},
		{"user", func(s *supervise.Spec) { s.User = "nobody-here" }, "E0404", `user "nobody-here" is not known in the image`},
		{"group", func(s *supervise.Spec) { s.User = "guest:staff" }, "E0404", `group "staff" is not known in the image`},
		{"working directory", func(s *supervise.Spec) { s.Cwd = "/srv/file" }, "E0405", `working directory "/srv/file"`},
		{"no command", func(s *supervise.Spec) { s.Args = nil }, "E0401", "no command"},
		{"no layer", func(s *supervise.Spec) { s.Layers = []string{"/nowhere"} }, "E0406", "/nowhere"},
		{"capability", func(s *supervise.Spec) { s.AddCapabilities = []string{"FLY"} }, "E0400", `capability "FLY"`},
		{"device", func(s *supervise.Spec) { s.Devices = []string{"/dev/none"} }, "E0400", "device /dev/none"},
	}
	for _, c := range cases {
		for _, noInit := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/noInit=%v", c.name, noInit), func(t *testing.T) {
				s := spec(t, "")
				s.Layers, s.NoInit = []string{root}, noInit
				c.change(&s)
				_, err := launcher.Start(t.Context(), s)
				var f *fault.Fault
				if !errors.As(err, &f) || f.Code != c.code || !strings.Contains(f.Summary, c.says) {
					t.Errorf("error = %#v, want %s with %q", err, c.code, c.says)
				}
				checkGone(t, s)
			})
		}
	}
}

func TestFailedStartIsRemembered(t *testing.T) {
	s := spec(t, "")
	s.Args = []string{"foo"}
	_, err := launcher.Start(t.Context(), s)
	if err == nil {
		t.Fatal("started")
	}
	h, err := launcher.Adopt(t.Context(), s.Dir)
	must(t, err)
	state, err := h.State(t.Context())
	must(t, err)
	if state.Phase != supervise.PhaseFailed || state.Error == nil || state.Error.Code != "E0401" {
		t.Errorf("state = %+v", state)
	}
}

func TestInitReapsAndForwards(t *testing.T) {
	s := spec(t, `trap 'echo got it; exit 3' TERM
sh -c 'sleep 0.01 & exit 0' # an orphan for PID 1
echo ready; while :; do sleep 0.05; done`)
	h := start(t, s)
	eventually(t, "ready", func() bool { return strings.Contains(text(t, h), "ready") })
	eventually(t, "no zombie", func() bool {
		out, _ := output(t, h, "/bin/sh", "-c", "ps -o stat,comm")
		return !strings.Contains(out, "Z")
	})
	exit, err := h.Stop(t.Context(), 10*time.Second)
	must(t, err)
	if exit.Code != 3 || !strings.Contains(text(t, h), "got it") {
		t.Errorf("exit = %+v, output %q", exit, text(t, h))
	}
}

func TestStopEscalates(t *testing.T) {
	s := spec(t, `trap '' TERM; (trap '' TERM; while :; do sleep 1; done) & echo ready; while :; do sleep 1; done`)
	h := start(t, s)
	eventually(t, "ready", func() bool { return strings.Contains(text(t, h), "ready") })
	began := time.Now()
	exit, err := h.Stop(t.Context(), 200*time.Millisecond)
	must(t, err)
	if exit.Code != 137 || time.Since(began) < 200*time.Millisecond {
		t.Errorf("exit = %+v after %s", exit, time.Since(began))
	}
	again, err := h.Stop(t.Context(), time.Second)
	must(t, err)
	if again.Code != exit.Code {
		t.Errorf("second stop = %+v", again)
	}
}

func TestStopSignalOfTheImage(t *testing.T) {
	s := spec(t, `trap 'exit 5' INT; echo ready; while :; do sleep 0.05; done`)
	s.StopSignal = "SIGINT"
	h := start(t, s)
	eventually(t, "ready", func() bool { return strings.Contains(text(t, h), "ready") })
	exit, err := h.Stop(t.Context(), 10*time.Second)
	must(t, err)
	if exit.Code != 5 {
		t.Errorf("exit = %+v", exit)
	}
}

func TestEnvironmentAndUsers(t *testing.T) {
	cases := []struct {
		user, id, home string
	}{
		{"", "uid=0(root) gid=0(root) groups=0(root)", "/root"},
		{"guest", "uid=1000(guest) gid=1001(guest) groups=10(wheel),1001(guest)", "/home/guest"},
		{"1000", "uid=1000(guest) gid=1001(guest) groups=10(wheel),1001(guest)", "/home/guest"},
		{"guest:lab", "uid=1000(guest) gid=77(lab) groups=77(lab)", "/home/guest"},
		{"4242:4343", "uid=4242 gid=4343 groups=4343", "/"},
	}
	for _, c := range cases {
		t.Run(c.user, func(t *testing.T) {
			s := spec(t, "id; echo $HOME $HOSTNAME; hostname; pwd; echo $A; cat /etc/hostname /etc/hosts; head -1 /proc/self/status")
			s.User, s.Cwd, s.Env = c.user, "/made/here", []string{"A=1", "A=2"}
			s.Hosts = "127.0.0.1 localhost\n"
			exit, out := run(t, s)
			want := c.id + "\n" + c.home + " box\nbox\n/made/here\n2\nbox\n127.0.0.1 localhost\nName:\thead\n"
			if exit.Code != 0 || out != want {
				t.Errorf("exit %+v, output\n%s\nwant\n%s", exit, out, want)
			}
		})
	}
}

// TestLayerTwice: images may have a layer more than once.
func TestLayerTwice(t *testing.T) {
	s := spec(t, "cat /a /b; test -e /gone || echo hidden")
	first, second := t.TempDir(), t.TempDir()
	must(t, os.WriteFile(filepath.Join(first, "a"), []byte("from first\n"), 0o644))
	must(t, syscall.Mknod(filepath.Join(first, "gone"), syscall.S_IFCHR, 0))
	must(t, os.WriteFile(filepath.Join(second, "a"), []byte("from second\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(second, "b"), []byte("b\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(second, "gone"), nil, 0o644))
	s.Layers = append(s.Layers, first, second, second, first)
	s.Mounts = []supervise.Mount{{Path: "/m", Lower: []string{first, second, first}}}
	if _, out := run(t, s); out != "from first\nb\nhidden\n" {
		t.Errorf("output %q", out)
	}
}

func TestConfinement(t *testing.T) {
	s := spec(t, `exec 2>/dev/null; grep -E CapBnd /proc/self/status; grep -E 'CapEff|Seccomp:' /proc/self/status
mount | grep -c 'on /sys type sysfs (ro'
echo x > /proc/sys/kernel/domainname || echo refused
head -c 1 /proc/kcore | wc -c
dd if=/dev/vda of=/dev/null bs=1 count=1 2>/dev/null || echo no disk
mount -t tmpfs x /tmp || echo no mount
echo $$ ; (echo x > /proc/1/fd/4) 2>/dev/null || echo no fds
(echo > /proc/1/exe) 2>/dev/null || echo sealed`)
	_, out := run(t, s)
	want := "CapBnd:\t00000000a80425fb\nCapEff:\t00000000a80425fb\nSeccomp:\t2\n1\n"
	if !strings.Contains(out, want) {
		t.Errorf("output = %q", out)
	}
	for _, line := range []string{"refused", "0\n", "no disk", "no mount", "no fds", "sealed"} {
		if !strings.Contains(out, line) {
			t.Errorf("no %q in %q", line, out)
		}
	}
}

func TestPrivilegedAndCapabilities(t *testing.T) {
	s := spec(t, "grep -E 'Seccomp:' /proc/self/status; mount -t tmpfs x /tmp && echo mounted; test -e /dev/kmsg && echo device")
	s.Privileged = true
	if _, out := run(t, s); out != "Seccomp:\t0\nmounted\ndevice\n" {
		t.Errorf("privileged: %q", out)
	}
	s = spec(t, "mount -t tmpfs x /tmp && echo mounted; test -c /dev/kmsg && echo device")
	s.AddCapabilities, s.Devices = []string{"SYS_ADMIN"}, []string{"/dev/kmsg"}
	if _, out := run(t, s); out != "mounted\ndevice\n" {
		t.Errorf("with SYS_ADMIN: %q", out)
	}
}

func TestHostPID(t *testing.T) {
	s := spec(t, "test -d /proc/"+fmt.Sprint(os.Getpid())+" && echo sees the host; sleep 1000 & exit 4")
	s.HostPID = true
	exit, out := run(t, s)
	if exit.Code != 4 || out != "sees the host\n" {
		t.Errorf("exit %+v, output %q", exit, out)
	}
}

func TestMountsAndManyLayers(t *testing.T) {
	s := spec(t, `cat /l0 /l199 /top; cat /data/a /data/b; echo new > /data/c; cat /data/c
cat /host/file; echo changed > /host/out; (echo x > /fixed/f) 2>/dev/null || echo read-only; ls /fixed; df=$(mount | grep /dev/shm); echo "$df" | grep -o size=[0-9]*k`)
	for i := range 200 {
		d := filepath.Join(t.TempDir(), strings.Repeat("long", 20), fmt.Sprint(i))
		must(t, os.MkdirAll(d, 0o755))
		must(t, os.WriteFile(filepath.Join(d, fmt.Sprintf("l%d", i)), []byte("x"), 0o644))
		must(t, os.WriteFile(filepath.Join(d, "top"), fmt.Appendln(nil, i), 0o644))
		s.Layers = append(s.Layers, d)
	}
	lower, upper, host := t.TempDir(), t.TempDir(), t.TempDir()
	must(t, os.WriteFile(filepath.Join(lower, "a"), []byte("old\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(lower, "b"), []byte("b\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(upper, "a"), []byte("a\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(host, "file"), []byte("host\n"), 0o644))
	s.Mounts = []supervise.Mount{
		{Path: "/data", Lower: []string{lower, upper}},
		{Path: "/host", Bind: host},
		{Path: "/fixed", Bind: lower, ReadOnly: true},
	}
	s.Resources.ShmBytes = 3 << 20
	_, out := run(t, s)
	if want := "xx199\na\nb\nnew\nhost\nread-only\na\nb\nsize=3072k\n"; out != want {
		t.Errorf("output = %q, want %q", out, want)
	}
	if data, err := os.ReadFile(filepath.Join(host, "out")); string(data) != "changed\n" {
		t.Errorf("bind: %q, %v", data, err)
	}
	if _, err := os.Stat(filepath.Join(upper, "c")); err == nil {
		t.Error("a write reached the read-only tree")
	}
}

func TestScratchImage(t *testing.T) {
	s := spec(t, "")
	s.Layers = nil
	bin := t.TempDir()
	data, err := os.ReadFile("/usr/bin/busybox")
	must(t, err)
	must(t, os.WriteFile(filepath.Join(bin, "busybox"), data, 0o755))
	s.Mounts = []supervise.Mount{{Path: "/b", Bind: bin}}
	s.Args = []string{"/b/busybox", "echo", "from nothing"}
	if _, out := run(t, s); out != "from nothing\n" {
		t.Errorf("output = %q", out)
	}
}

func TestUlimits(t *testing.T) {
	s := spec(t, "ulimit -n; ulimit -c")
	s.Resources.Ulimits = map[string]int64{"nofile": 123, "core": -1}
	if _, out := run(t, s); out != "123\nunlimited\n" {
		t.Errorf("output = %q", out)
	}
}

func TestRestartKeepsFiles(t *testing.T) {
	s := spec(t, "echo run >> /count; cat /count; sleep 1000")
	h := start(t, s)
	eventually(t, "output", func() bool { return text(t, h) == "run\n" })
	if _, err := launcher.Start(t.Context(), s); !errors.Is(err, fault.ErrExists) {
		t.Errorf("second start: %v", err)
	}
	must(t, h.Kill(t.Context()))
	h2, err := launcher.Start(t.Context(), s)
	must(t, err)
	eventually(t, "output of both", func() bool { return text(t, h2) == "run\nrun\nrun\n" })
	state, err := h.State(t.Context())
	must(t, err)
	if state.Phase != supervise.PhaseRunning {
		t.Errorf("state = %+v", state)
	}
}

func TestRestartAlwaysBacksOff(t *testing.T) {
	s := spec(t, "echo run; exit 1")
	s.RestartAlways = true
	h := start(t, s)
	eventually(t, "three runs", func() bool { return strings.Count(text(t, h), "run") >= 3 })
	state, err := h.State(t.Context())
	must(t, err)
	if state.Restarts < 2 || state.Restarts > 6 {
		t.Errorf("restarts = %d", state.Restarts)
	}
	_, err = h.Stop(t.Context(), time.Second)
	must(t, err)
	n := strings.Count(text(t, h), "run")
	time.Sleep(time.Second) // longer than the pause that was due
	if got := strings.Count(text(t, h), "run"); got != n {
		t.Errorf("%d runs after stop, %d before", got, n)
	}
}

func TestCancelledStartLeavesNothing(t *testing.T) {
	s := spec(t, "sleep 1000")
	for d := time.Duration(0); d < 60*time.Millisecond; d += 6 * time.Millisecond {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		h, err := launcher.Start(ctx, s)
		cancel()
		if err == nil {
			must(t, h.Destroy(t.Context()))
		} else if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %s: %v", d, err)
		}
		checkGone(t, s)
	}
}

func TestNetworkNamespaceAndListening(t *testing.T) {
	name := fmt.Sprintf("lptest%d", os.Getpid())
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		t.Fatalf("ip netns add: %v %s", err, out)
	}
	defer exec.Command("ip", "netns", "del", name).Run()
	exec.Command("ip", "-n", name, "link", "set", "lo", "up").Run()
	port := unusedLow(t)
	s := spec(t, fmt.Sprintf("nc -l -p %d & sleep 1000", port))
	s.NetNS, s.User = "/run/netns/"+name, "guest" // ports below 1024 for any user
	h := start(t, s)
	var got []backend.Listening
	eventually(t, "a listening socket", func() bool {
		var err error
		got, err = h.Listening(t.Context())
		must(t, err)
		return len(got) > 0
	})
	if got[0].Proto != backend.TCP || !got[0].Addr.Addr().IsUnspecified() || got[0].Addr.Port() != port {
		t.Errorf("listening = %v", got)
	}
	if listens(port) {
		t.Error("it listens on the host")
	}
}

// unusedLow gives a port below 1024 that nobody listens on on the host.
func unusedLow(t testing.TB) uint16 {
	t.Helper()
	for port := uint16(80); port < 1024; port++ {
		if !listens(port) {
			return port
		}
	}
	t.Fatal("all ports are in use")
	return 0
}

func listens(port uint16) bool {
	conn, err := net.DialTimeout("tcp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port).String(), time.Second)
	if err == nil {
		conn.Close()
	}
	return err == nil
}

// output runs a command in a container and gives what it prints.
func output(t testing.TB, h *supervise.Handle, args ...string) (string, int) {
	t.Helper()
	var b strings.Builder
	code, err := h.Exec(t.Context(), backend.ExecSpec{Args: args, Stdout: &b, Stderr: &b})
	must(t, err)
	return b.String(), code
}
