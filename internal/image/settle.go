package image

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// This file orders content before names. A layer need not survive a power cut:
// it can be had again. But where its name survives, so must its content. Once the
// content's blocks are written, which sync_file_range(2) waits for, the journal of
// the file system keeps the order: the rename comes after. fsync for each file
// would take seconds for a layer with thousands, and syncfs waits for whatever
// other programs write.

const (
	startWrite = unix.SYNC_FILE_RANGE_WRITE
	awaitWrite = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
)

// settle starts writing a file's content to the disk, or waits until it is there.
func settle(f *os.File, how int) error {
	err := unix.SyncFileRange(int(f.Fd()), 0, 0, how)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ESPIPE) || errors.Is(err, unix.ENOTSUP) {
		return f.Sync() // not every file system has it
	}
	return err
}

// settleTree waits until the content of all files below dir is on the disk. It
// starts all of them first, so that the disk can order its work.
func settleTree(ctx context.Context, dir string) error {
	for _, how := range []int{startWrite, awaitWrite} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
			if err != nil {
				return err
			}
			return errors.Join(settle(f, how), f.Close())
		})
		if err != nil {
			return err
		}
	}
	return nil
}
