package companion

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file starts companions.

// startPatience bounds the start of a process, up to its first answer.
const startPatience = 10 * time.Second

// Launch starts a process for dir, which must hold a table, as `program VERB
// DIR`: in a session of its own, so that it outlives this one. It asks for a
// first answer until that gives another error than fault.ErrNotRunning, or none.
func (k Kind) Launch(ctx context.Context, program, dir string, first func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startPatience, fmt.Errorf("start of the %s: %w", k.Name, fault.ErrTimeout))
	defer cancel()
	log, err := k.openLog(dir)
	if err != nil {
		return err
	}
	defer log.Close()
	from, _ := log.Seek(0, io.SeekEnd)
	if err := awaitUnlocked(ctx, dir); err != nil {
		return err
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), program, k.Verb, dir) // it outlives the call
	cmd.Dir = "/"
	// No huge pages: a heap of some hundred kB would fill the most of one.
	cmd.Env = append(os.Environ(), "GODEBUG=disablethp=1")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the %s: %w", k.Name, err)
	}
	// The process outlives every caller, so nobody can wait for this goroutine:
	// it ends with the process, and spares us a zombie.
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()

	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err := first(ctx)
		if !errors.Is(err, fault.ErrNotRunning) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-ended:
			return k.earlyEnd(dir, from, err)
		case <-time.After(wait):
		}
	}
}

// lockPatience bounds the wait for a predecessor that was killed to be gone.
const lockPatience = 2 * time.Second

// awaitUnlocked waits until no process has dir's lock: one that was killed may
// answer no more and still hold it, and a successor would end at once. After the
// patience the successor may say so itself.
func awaitUnlocked(ctx context.Context, dir string) error {
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close() // and the lock with it
	patience := time.NewTimer(lockPatience)
	defer patience.Stop()
	for {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil || !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-patience.C:
			return nil
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// earlyEnd tells of a process that ended before it answered, in its own words.
func (k Kind) earlyEnd(dir string, from int64, err error) error {
	data, _ := os.ReadFile(filepath.Join(dir, k.Log))
	data = data[min(from, int64(len(data))):]
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	const kept = 20
	lines = lines[max(0, len(lines)-kept):]
	if err == nil {
		err = errors.New("exit status 0")
	}
	return fault.New("E0424", "the enclave's %s ended at its start: %w", k.Name, err).
		WithEvidence("last lines of "+k.Log, lines...)
}

// openLog opens the process's log to append to, emptied if it has grown large:
// what the Go runtime writes on its way down goes there too.
func (k Kind) openLog(dir string) (*os.File, error) {
	log, err := os.OpenFile(filepath.Join(dir, k.Log), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if st, err := log.Stat(); err == nil && st.Size() > maxLog {
		err = log.Truncate(0)
		if err != nil {
			log.Close()
			return nil, err
		}
	}
	return log, nil
}
