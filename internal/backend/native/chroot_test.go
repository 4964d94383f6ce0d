package native

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The test runs itself again, as a process whose root is a bind mount below the
// real one.
func TestChrootIsRefused(t *testing.T) {
	if os.Getenv("LEPTO_TEST_CHROOTED") != "" {
		err := refuseChroot()
		if err == nil || !strings.Contains(err.Error(), "chroot") {
			t.Fatalf("inside a chroot: %v", err)
		}
		return
	}
	if err := refuseChroot(); err != nil {
		t.Fatalf("outside of a chroot: %v", err)
	}
	dir := t.TempDir()
	if err := unix.Mount("/", dir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	if err := unix.Mount("", dir, "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	again := exec.Command(self, "-test.run=^TestChrootIsRefused$")
	again.Env = append(os.Environ(), "LEPTO_TEST_CHROOTED=1")
	again.Dir = "/"
	again.SysProcAttr = &syscall.SysProcAttr{Chroot: dir}
	if output, err := again.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
}
