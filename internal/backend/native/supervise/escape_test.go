package supervise_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/fault"
)

// These tests try to get out of a container, or to have its making reach out.

// victim is a directory of the host that nothing may change.
func victim(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "victim")
	must(t, os.Mkdir(dir, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "secret"), []byte("the host's\n"), 0o644))
	t.Cleanup(func() {
		names, err := os.ReadDir(dir)
		if err != nil || len(names) != 1 {
			t.Errorf("the host's directory has changed: %v, %v", names, err)
		}
		data, err := os.ReadFile(filepath.Join(dir, "secret"))
		if string(data) != "the host's\n" {
			t.Errorf("the host's file has changed: %q, %v", data, err)
		}
	})
	return dir
}

// link makes a symbolic link in a layer, in place of what is there.
func link(t *testing.T, layer, path, to string) {
	t.Helper()
	name := filepath.Join(layer, path)
	must(t, os.RemoveAll(name))
	must(t, os.MkdirAll(filepath.Dir(name), 0o755))
	must(t, os.Symlink(to, name))
}

// TestLinksOfAnImageStayInIt: wherever something is mounted or made, a link of the
// image leads to a place in the image.
func TestLinksOfAnImageStayInIt(t *testing.T) {
	host := victim(t)
	up := strings.Repeat("../", 40)
	content := t.TempDir()
	must(t, os.WriteFile(filepath.Join(content, "f"), []byte("mounted\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(content, "file"), []byte("a file\n"), 0o644))
	links := map[string]string{
		"absolute": host, "upwards": up + host[1:], "missing": host + "/new/deep", "missing, upwards": up + host[1:] + "/new",
		"a file of it": host + "/secret/below", "twice": "/second",
	}
	for name, to := range links {
		t.Run(name, func(t *testing.T) {
			s := spec(t, "exec 2>/dev/null; cat /data/f /data/sub/file /etc/hosts; cat "+host+"/secret")
			link(t, s.Layers[0], "data", to)
			link(t, s.Layers[0], "second", "third")
			link(t, s.Layers[0], "third", host)
			link(t, s.Layers[0], "etc/hosts", to+"-hosts")
			s.Hosts = "127.0.0.1 localhost\n"
			s.Mounts = []supervise.Mount{{Path: "/data", Bind: content}, {Path: "/data/sub/file", Bind: filepath.Join(content, "file")}}
			must(t, os.Mkdir(filepath.Join(content, "sub"), 0o755))
			defer os.RemoveAll(filepath.Join(content, "sub"))
			_, out := run(t, s)
			if want := "mounted\na file\n127.0.0.1 localhost\n"; !strings.HasPrefix(out, want) || strings.Contains(out, "the host's") {
				t.Errorf("output = %q", out)
			}
		})
	}
}

// TestRefusedMounts: what holds up the confinement can't be moved or covered.
func TestRefusedMounts(t *testing.T) {
	host := victim(t)
	cases := []struct {
		name  string
		image func(t *testing.T, layer string)
		path  string // of a mount
	}{
		{"proc is a link", func(t *testing.T, l string) { link(t, l, "proc", host) }, ""},
		{"proc is a link that leads nowhere", func(t *testing.T, l string) { link(t, l, "proc", "/nowhere") }, ""},
		{"proc is a file", func(t *testing.T, l string) { must(t, os.WriteFile(filepath.Join(l, "proc"), nil, 0o644)) }, ""},
		{"sys is a link", func(t *testing.T, l string) { link(t, l, "sys", "/proc") }, ""},
		{"on proc", nil, "/proc"},
		{"in proc", nil, "/proc/sys/kernel"},
		{"over a mask", nil, "/proc/keys"},
		{"in proc, by a link", func(t *testing.T, l string) { link(t, l, "innocent", "/proc/sys") }, "/innocent/kernel"},
		{"in proc, by a process", nil, "/proc/self/fd"},
		{"on the root", nil, "/"},
		{"on the root, by a link", func(t *testing.T, l string) { link(t, l, "up", "../..") }, "/up"},
		{"through a link that leads nowhere", func(t *testing.T, l string) { link(t, l, "a", "/nothing/../b"); link(t, l, "nothing", "/none") }, "/a"},
		{"links in a circle", func(t *testing.T, l string) { link(t, l, "a", "b"); link(t, l, "b", "a") }, "/a"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := spec(t, "echo it ran")
			if c.image != nil {
				c.image(t, s.Layers[0])
			}
			if c.path != "" {
				s.Mounts = []supervise.Mount{{Path: c.path, Bind: host}}
			}
			h, err := launcher.Start(t.Context(), s)
			var f *fault.Fault
			if err == nil {
				destroy(t, h, s)
				t.Fatal("it started")
			}
			if !errors.As(err, &f) || f.Code != supervise.CodeMount || !strings.HasPrefix(f.Summary, "mount /") {
				t.Errorf("error = %v", err)
			}
			checkGone(t, s)
		})
	}
}

// TestExchangedMountPoint: what is mounted lands in the container, however fast
// another one exchanges the mount point in a volume that both have.
func TestExchangedMountPoint(t *testing.T) {
	host := victim(t)
	shared, content := t.TempDir(), t.TempDir()
	must(t, os.WriteFile(filepath.Join(content, "f"), []byte("mounted\n"), 0o644))
	must(t, os.MkdirAll(filepath.Join(shared, "point"), 0o755))
	link(t, shared, "evil", strings.Repeat("../", 30)+host[1:])
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				unix.Renameat2(unix.AT_FDCWD, filepath.Join(shared, "point"), unix.AT_FDCWD, filepath.Join(shared, "evil"), unix.RENAME_EXCHANGE)
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	for range 15 {
		s := spec(t, "(echo x > "+host+"/f) 2>/dev/null && echo written; cat "+host+"/secret 2>/dev/null")
		s.Mounts = []supervise.Mount{{Path: "/shared", Bind: shared}, {Path: "/shared/point", Bind: content, ReadOnly: true}}
		h, err := launcher.Start(t.Context(), s)
		if err != nil {
			continue // the point was gone: refused
		}
		_, err = h.Wait(t.Context())
		must(t, err)
		if out := text(t, h); out != "" {
			t.Errorf("output = %q", out)
		}
		destroy(t, h, s)
	}
	if data, _ := os.ReadFile(filepath.Join(content, "f")); string(data) != "mounted\n" {
		t.Errorf("a read-only mount was written to: %q", data)
	}
}

// TestNothingOfTheHostIsMounted: a container sees its own mounts only.
func TestNothingOfTheHostIsMounted(t *testing.T) {
	s := spec(t, "cat /proc/self/mountinfo")
	s.Hosts = "127.0.0.1 localhost\n"
	_, out := run(t, s)
	known := regexp.MustCompile(`^/(|proc|dev|dev/(pts|shm|mqueue)|sys|sys/fs/cgroup(/[a-z_,]+)?|etc/(hosts|hostname)|` +
		`proc/(acpi|asound|interrupts|kcore|keys|latency_stats|sched_debug|scsi|timer_list|timer_stats)|sys/devices/virtual/powercap|sys/firmware|` +
		`proc/(bus|fs|irq|sys|sysrq-trigger))$`)
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) < 10 || !known.MatchString(fields[4]) {
			t.Errorf("mounted: %s", line)
		}
		if strings.Contains(line, "shared:") || strings.Contains(line, "master:") {
			t.Errorf("not private: %s", line)
		}
		if strings.HasPrefix(fields[4], "/sys") && !strings.HasPrefix(fields[5], "ro") && fields[4] != "/sys/fs/cgroup" {
			t.Errorf("writable: %s", line)
		}
	}
}

