package engine

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// reserved is what is left free on the engine's disk, in bytes, whatever clients
// send: the state must be written.
const reserved = 256 << 20

// Room gives how much may be written to a directory, in bytes.
func Room(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return max(0, int64(st.Bavail)*st.Bsize-reserved), nil //nolint:unconvert // types differ by platform
}
