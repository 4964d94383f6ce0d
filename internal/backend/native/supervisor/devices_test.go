package supervisor

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestBoundDevices: containers whose runtime may not make nodes have the host's
// mounted over plain files.
func TestBoundDevices(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "bound")
	err := errors.Join(os.WriteFile(file, nil, 0o600), os.Mkdir(filepath.Join(dir, "folder"), 0o700),
		os.WriteFile(filepath.Join(dir, "plain"), nil, 0o600), os.Symlink("bound", filepath.Join(dir, "link")))
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		devices []device
		err     error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: its mount namespace ends with it
		var r result
		if r.err = errors.Join(unix.Unshare(unix.CLONE_FS|unix.CLONE_NEWNS), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
			unix.Mount("/dev/null", file, "", unix.MS_BIND, "")); r.err == nil {
			r.devices, r.err = hostDevices(dir)
		}
		done <- r
	}()
	got := <-done
	if got.err != nil || len(got.devices) != 1 || got.devices[0].path != file || got.devices[0].major != 1 || got.devices[0].minor != 3 {
		t.Errorf("devices %+v, %v", got.devices, got.err)
	}
}