// TestNoDescriptorsOfTheHost: a command has its three, however it is started.
func TestNoDescriptorsOfTheHost(t *testing.T) {
	for name, set := range map[string]func(*supervise.Spec){
		"init": func(*supervise.Spec) {}, "no init": func(s *supervise.Spec) { s.NoInit = true },
		"terminal": func(s *supervise.Spec) { s.TTY = true }, "terminal, no init": func(s *supervise.Spec) { s.TTY, s.NoInit = true, true },
		"user": func(s *supervise.Spec) { s.User = "guest" },
	} {
		t.Run(name, func(t *testing.T) {
			s := spec(t, "for i in 0 1 2 3 4 5 6 7 8 9 10 11; do test -e /proc/$$/fd/$i && echo $i; done; echo end; sleep 1000")
			set(&s)
			h := start(t, s)
			eventually(t, "the list", func() bool { return strings.Contains(text(t, h), "end") })
			if got := strings.Fields(text(t, h)); !slices.Equal(got, []string{"0", "1", "2", "end"}) {
				t.Errorf("the first command has %v", got)
			}
			second, _ := output(t, h, "/bin/sh", "-c", "for i in 0 1 2 3 4 5 6 7 8 9 10 11; do test -e /proc/$$/fd/$i && echo $i; done")
			if second != "0\n1\n2\n" {
				t.Errorf("a second command has %q", second)
			}
			if s.NoInit {
				return
			}
			if own, _ := output(t, h, "/bin/sh", "-c", "ls -l /proc/1/fd/ 2>/dev/null | grep -e '->'; cat /proc/1/environ 2>/dev/null || echo no"); own != "no\n" {
				t.Errorf("the init's descriptors or environment can be read: %q", own)
			}
		})
	}
}

// TestDevicesOfTheHostStayTheHosts: what a container does to its devices is done
// to its own nodes, and others it can make but not use.
func TestDevicesOfTheHostStayTheHosts(t *testing.T) {
	before, err := os.Stat("/dev/null")
	must(t, err)
	s := spec(t, `exec 2>/dev/zero; chmod 0600 /dev/null /proc/keys /proc/self/fd/0; chmod 0604 /proc/timer_list
mknod /tmp/kmsg c 1 11 && echo made; (head -c 1 /tmp/kmsg) || echo denied
mknod /tmp/disk b 254 0 && echo made; (head -c 1 /tmp/disk) || echo denied
mknod /tmp/full c 1 7 && (echo x > /tmp/full) || echo full
test -s /proc/keys || echo masked; cut -d' ' -f6 /proc/1/stat`)
	must(t, os.Symlink("busybox", filepath.Join(s.Layers[0], "bin", "mknod")))
	must(t, os.Symlink("busybox", filepath.Join(s.Layers[0], "bin", "chmod")))
	must(t, os.Symlink("busybox", filepath.Join(s.Layers[0], "bin", "cut")))
	_, out := run(t, s)
	if want := "made\ndenied\nmade\ndenied\nfull\nmasked\n1\n"; out != want {
		t.Errorf("output = %q, want %q", out, want)
	}
	after, err := os.Stat("/dev/null")
	must(t, err)
	if before.Mode() != after.Mode() {
		t.Errorf("the host's /dev/null has mode %v, had %v", after.Mode(), before.Mode())
	}
}

