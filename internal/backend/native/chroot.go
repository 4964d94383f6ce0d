package native

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file keeps the backend from working inside a chroot(2).

// refuseChroot refuses a process whose root is not the root of its mount
// namespace. pivot_root(2) then leaves a container's root below the host's, and
// whoever enters the container's mount namespace later, as exec does, lands in
// the host's root: setns(2) goes to the namespace's own.
func refuseChroot() error {
	inside, err := chrooted()
	if err != nil {
		return fmt.Errorf("compare the root directory with the mount namespace's: %w", err)
	}
	if inside {
		return fault.New("E0409", "containers can't be kept apart inside a chroot").
			WithHint("run lepto outside of it, or enter it with pivot_root, as container engines do")
	}
	return nil
}

// chrooted reports whether entering its own mount namespace anew changes what
// this process sees as its root.
func chrooted() (bool, error) {
	type answer struct {
		chrooted bool
		err      error
	}
	answers := make(chan answer, 1)
	go func() {
		// Never unlocked: the thread's root may have changed, so it ends with
		// the goroutine.
		runtime.LockOSThread()
		changed, err := rootChanges()
		answers <- answer{changed, err}
	}()
	a := <-answers
	return a.chrooted, a.err
}

func rootChanges() (bool, error) {
	namespace, err := os.Open("/proc/thread-self/ns/mnt")
	if err != nil {
		return false, err
	}
	defer namespace.Close()
	// setns(2) wants a root directory that is shared with no other thread.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return false, fmt.Errorf("unshare: %w", err)
	}
	before, err := rootID()
	if err != nil {
		return false, err
	}
	if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNS); err != nil {
		return false, fmt.Errorf("setns: %w", err)
	}
	after, err := rootID()
	return before != after, err
}

// rootID identifies the calling thread's root: its mount and its inode.
func rootID() ([2]uint64, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, "/", 0, unix.STATX_INO|unix.STATX_MNT_ID, &st); err != nil {
		return [2]uint64{}, fmt.Errorf("statx /: %w", err)
	}
	return [2]uint64{st.Mnt_id, st.Ino}, nil
}
