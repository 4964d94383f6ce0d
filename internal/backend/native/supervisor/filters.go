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

	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file keeps the system call filters that containers start with. One depends
// on the bounding set, the kernel, and lepto-filter alone, and to compile it takes
// 40 ms of processor time, as long as all the rest of a start.

// filterFor gives the filter for processes with the given capabilities, by name
// and as their bounding set; nil where the container is to have none.
func (c *container) filterFor(names []string, bounding uint64) ([]byte, error) {
	if c.spec.Privileged {
		return nil, nil
	}
	path, err := filterPath(c.programs.filter, bounding)
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
		return nil, fault.New(supervise.CodeRuntime, "compile the system call filter: %w", err)
	}
	if err := writeFilter(path, program); err != nil {
		slog.Warn("keep the system call filter", "err", err)
	}
	return program, nil
}

// filterPath is where a filter is kept: beside lepto-filter, in a directory that
// only root may look into, under a name that tells all it depends on.
func filterPath(compiler string, bounding uint64) (string, error) {
	var program unix.Stat_t
	if err := unix.Stat(compiler, &program); err != nil {
		return "", &os.PathError{Op: "stat", Path: compiler, Err: err}
	}
	var host unix.Utsname
	if err := unix.Uname(&host); err != nil {
		return "", fmt.Errorf("uname: %w", err)
	}
	text := func(b []byte) string { return unix.ByteSliceToString(b) }
	key := sha256.Sum256(fmt.Appendf(nil, "%x %d %d %d %s %s %s", bounding, program.Size, program.Ino, program.Mtim.Nano(),
		text(host.Release[:]), text(host.Version[:]), text(host.Machine[:])))
	return filepath.Join(filepath.Dir(compiler), "filters", fmt.Sprintf("%x", key[:16])), nil
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

// compile has lepto-filter write the filter.
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
	out, err := memoryFile("filter", nil)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	runtime.LockOSThread() // see children.start
	defer runtime.UnlockOSThread()
	pid, err := c.children.start(c.programs.filter, []string{"lepto-filter"}, 0, in, out, os.Stderr)
	if err != nil {
		return nil, err
	}
	if status := c.children.wait(pid); !status.Exited() || status.ExitStatus() != 0 {
		return nil, fmt.Errorf("lepto-filter ended with code %d", exitStatus(status).Code)
	}
	if _, err := out.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	program, err := io.ReadAll(out)
	if err == nil && (len(program) == 0 || len(program)%unix.SizeofSockFilter != 0) {
		err = fmt.Errorf("lepto-filter wrote %d bytes", len(program))
	}
	return program, err
}
