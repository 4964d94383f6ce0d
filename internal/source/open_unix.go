//go:build unix

package source

import (
	"os/exec"
	"syscall"
)

// openNonblock keeps an open of a FIFO from waiting for a writer.
const openNonblock = syscall.O_NONBLOCK

// endTogether has what a program starts end with it where it is cancelled: git
// leaves the network to helpers, which would wait on for an answer.
func endTogether(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
