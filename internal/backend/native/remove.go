package native

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// This file deletes folders.

// removeTree deletes a folder and what is in it. It never deletes through a
// mount: whatever is mounted below the folder is unmounted first, and if that
// fails nothing is deleted. An unknown folder is no error.
func removeTree(dir string) error {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for range 3 { // a mount may cover another at the same place
		mounts, err := mountsBelow(dir)
		if err != nil {
			return err
		}
		if len(mounts) == 0 {
			return os.RemoveAll(dir)
		}
		for _, at := range mounts {
			if err := unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
				return fmt.Errorf("unmount %s: %w", at, err)
			}
		}
	}
	return fmt.Errorf("delete %s: something keeps being mounted in it", dir)
}

// mountsBelow lists the mount points at or below a folder, the innermost first.
func mountsBelow(dir string) ([]string, error) {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			continue
		}
		at := unescape(fields[4])
		if at == real || strings.HasPrefix(at, real+"/") {
			out = append(out, at)
		}
	}
	slices.Sort(out)
	slices.Reverse(out)
	return out, nil
}

// unescape undoes the octal escapes of mountinfo (proc_pid_mountinfo(5)).
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace
