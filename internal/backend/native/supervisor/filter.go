package supervisor

import (
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/fault"
)

// filter gives the container's system call filter, for the commands that are
// run in it later: nil where it has none. A supervisor that did not start the
// container asks the kernel, which has it from the container's first process: it
// is the same to the byte, whichever version of lepto made it.
func (c *container) filter() ([]byte, error) {
	if c.spec.Privileged {
		return nil, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.program != nil {
		return c.program, nil
	}
	program, err := c.children.filterOf(c.state.PID)
	if err != nil {
		return nil, fault.New(supervise.CodeRuntime, "exec: read the container's system call filter: %w", err).
			WithHint("the kernel needs CONFIG_CHECKPOINT_RESTORE, and lepto must not be under a filter itself")
	}
	c.program = program
	return program, nil
}

// filterOf reads the oldest filter of a process (PTRACE_SECCOMP_GET_FILTER,
// ptrace(2)): later ones are its own doing. The process is stopped for it, for
// some microseconds.
func (c *children) filterOf(pid int) ([]byte, error) {
	// A stop is told like an end, and must not be taken for one meanwhile.
	c.collecting.Lock()
	defer c.collect()
	defer c.collecting.Unlock()
	// Tracing belongs to a thread. It ends with the detaching, or the thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.PtraceSeize(pid); err != nil {
		return nil, fmt.Errorf("trace process %d: %w", pid, err)
	}
	defer func() { _ = unix.PtraceDetach(pid) }()
	if err := unix.PtraceInterrupt(pid); err != nil {
		return nil, fmt.Errorf("interrupt process %d: %w", pid, err)
	}
	if err := c.awaitStop(pid); err != nil {
		return nil, err
	}
	n, err := getFilter(pid, nil)
	if err != nil || n == 0 {
		return nil, err
	}
	program := make([]byte, n*unix.SizeofSockFilter)
	_, err = getFilter(pid, program)
	return program, err
}

// awaitStop waits until a traced process has stopped. It does not block: one
// that hangs in the kernel stops when it comes back.
func (c *children) awaitStop(pid int) error {
	for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(50 * time.Microsecond) {
		var status unix.WaitStatus
		got, err := unix.Wait4(pid, &status, unix.WALL|unix.WNOHANG, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return fmt.Errorf("wait for process %d to stop: %w", pid, err)
		case got == pid && status.Stopped():
			return nil
		case got == pid:
			c.record(pid, status)
			return fmt.Errorf("process %d has just ended: %w", pid, fault.ErrNotRunning)
		case time.Now().After(deadline):
			return fmt.Errorf("process %d does not stop: %w", pid, fault.ErrTimeout)
		}
	}
}

// getFilter gives the number of a filter's instructions, and the instructions.
func getFilter(pid int, into []byte) (int, error) {
	const getFilter = 0x420c // PTRACE_SECCOMP_GET_FILTER
	var data unsafe.Pointer
	if len(into) > 0 {
		data = unsafe.Pointer(&into[0])
	}
	n, _, errno := unix.Syscall6(unix.SYS_PTRACE, getFilter, uintptr(pid), 0, uintptr(data), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
