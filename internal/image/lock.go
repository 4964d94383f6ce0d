package image

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// This file holds the locks between processes. They are flock(2) locks of open
// files, so that the kernel drops them with the process, however it ends; and
// each is taken with a file of its own, so that they work between goroutines.

// lockPause is the pause between tries for a lock. Locks are held for
// milliseconds, so that polling, which can be cancelled, costs nothing.
const lockPause = 5 * time.Millisecond

// flock takes a lock on path, waiting until ctx ends.
func flock(ctx context.Context, path string, how int) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if err == nil {
			return sync.OnceFunc(func() { f.Close() }), nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, &os.PathError{Op: "flock", Path: path, Err: err}
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, context.Cause(ctx)
		case <-time.After(lockPause):
		}
	}
}

// lock serialises changes of names, and the making and sweeping of work folders.
func (s *Store) lock(ctx context.Context) (unlock func(), err error) {
	return flock(ctx, filepath.Join(s.dir, "lock"), unix.LOCK_EX)
}

// Hold keeps unused layers from being collected until release, which must be
// called. Whoever adds layers and then names them holds the store meanwhile;
// Ensure and Load do so by themselves.
func (s *Store) Hold(ctx context.Context) (release func(), err error) {
	unlock, err := flock(ctx, filepath.Join(s.dir, "gc.lock"), unix.LOCK_SH)
	if err != nil {
		return nil, storeFault("lock image store", err)
	}
	return sync.OnceFunc(func() {
		unlock()
		s.collectIfWanted()
	}), nil
}

// workDir makes a folder for work in progress. release removes what is left of
// it; the folder is safe from sweeping until then, or until this process ends.
func (s *Store) workDir(ctx context.Context) (dir string, release func(), err error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return "", nil, err
	}
	defer unlock()
	dir, err = os.MkdirTemp(filepath.Join(s.dir, "tmp"), "work-")
	if err != nil {
		return "", nil, err
	}
	d, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		d.Close()
		return "", nil, err
	}
	return dir, sync.OnceFunc(func() {
		if err := os.RemoveAll(dir); err != nil {
			s.log.Warn("image store: work folder stays", "dir", dir, "error", err)
		}
		d.Close()
	}), nil
}

// sweep removes what dead processes left in tmp.
func (s *Store) sweep() error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), time.Minute,
		errors.New("another process keeps the image store locked"))
	defer cancel()
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	tmp := filepath.Join(s.dir, "tmp")
	entries, err := os.ReadDir(tmp)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := sweepOne(filepath.Join(tmp, e.Name())); err != nil {
			s.log.Warn("image store: leftover stays", "name", e.Name(), "error", err)
		}
	}
	return nil
}

// fileGrace is the age from which a loose file in tmp is a leftover: its writer
// renames it within milliseconds, and holds no lock on it.
const fileGrace = time.Minute

// sweepOne removes an entry of tmp unless its owner lives.
func sweepOne(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		if time.Since(info.ModTime()) < fileGrace {
			return nil
		}
		return os.Remove(path)
	}
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil // its owner lives
	}
	return os.RemoveAll(path)
}
