package supervisor

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// children collects all children of this process: those it starts, and those
// it inherits as a subreaper, which lepto-init enter leaves to it. A child may end before anybody knows its name, so every
// status is kept until it is asked for.
type children struct {
	collecting sync.Mutex // held while statuses are taken from the kernel

	mu      sync.Mutex
	ended   map[int]unix.WaitStatus
	order   []int // of ended, oldest first
	waiting map[int]chan unix.WaitStatus
}

// maxUnclaimed bounds the statuses kept: processes of a container that shares
// the host's process ids end up here too, and nobody asks for them.
const maxUnclaimed = 512

// reapChildren starts to collect. It is called once, before the first child,
// and goes on until the process ends.
func reapChildren() (*children, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become a subreaper: %w", err)
	}
	c := &children{ended: map[int]unix.WaitStatus{}, waiting: map[int]chan unix.WaitStatus{}}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGCHLD)
	go func() {
		for range signals {
			c.collect()
		}
	}()
	return c, nil
}

// collect takes the statuses there are.
func (c *children) collect() {
	c.collecting.Lock()
	defer c.collecting.Unlock()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		c.record(pid, status)
	}
}

// record hands a status to whoever waits for it, or keeps it.
func (c *children) record(pid int, status unix.WaitStatus) {
	if !status.Exited() && !status.Signaled() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch, ok := c.waiting[pid]; ok {
		ch <- status
		delete(c.waiting, pid)
		return
	}
	c.ended[pid] = status
	c.order = append(c.order, pid)
	if len(c.order) > maxUnclaimed {
		delete(c.ended, c.order[0])
		c.order = c.order[1:]
	}
}

// wait blocks until a child has ended. Each child is waited for once.
func (c *children) wait(pid int) unix.WaitStatus {
	c.mu.Lock()
	if status, ok := c.ended[pid]; ok {
		delete(c.ended, pid)
		c.mu.Unlock()
		return status
	}
	ch := make(chan unix.WaitStatus, 1)
	c.waiting[pid] = ch
	c.mu.Unlock()
	return <-ch
}

// start runs a program, in new namespaces as the flags have it (clone(2)), with the
// given descriptors as its own, from 0 on. It is
// killed if the calling thread ends, and so if this process does: a caller that
// stays on its thread (runtime.LockOSThread) until the program has ended is
// sure that it never works on alone. It is not os/exec's: that one collects its
// children itself.
func (c *children) start(path string, args []string, flags uintptr, files ...*os.File) (int, error) {
	attr := &syscall.ProcAttr{Dir: "/", Env: []string{}, Sys: &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL, Cloneflags: flags}}
	for _, f := range files {
		attr.Files = append(attr.Files, f.Fd())
	}
	pid, err := syscall.ForkExec(path, args, attr)
	if err != nil {
		return 0, &os.PathError{Op: "start", Path: path, Err: err}
	}
	return pid, nil
}
