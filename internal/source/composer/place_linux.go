package composer

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// place puts the program into memory, where it can be executed whatever the
// directories for temporary files allow.
func place(data []byte) (string, func(), error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3, all can be executed
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	}
	if err != nil {
		return "", nil, fmt.Errorf("memory file: %w", err)
	}
	file := os.NewFile(uintptr(fd), name)
	if _, err := file.Write(data); err != nil {
		file.Close()
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d", fd), func() { file.Close() }, nil
}
