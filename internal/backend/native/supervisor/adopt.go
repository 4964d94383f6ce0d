package supervisor

import (
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/fault"
)

// adoptMode takes over a container whose supervisor died. One that runs is
// looked after again; one that ended meanwhile gets its end recorded; one that
// was half started is removed.
func adoptMode(dir string, rest []string) int {
	ready := os.NewFile(supervise.ReadyFD, "ready")
	lock, err := claim(dir, 0)
	if err != nil {
		return refuse(ready, err)
	}
	defer runtime.KeepAlive(lock) // held until the very end of the process
	c, err := reopen(dir, rest)
	if err != nil {
		return refuse(ready, err)
	}
	state := c.current()
	switch state.Phase {
	case supervise.PhaseStarting:
		c.failed(fault.New(supervise.CodeRuntime, "the start was interrupted: the supervisor died"))
	case supervise.PhaseRunning, supervise.PhasePaused:
		return c.takeOver(ready)
	}
	state = c.current()
	json.NewEncoder(ready).Encode(supervise.Ready{State: &state})
	return 0
}

// reopen reads what an earlier supervisor left.
func reopen(dir string, rest []string) (*container, error) {
	spec, err := supervise.ReadSpec(dir)
	if err != nil {
		return nil, err
	}
	spec.Dir = dir
	state, err := supervise.ReadState(dir)
	if errors.Is(err, fault.ErrNotFound) {
		state, err = supervise.State{Phase: supervise.PhaseStarting}, nil
	}
	if err != nil {
		return nil, err
	}
	return newContainer(spec, state, rest)
}

// takeOver looks after a container that an earlier supervisor started.
func (c *container) takeOver(ready *os.File) int {
	state := c.current()
	output, err := openOutput(c.dir, c.spec)
	if err != nil {
		return refuse(ready, err)
	}
	c.output = output
	pidfd, err := state.OpenProcess()
	c.process = &orphan{dir: c.dir, state: state, pidfd: pidfd, noInit: c.spec.NoInit}
	if err != nil && !c.spec.RestartAlways {
		c.finish(c.process.wait())
		state = c.current()
		json.NewEncoder(ready).Encode(supervise.Ready{State: &state})
		return 0
	}
	if err := c.update(func(s *supervise.State) { s.Left = false }); err != nil {
		return refuse(ready, err)
	}
	return c.stay(ready)
}

// An orphan is a first process whose parent was an earlier supervisor.
type orphan struct {
	dir    string
	state  supervise.State
	pidfd  *os.File // nil if it has ended already
	noInit bool
}

// wait blocks until the process has ended. Its exit code is the init's record.
// Without an init the kernel is asked; where it can't tell any more, or the
// init was killed, the code is that of a SIGKILL, 137.
func (o *orphan) wait() backend.Exit {
	killed := backend.Exit{Code: 128 + int(unix.SIGKILL), Signal: int(unix.SIGKILL)}
	var told backend.Exit
	var known bool
	if o.pidfd != nil {
		defer o.pidfd.Close()
		fds := []unix.PollFd{{Fd: int32(o.pidfd.Fd()), Events: unix.POLLIN}}
		for {
			if _, err := unix.Poll(fds, -1); err == nil {
				break
			} else if err != unix.EINTR {
				slog.Error("wait for the container", "err", err)
				break
			}
		}
		told, known = o.ask()
	}
	if exit, ok := supervise.ReadExit(o.dir); ok {
		return exit
	}
	if known && o.noInit {
		told.At = time.Now()
		return told
	}
	return killed
}

func (o *orphan) signal(s unix.Signal) error { return signalTo(o.pidfd, s) }

// ask asks the kernel how the process ended: as long as its parent has not
// collected it, the last field of proc_pid_stat(5) tells; afterwards, from Linux
// 6.15 on, the pidfd does.
func (o *orphan) ask() (backend.Exit, bool) {
	for deadline := time.Now().Add(time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if status, ok := zombieStatus(o.state.PID, o.state.PIDStart); ok {
			return exitStatus(status), true
		}
		if status, ok := collectedStatus(int(o.pidfd.Fd())); ok {
			return exitStatus(status), true
		}
	}
	return backend.Exit{}, false
}

func zombieStatus(pid int, began uint64) (unix.WaitStatus, bool) {
	start, zombie, err := supervise.StartTime(pid)
	if err != nil || !zombie || start != began {
		return 0, false
	}
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, false
	}
	fields := strings.Fields(string(data))
	code, err := strconv.Atoi(fields[len(fields)-1])
	return unix.WaitStatus(code), err == nil && len(fields) >= 52
}

// collectedStatus is PIDFD_GET_INFO with PIDFD_INFO_EXIT
// (include/uapi/linux/pidfd.h).
func collectedStatus(pidfd int) (unix.WaitStatus, bool) {
	type info struct {
		mask, cgroup         uint64
		pid, tgid, ppid      uint32
		ruid, rgid, euid     uint32
		egid, suid, sgid     uint32
		fsuid, fsgid         uint32
		exitCode             int32
		coredumpMask, spare1 uint32
	}
	const (
		wantExit = 1 << 3
		// _IOWR(0xFF, 11, struct pidfd_info)
		request = 3<<30 | unsafe.Sizeof(info{})<<16 | 0xFF<<8 | 11
	)
	in := info{mask: wantExit}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(pidfd), request, uintptr(unsafe.Pointer(&in)))
	return unix.WaitStatus(in.exitCode), errno == 0 && in.mask&wantExit != 0
}

// reap removes what is left of a container in the kernel, whoever started it.
// A supervisor that lives is asked first, by the caller.
func reap(dir string) error {
	lock, err := claim(dir, 5*time.Second)
	if err != nil {
		return err
	}
	defer lock.Close()
	spec, err := supervise.ReadSpec(dir)
	if err != nil {
		return err
	}
	group, err := newGroup(spec.CgroupName)
	if err != nil {
		return err
	}
	return group.reset()
}
