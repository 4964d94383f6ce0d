package native

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/network"
	"github.com/lepto-dev/lepto/internal/backend/native/shape"
)

// This file checks a host for what the backend needs.

// CheckStatus is the outcome of a check.
type CheckStatus string

// The outcomes. A warning does not keep services from running.
const (
	CheckOK   CheckStatus = "ok"
	CheckWarn CheckStatus = "warn"
	CheckFail CheckStatus = "fail"
)

// A Check is one thing looked at.
type Check struct {
	Name   string      `json:"name"`
	Status CheckStatus `json:"status"`
	Found  string      `json:"found"`        // what there is
	Do     string      `json:"do,omitempty"` // what to do about it
}

// Probe checks whether and how well services can run on this host, with their
// state in home. It leaves nothing behind.
func Probe(ctx context.Context, home string) []Check {
	checks := []Check{checkRoot(), checkKernel(), checkNamespaces(ctx), checkCgroups(), checkSeccomp()}
	if os.Geteuid() == 0 {
		checks = append(checks, checkChroot(), checkOverlay(home), checkNetwork(ctx), checkLinks())
	}
	return append(checks, checkForwarding(), checkMemory(), checkDisk(home))
}

// checkLinks tells how connections between subnetworks would be shaped.
func checkLinks() Check {
	c := Check{Name: "links", Status: CheckOK}
	switch shape.Probe() {
	case shape.Netem:
		c.Found = "shaped by the kernel's netem"
	case shape.Relay:
		c.Found = "shaped by a relay: this kernel has no netem"
	default:
		c.Status, c.Found, c.Do = CheckWarn, "can't be shaped: no subnetworks", shape.WhyUnable
	}
	return c
}

func checkRoot() Check {
	c := Check{Name: "privileges", Status: CheckOK, Found: "root"}
	if os.Geteuid() != 0 {
		c.Status, c.Found, c.Do = CheckFail, fmt.Sprintf("user %d", os.Geteuid()), "run as root, for example with sudo"
		return c
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return c
	}
	for line := range strings.Lines(string(status)) {
		text, ok := strings.CutPrefix(line, "CapEff:")
		if !ok {
			continue
		}
		have, _ := strconv.ParseUint(strings.TrimSpace(text), 16, 64)
		var missing []string
		for name, bit := range map[string]uint{"SYS_ADMIN": unix.CAP_SYS_ADMIN, "NET_ADMIN": unix.CAP_NET_ADMIN, "SYS_CHROOT": unix.CAP_SYS_CHROOT, "MKNOD": unix.CAP_MKNOD} {
			if have&(1<<bit) == 0 {
				missing = append(missing, "CAP_"+name)
			}
		}
		if len(missing) > 0 {
			c.Status, c.Found = CheckFail, "root without "+strings.Join(missing, ", ")
			c.Do = "run outside of a container, or in a privileged one"
		}
	}
	return c
}

func checkChroot() Check {
	if err := refuseChroot(); err != nil {
		return Check{"root directory", CheckFail, err.Error(), "run lepto outside of a chroot"}
	}
	return Check{Name: "root directory", Status: CheckOK, Found: "the mount namespace's own"}
}

// minKernel is the first with mount_setattr(2); pidfd_open(2), close_range(2) and
// PIDFD_NONBLOCK are older.
const minKernel = "5.12"

func checkKernel() Check {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return Check{"kernel", CheckFail, err.Error(), "lepto's own containers need Linux"}
	}
	release := unix.ByteSliceToString(name.Release[:])
	c := Check{Name: "kernel", Status: CheckOK, Found: "Linux " + release + " " + runtime.GOARCH}
	if tooOld(release) {
		c.Status, c.Do = CheckFail, "use Linux "+minKernel+" or later"
	}
	return c
}

func tooOld(release string) bool {
	var major, minor, leastMajor, leastMinor int
	_, _ = fmt.Sscanf(minKernel, "%d.%d", &leastMajor, &leastMinor)
	n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor)
	return n != 2 || major < leastMajor || major == leastMajor && minor < leastMinor
}

