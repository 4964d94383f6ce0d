package image

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// inNamespace runs do on a thread with a mount namespace of its own, which ends
// with it.
func inNamespace(t testing.TB, do func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		done <- func() error {
			runtime.LockOSThread() // never unlocked: the thread dies with the goroutine
			if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
				return err
			}
			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				return err
			}
			return do()
		}()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
