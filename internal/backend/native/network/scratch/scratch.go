// Package scratch runs a test binary in namespaces of its own, so that tests
// of the network may do to "the host" what they like and leave nothing behind,
// even when they are killed.
//
// [Main] is the body of a package's TestMain. The package is for tests alone.
package scratch

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// inside marks the process that runs in the namespaces.
const inside = "LEPTO_TEST_SCRATCH"

// Main runs the tests and gives the exit status: in a network namespace that
// has nothing but lo, in a mount namespace in which mounts stay, and in a pid
// namespace whose processes all end with the tests. It needs root.
func Main(run func() int) int {
	if os.Getenv(inside) == "" {
		return again()
	}
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "scratch namespaces:", err)
		return 1
	}
	return run()
}

// again runs this program in new namespaces.
func again() int {
	cmd := exec.CommandContext(context.Background(), "/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   unix.CLONE_NEWPID | unix.CLONE_NEWNET,
		Unshareflags: unix.CLONE_NEWNS,
		Pdeathsig:    unix.SIGKILL,
	}
	err := cmd.Run()
	if cmd.ProcessState != nil {
		return max(cmd.ProcessState.ExitCode(), boolToInt(!cmd.ProcessState.Success()))
	}
	fmt.Fprintln(os.Stderr, "scratch namespaces:", err)
	return 1
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func prepare() error {
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	// A new namespace has the settings of the machine's own, which vary.
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("0"), 0); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}
