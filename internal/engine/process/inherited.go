package process

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// KeepInherited keeps the files that this process got from its parent from programs
// that it starts. Those outlive it: a lock that a script took before it called lepto
// would be held for as long as an enclave runs, and a pipe would never end. Files
// that Go opens are kept anyway; standard input and output are the caller's matter.
func KeepInherited() {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return // without /proc no container is started
	}
	for _, entry := range entries {
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}
