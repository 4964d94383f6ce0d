package artifact

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// This file orders content before names: a tree's name, and the state that
// tells of it, must not survive a power cut that its content does not. Writing
// out is started when a file is closed and waited for before the tree gets its
// name, so that the disk can order its work.

const (
	startWrite = unix.SYNC_FILE_RANGE_WRITE
	awaitWrite = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
)

func settle(f *os.File, how int) error {
	err := unix.SyncFileRange(int(f.Fd()), 0, 0, how)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ESPIPE) || errors.Is(err, unix.ENOTSUP) {
		return f.Sync() // not every file system has it
	}
	return err
}

// settle waits until the content of all files is on the disk.
func (w *writer) settle() error {
	for name, n := range w.nodes {
		if n.kind != 'f' || n.size == 0 {
			continue
		}
		if cause := context.Cause(w.ctx); cause != nil {
			return cause
		}
		f, err := w.root.Open(filepath.FromSlash(name))
		if err != nil {
			return err
		}
		if err := errors.Join(settle(f, awaitWrite), f.Close()); err != nil {
			return err
		}
	}
	return nil
}
