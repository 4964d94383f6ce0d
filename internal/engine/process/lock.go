package process

// This file is the lock by which there is one engine per home directory, and by
// which clients learn who it is.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// pause lies between two looks at a lock that is held. Waiting for a lock in the
// kernel could not be cancelled.
const pause = 2 * time.Millisecond

// HeldError tells that another process holds the lock. PID is 0 where it has
// not said who it is.
type HeldError struct {
	Path string
	PID  int
}

// Error names the holder.
func (e *HeldError) Error() string {
	if e.PID == 0 {
		return e.Path + " is held by another process"
	}
	return fmt.Sprintf("%s is held by process %d", e.Path, e.PID)
}

// A Lock is an open-file-description lock that is held: the kernel lets go of it
// when its holder dies, however it dies, and others can ask about it without
// taking it. The holder writes its process id into the file.
type Lock struct{ file *os.File }

// TryLock takes the lock, or returns a *HeldError at once.
func TryLock(path string) (*Lock, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.FcntlFlock(file.Fd(), unix.F_OFD_SETLK, whole(unix.F_WRLCK)); err != nil {
		pid := readPID(file)
		file.Close()
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			return nil, &HeldError{Path: path, PID: pid}
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if err := writePID(file); err != nil {
		file.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return &Lock{file: file}, nil
}

// WaitLock takes the lock as soon as it is free. The error is context.Cause(ctx)
// joined with the last *HeldError when the context ends.
func WaitLock(ctx context.Context, path string) (*Lock, error) {
	for {
		lock, err := TryLock(path)
		var held *HeldError
		if err == nil || !errors.As(err, &held) {
			return lock, err
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(held, context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

// Release lets go of the lock. The file stays: removing it would let two
// processes lock two files of the same name.
func (l *Lock) Release() error {
	if err := l.file.Truncate(0); err != nil {
		l.file.Close()
		return err
	}
	return l.file.Close()
}

// Holder tells whether the lock is held, and by which process (0 where it has
// not said), without taking it. A file that is not there is not held.
func Holder(path string) (pid int, held bool, err error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	defer file.Close()
	query := whole(unix.F_WRLCK)
	if err := unix.FcntlFlock(file.Fd(), unix.F_OFD_GETLK, query); err != nil {
		return 0, false, fmt.Errorf("lock %s: %w", path, err)
	}
	if query.Type == unix.F_UNLCK {
		return 0, false, nil
	}
	return readPID(file), true, nil
}

// whole covers the file to its end, however long it becomes.
func whole(kind int16) *unix.Flock_t { return &unix.Flock_t{Type: kind} }

func writePID(file *os.File) error {
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err := file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

func readPID(file *os.File) int {
	buf := make([]byte, 32)
	n, _ := file.ReadAt(buf, 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(buf[:n])))
	if err != nil {
		return 0
	}
	return pid
}