// TestReadOnlyMounts: what is shown read-only is so with all that is mounted below.
func TestReadOnlyMounts(t *testing.T) {
	outer := t.TempDir()
	must(t, os.Mkdir(filepath.Join(outer, "inner"), 0o755))
	must(t, unix.Mount("tmpfs", filepath.Join(outer, "inner"), "tmpfs", unix.MS_NOSUID, "size=64k"))
	defer unix.Unmount(filepath.Join(outer, "inner"), unix.MNT_DETACH)
	s := spec(t, "(echo x > /data/f) 2>&1 | grep -o Read-only; (echo x > /data/inner/f) 2>&1 | grep -o Read-only; grep -c ' /data/inner ro,nosuid' /proc/self/mountinfo")
	s.Mounts = []supervise.Mount{{Path: "/data", Bind: outer, ReadOnly: true}}
	if _, out := run(t, s); out != "Read-only\nRead-only\n1\n" {
		t.Errorf("output = %q", out)
	}
}

// TestOwnInitIsSealed: the file of the init can't be written to, not even by a
// privileged container's root.
func TestOwnInitIsSealed(t *testing.T) {
	s := spec(t, "(echo x >> /proc/1/exe) 2>/dev/null && echo written; printf '#!/proc/self/exe\\n' > /tmp/x; echo end")
	s.Privileged = true
	if _, out := run(t, s); out != "end\n" {
		t.Errorf("output = %q", out)
	}
}

// TestPrivilegedMountsStayInside: what a privileged container mounts never reaches
// the host, nor does the host's reach it.
func TestPrivilegedMountsStayInside(t *testing.T) {
	volume := t.TempDir()
	must(t, os.Mkdir(filepath.Join(volume, "in"), 0o755))
	must(t, os.Mkdir(filepath.Join(volume, "late"), 0o755))
	s := spec(t, "mount -t tmpfs inside /volume/in && touch /volume/in/f; echo ready; sleep 1000")
	s.Privileged = true
	s.Mounts = []supervise.Mount{{Path: "/volume", Bind: volume}}
	h := start(t, s)
	eventually(t, "the mount", func() bool { return strings.Contains(text(t, h), "ready") })
	if names, _ := os.ReadDir(filepath.Join(volume, "in")); len(names) > 0 {
		t.Errorf("the container's mount is the host's: %v", names)
	}
	must(t, unix.Mount("tmpfs", filepath.Join(volume, "late"), "tmpfs", 0, "size=64k"))
	defer unix.Unmount(filepath.Join(volume, "late"), unix.MNT_DETACH)
	must(t, os.WriteFile(filepath.Join(volume, "late", "f"), nil, 0o644))
	if out, _ := output(t, h, "/bin/ls", "/volume/late"); out != "" {
		t.Errorf("the host's mount is the container's: %q", out)
	}
}

// TestDanglingLinkIsMountedOn: distributions have /etc/resolv.conf lead into a
// directory that only a running system has.
func TestDanglingLinkIsMountedOn(t *testing.T) {
	s := spec(t, "cat /etc/resolv.conf; cat /run/systemd/resolve/stub-resolv.conf; ls -l /etc/resolv.conf | grep -c stub")
	link(t, s.Layers[0], "etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf")
	s.ResolvConf = "nameserver 10.0.0.1\n"
	if _, out := run(t, s); out != strings.Repeat("nameserver 10.0.0.1\n", 2)+"1\n" {
		t.Errorf("output = %q", out)
	}
}

// TestEmptyImage: the container of an image without /dev, /proc or /etc works,
// and a second start finds the same.
func TestEmptyImage(t *testing.T) {
	s := spec(t, "")
	s.Layers = nil
	bin := filepath.Join(busyboxRoot(t), "bin")
	s.Mounts = []supervise.Mount{{Path: "/a/b/bin", Bind: bin, ReadOnly: true}}
	s.Args = []string{"/a/b/bin/busybox", "sh", "-c", "echo $PPID; /a/b/bin/ls /"}
	for range 2 {
		h, err := launcher.Start(t.Context(), s)
		must(t, err)
		_, err = h.Wait(t.Context())
		must(t, err)
		out := text(t, h)
		if !strings.HasSuffix(out, "1\na\ndev\netc\nproc\nsys\n") {
			t.Errorf("output = %q", out)
		}
		destroy(t, h, s)
	}
}
