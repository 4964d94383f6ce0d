package supervise

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// This file tells whether the process that a state.json names is still that
// process: process ids are used again, after a while or after a reboot.

// BootID is the kernel's name of this boot.
var BootID = sync.OnceValue(func() string {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
})

// StartTime gives the start of a process in clock ticks since boot, field 22
// of proc_pid_stat(5), and whether it has ended but not been collected.
func StartTime(pid int) (ticks uint64, zombie bool, err error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, false, err
	}
	// The second field, the command's name, may hold spaces and parentheses.
	_, rest, _ := bytes.Cut(data[bytes.LastIndexByte(data, ')'):], []byte(" "))
	fields := bytes.Fields(rest)
	if len(fields) < 20 {
		return 0, false, fmt.Errorf("process %d: unreadable stat", pid)
	}
	ticks, err = strconv.ParseUint(string(fields[19]), 10, 64)
	return ticks, fields[0][0] == 'Z' || fields[0][0] == 'X', err
}

// OpenProcess gives a pidfd of the container's process, if it still runs.
// The caller closes it.
func (s State) OpenProcess() (*os.File, error) {
	if s.PID <= 0 || s.BootID != BootID() {
		return nil, os.ErrProcessDone
	}
	fd, err := unix.PidfdOpen(s.PID, 0)
	if err != nil {
		return nil, os.ErrProcessDone
	}
	f := os.NewFile(uintptr(fd), "pidfd:"+strconv.Itoa(s.PID))
	// The pidfd pins the process first; only then its start time is its own.
	start, zombie, err := StartTime(s.PID)
	if err != nil || zombie || start != s.PIDStart {
		f.Close()
		return nil, os.ErrProcessDone
	}
	return f, nil
}