func checkNamespaces(ctx context.Context) Check {
	c := Check{Name: "namespaces", Status: CheckOK}
	var missing []string
	for _, ns := range []string{"mnt", "pid", "net", "ipc", "uts", "cgroup"} {
		if !exists("/proc/self/ns/" + ns) {
			missing = append(missing, ns)
		}
	}
	if len(missing) > 0 {
		c.Status, c.Found, c.Do = CheckFail, "none of kind "+strings.Join(missing, ", "), "use a kernel with these namespaces"
		return c
	}
	c.Found = "mount, pid, network, ipc, uts, cgroup"
	if os.Geteuid() == 0 {
		// A child of our own tries, so that nothing of this process changes.
		try := exec.CommandContext(ctx, "/proc/self/exe", "--help")
		try.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS}
		if err := try.Start(); err != nil {
			c.Status, c.Found, c.Do = CheckFail, "can't be made: "+err.Error(), "run outside of a container, or in a privileged one"
			return c
		}
		try.Process.Kill()
		_ = try.Wait() // killed, as meant
	}
	return c
}

func checkCgroups() Check {
	c := Check{Name: "cgroups", Status: CheckOK, Found: cgroupMode()}
	if c.Found == "none" {
		c.Status, c.Do = CheckFail, "mount the cgroup file systems at "+cgroupRoot
		return c
	}
	var there, missing []string
	for _, name := range []string{"memory", "cpu", "pids"} {
		if missingController(name) == "" {
			there = append(there, name)
		} else {
			missing = append(missing, name)
		}
	}
	if len(there) > 0 {
		c.Found += ", limits of " + strings.Join(there, ", ")
	}
	if len(missing) > 0 {
		c.Status, c.Found = CheckWarn, c.Found+", none of "+strings.Join(missing, ", ")
		c.Do = "limits of these kinds can't be set; boot with cgroup_enable=" + missing[0] + ", or give this container the controllers"
	}
	if os.Geteuid() != 0 {
		return c
	}
	top := cgroupRoot
	if !unified() {
		top = filepath.Join(cgroupRoot, "pids")
	}
	dir := filepath.Join(top, "lepto-probe-"+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		c.Status, c.Found, c.Do = CheckFail, c.Found+", not writable: "+err.Error(), "mount "+cgroupRoot+" writable"
		return c
	}
	_ = os.Remove(dir) // empty, and our own
	return c
}

func checkSeccomp() Check {
	// EFAULT: the kernel knows the filter mode and looked at the (missing) filter.
	err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, 0, 0, 0)
	// EACCES: the same, but without the right to set one.
	if errors.Is(err, unix.EFAULT) || errors.Is(err, unix.EACCES) {
		return Check{Name: "seccomp", Status: CheckOK, Found: "system call filters"}
	}
	return Check{"seccomp", CheckFail, "no system call filters", "use a kernel with CONFIG_SECCOMP_FILTER"}
}

// checkOverlay mounts an overlay in home, in a mount namespace of its own.
func checkOverlay(home string) Check {
	c := Check{Name: "overlayfs", Status: CheckOK, Found: "works in " + home}
	bad := func(err error) Check {
		c.Status, c.Found = CheckFail, err.Error()
		c.Do = "load the module (modprobe overlay), and keep LEPTO_HOME on a file system such as ext4 or xfs"
		return c
	}
	for !exists(home) && home != "/" {
		home = filepath.Dir(home)
	}
	dir, err := os.MkdirTemp(home, ".lepto-probe-")
	if err != nil {
		return bad(err)
	}
	defer func() { _ = removeTree(dir) }()
	for _, d := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			return bad(err)
		}
	}
	if err := inOwnMounts(func() error {
		options := fmt.Sprintf("lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work", dir, dir, dir)
		return os.NewSyscallError("mount overlay", unix.Mount("overlay", dir+"/merged", "overlay", 0, options))
	}); err != nil {
		return bad(err)
	}
	return c
}

