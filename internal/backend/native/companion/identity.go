package companion

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// This file tells companions apart, and ends them.

// Identity is a process beyond doubt: pids are used again, the time a process
// started is not.
type Identity struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after boot, field 22 of proc(5)'s stat
}

// Identify reads the identity of a process; fs.ErrNotExist if there is none.
func Identify(pid int) (Identity, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Identity{}, err
	}
	// The command, field 2, is in parentheses and may hold anything.
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) < 20 {
		return Identity{}, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	start, err := strconv.ParseUint(string(fields[19]), 10, 64)
	return Identity{pid, start}, err
}

// process is a process held by a descriptor, which never comes to mean another
// one. The zero value is no process.
type process struct{ pidfd *os.File }

// hold opens the process, if it still is the one that is meant.
func (id Identity) hold() (process, error) {
	if id.PID <= 0 {
		return process{}, nil
	}
	fd, err := unix.PidfdOpen(id.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return process{}, nil
	}
	if err != nil {
		return process{}, os.NewSyscallError("pidfd_open", err)
	}
	p := process{os.NewFile(uintptr(fd), "pidfd")}
	// Looked up after opening, so that no other can come in between.
	now, err := Identify(id.PID)
	if err == nil && now == id {
		return p, nil
	}
	p.release()
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		err = nil
	}
	return process{}, err
}

func (p process) release() {
	if p.pidfd != nil {
		p.pidfd.Close()
	}
}

func (p process) kill() error {
	if p.pidfd == nil {
		return nil
	}
	err := unix.PidfdSendSignal(int(p.pidfd.Fd()), unix.SIGKILL, nil, 0)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return os.NewSyscallError("pidfd_send_signal", err)
	}
	return nil
}

// Kill ends the process, if it still is the one that is meant, without a chance to
// object.
func (id Identity) Kill() error {
	p, err := id.hold()
	if err != nil {
		return err
	}
	defer p.release()
	return p.kill()
}

// ended reports whether the process has ended, reaped by its parent or not.
func (p process) ended() (bool, error) {
	if p.pidfd == nil {
		return true, nil
	}
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(p.pidfd.Fd()), Events: unix.POLLIN}}, 0)
	if errors.Is(err, unix.EINTR) {
		return false, nil
	}
	return n > 0, err
}

// Patience with a process that should end by itself, and with one that was
// killed.
const (
	stopPatience = time.Second
	killPatience = 5 * time.Second
)

// Stop takes the table away and waits until no process of the kind is there for
// dir: by itself it ends within milliseconds; one that does not is killed.
// Idempotent, also without any folder.
func (k Kind) Stop(ctx context.Context, dir string) error {
	if err := os.Remove(filepath.Join(dir, k.Table)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	lock, err := os.Open(filepath.Join(dir, lockFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // no process has got that far, and none will, without a table
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	var id Identity
	if err := ReadJSON(filepath.Join(dir, StatusFile), &id); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("find the %s: %w", k.Name, err)
	}
	p, err := id.hold()
	if err != nil {
		return err
	}
	defer p.release()
	// The lock tells of a process that came after the status was written, the
	// descriptor of one that has let go of the lock and still is on its way out.
	gone := func() (bool, error) {
		if free, err := tryLock(lock); !free || err != nil {
			return false, err
		}
		return p.ended()
	}
	if done, err := await(ctx, stopPatience, gone); done || err != nil {
		return err
	}
	if err := p.kill(); err != nil {
		return fmt.Errorf("end %s %d: %w", k.Name, id.PID, err)
	}
	done, err := await(ctx, killPatience, gone)
	if !done && err == nil {
		err = fmt.Errorf("%s %d does not end", k.Name, id.PID)
	}
	return err
}

func tryLock(f *os.File) (bool, error) {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR) {
		return false, nil
	}
	return err == nil, err
}

// await repeats a look at the world until it is as wished, for so long.
func await(ctx context.Context, patience time.Duration, wished func() (bool, error)) (bool, error) {
	deadline := time.Now().Add(patience)
	for wait := time.Millisecond / 2; ; wait = min(2*wait, 20*time.Millisecond) {
		if done, err := wished(); done || err != nil {
			return done, err
		}
		if time.Now().After(deadline) {
			return false, nil
		}
		if !Pause(ctx, wait) {
			return false, context.Cause(ctx)
		}
	}
}
