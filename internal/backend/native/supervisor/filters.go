package supervisor

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// This file keeps the system call filters that containers start with. One depends
// on the bounding set, the kernel, and lepto-create alone, and to compile it takes
// 40 ms of processor time. Measured in turns (BenchmarkStart, two busy cores): a
// start took 160 ms of it with the filter compiled each time, and takes 110.

// filterFor gives the filter for processes with the given bounding set, nil
// where the container is to have none.
func (c *container) filterFor(names []string, bounding uint64) ([]byte, error) {
	if c.spec.Privileged {
		return nil, nil
	}
	path, err := filterPath(c.programs.create, bounding)
	if err != nil {
		return nil, err
	}
	program, err := readFilter(path)
	if err == nil {
		return program, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		slog.Warn("compile the system call filter again", "err", err)
	}
	// Others that start now want the same one. Where the directory can't be
	// written to, each compiles for itself.
	if lock, err := lockFilters(filepath.Dir(path)); err == nil {
		defer lock.Close()
		if program, err := readFilter(path); err == nil {
			return program, nil
		}
	}
	if program, err = c.compile(names); err != nil {
		return nil, fmt.Errorf("compile the system call filter: %w", err)
	}
	if err := writeFilter(path, program); err != nil {
		slog.Warn("keep the system call filter", "err", err)
	}
	return program, nil
}

// filterPath is where a filter is kept: beside lepto-create, in a directory that
// only root may look into, under a name that tells all it depends on.
func filterPath(create string, bounding uint64) (string, error) {
	var program unix.Stat_t
	if err := unix.Stat(create, &program); err != nil {
		return "", &os.PathError{Op: "stat", Path: create, Err: err}
	}
	var host unix.Utsname
	if err := unix.Uname(&host); err != nil {
		return "", fmt.Errorf("uname: %w", err)
	}
	text := func(b []byte) string { return unix.ByteSliceToString(b) }
	key := sha256.Sum256(fmt.Appendf(nil, "%x %d %d %d %s %s %s", bounding, program.Size, program.Ino, program.Mtim.Nano(),
		text(host.Release[:]), text(host.Version[:]), text(host.Machine[:])))
	return filepath.Join(filepath.Dir(create), "filters", fmt.Sprintf("%x", key[:16])), nil
}

// lockPatience bounds the wait for another supervisor that compiles.
const lockPatience = 5 * time.Second

// lockFilters makes the directory, and keeps others from compiling meanwhile.
func lockFilters(dir string) (*os.File, error) {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	return claim(dir, lockPatience)
}

// readFilter reads a filter that writeFilter has written. One that others could
// have written, or that isn't whole, is none.
func readFilter(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, err
	}
	if st.Mode != unix.S_IFREG|0o600 || st.Uid != uint32(os.Getuid()) {
		return nil, fmt.Errorf("%s: mode %o, owner %d", path, st.Mode, st.Uid)
	}
	data, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return nil, err
	}
	if len(data) <= sha256.Size {
		return nil, fmt.Errorf("%s: %d bytes", path, len(data))
	}
	sum, program := data[:sha256.Size], data[sha256.Size:]
	if have := sha256.Sum256(program); !bytes.Equal(sum, have[:]) {
		return nil, fmt.Errorf("%s: damaged", path)
	}
	return program, nil
}

// writeFilter keeps a filter, in one step.
func writeFilter(path string, program []byte) error {
	sum := sha256.Sum256(program)
	tmp := fmt.Sprintf("%s.%d", path, os.Getpid())
	_ = os.Remove(tmp) // left by one with the same number, long ago
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp) }() // fails once it is renamed
	_, err = f.Write(append(sum[:], program...))
	err = errors.Join(err, f.Chmod(0o600), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// compile has lepto-create put itself under the filter, and reads it from there.
func (c *container) compile(names []string) ([]byte, error) {
	body, err := json.Marshal(names)
	if err != nil {
		return nil, err
	}
	in, err := memoryFile("capabilities", body)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	ready, readyW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer ready.Close()
	done, doneW, err := os.Pipe()
	if err != nil {
		readyW.Close()
		return nil, err
	}
	runtime.LockOSThread() // see children.start
	defer runtime.UnlockOSThread()
	pid, err := c.children.start(c.programs.create, []string{"lepto-create", "filter"}, in, readyW, os.Stderr, done)
	readyW.Close()
	done.Close()
	if err != nil {
		doneW.Close()
		return nil, err
	}
	defer c.children.wait(pid)
	defer doneW.Close()
	if _, err := io.ReadFull(ready, make([]byte, 1)); err != nil {
		return nil, errors.New("lepto-create could not make it")
	}
	program, err := c.children.filterOf(pid)
	if err == nil && len(program) == 0 {
		err = errors.New("lepto-create is under no filter")
	}
	return program, err
}