// inOwnMounts runs f on a thread with a mount namespace of its own, which goes
// with the thread.
func inOwnMounts(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := os.NewSyscallError("unshare", unix.Unshare(unix.CLONE_FS|unix.CLONE_NEWNS))
		if err == nil {
			err = os.NewSyscallError("make mounts private", unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		}
		if err == nil {
			err = f()
		}
		result <- err
	}()
	return <-result
}

// checkNetwork makes the network of an enclave, with its firewall rules, and
// takes it away again.
func checkNetwork(ctx context.Context) Check {
	c := Check{Name: "network", Status: CheckOK, Found: "bridges, links and masquerading work"}
	bad := func(err error) Check {
		c.Status, c.Found = CheckFail, err.Error()
		c.Do = "load the modules bridge, veth and nf_tables (modprobe); outside of a privileged container they can't be used"
		return c
	}
	dir, err := os.MkdirTemp("", "lepto-probe-")
	if err != nil {
		return bad(err)
	}
	defer func() { _ = removeTree(dir) }()
	raw := make([]byte, 16)
	rand.Read(raw)
	subnet, err := network.ChooseSubnet(nil)
	if err != nil {
		return bad(err)
	}
	config := network.Config{ID: backend.EnclaveID(hex.EncodeToString(raw)), Dir: dir, Subnet: subnet}
	n, err := network.Create(ctx, config)
	if err != nil {
		return bad(err)
	}
	_, err = n.AddEndpoint(ctx, "probe", gatewayOf(subnet).Next())
	if err = errors.Join(err, n.Destroy(context.WithoutCancel(ctx))); err != nil {
		return bad(err)
	}
	return c
}

func checkForwarding() Check {
	c := Check{Name: "ip forwarding", Status: CheckOK, Found: "on"}
	data, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
	switch {
	case err != nil:
		c.Status, c.Found, c.Do = CheckWarn, err.Error(), "services may not reach the outside world"
	case strings.TrimSpace(string(data)) != "1":
		c.Found = "off; turned on while there are enclaves"
	}
	return c
}

const (
	lowMemory = 512 << 20
	lowDisk   = 2 << 30
	noDisk    = 200 << 20
)

func checkMemory() Check {
	total, free := meminfo("MemTotal"), meminfo("MemAvailable")
	c := Check{Name: "memory", Status: CheckOK, Found: fmt.Sprintf("%s of %s available", size(free), size(total))}
	if free < lowMemory {
		c.Status, c.Do = CheckWarn, "end programs that are not needed: services may run out of memory"
	}
	return c
}

func checkDisk(home string) Check {
	for !exists(home) && home != "/" {
		home = filepath.Dir(home)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(home, &st); err != nil {
		return Check{"disk", CheckFail, err.Error(), "choose another directory with LEPTO_HOME"}
	}
	free := st.Bavail * uint64(st.Bsize)
	c := Check{Name: "disk", Status: CheckOK, Found: fmt.Sprintf("%s free in %s", size(free), home)}
	switch {
	case st.Flags&unix.ST_NOEXEC != 0:
		c.Status, c.Found, c.Do = CheckFail, home+" is mounted noexec", "set LEPTO_HOME to another file system: lepto runs programs of its own from there"
	case st.Files > 0 && st.Ffree < 1000:
		c.Status, c.Found, c.Do = CheckFail, fmt.Sprintf("%d inodes free in %s", st.Ffree, home), "delete files, or set LEPTO_HOME to another file system"
	case free < noDisk:
		c.Status, c.Do = CheckFail, "free some space (lepto clean), or set LEPTO_HOME to another file system"
	case free < lowDisk:
		c.Status, c.Do = CheckWarn, "images may not fit: free some space (lepto clean)"
	}
	return c
}

// size writes a number of bytes for humans.
func size(n uint64) string {
	if n >= 1<<30 {
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	}
	return fmt.Sprintf("%d MiB", n>>20)
}
