package supervisor

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// programs are the paths of what a supervisor starts.
type programs struct {
	filter string
	// sealedInit is lepto-init on a mount that is read-only, in this process's
	// own mount namespace. A process in a container may reach the file its init was
	// started from, as /proc/PID/exe, and with the right user id could write to
	// the host's copy; through this mount it can't, nor can it change the mount.
	sealedInit string
}

// findPrograms seals the init. lepto-filter lies beside this program, under
// a name with the same ending: see package embedded.
func findPrograms(dir, init, filter string) (programs, error) {
	sealed := filepath.Join(dir, "init")
	f, err := os.OpenFile(sealed, os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		return programs{}, err
	}
	f.Close()
	if err := unix.Mount(init, sealed, "", unix.MS_BIND, ""); err != nil {
		return programs{}, fmt.Errorf("mount %s: %w", init, err)
	}
	flags := uintptr(unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV)
	if err := unix.Mount("", sealed, "", flags, ""); err != nil {
		return programs{}, fmt.Errorf("mount %s read-only: %w", init, err)
	}
	return programs{filter: filter, sealedInit: sealed}, nil
}
