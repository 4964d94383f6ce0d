// Package netspace runs code, opens sockets and makes namespaces in Linux
// network namespaces that are bound to files.
//
// Its one type is [Space], an open network namespace. The package knows
// nothing of bridges, addresses, firewalls or enclaves, and imports neither
// netlink nor nftables, so that the gateway process stays small.
//
// A namespace belongs to a thread, not to a process (setns(2)). All code that
// enters one runs on a goroutine of its own, locked to its thread; a thread
// that can't be brought back is never used again: its goroutine ends locked,
// and the Go runtime then ends the thread.
package netspace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// selfNS is the network namespace of the calling thread.
const selfNS = "/proc/thread-self/ns/net"

// nsfsMagic is what statfs(2) gives for a file bound to a namespace
// (NSFS_MAGIC in linux/magic.h).
const nsfsMagic = 0x6e736673

// A Space is an open network namespace. It stays alive while it is open. Safe
// for concurrent use.
type Space struct{ file *os.File }

// Open opens the namespace bound to path. fs.ErrNotExist if nothing is bound
// there, be there a file or not.
func Open(path string) (*Space, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if !isNamespace(f) {
		f.Close()
		return nil, fmt.Errorf("no namespace is bound to %s: %w", path, fs.ErrNotExist)
	}
	return &Space{f}, nil
}

// Bound reports whether a namespace is bound to path.
func Bound(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == nsfsMagic
}

func isNamespace(f *os.File) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(int(f.Fd()), &st) == nil && st.Type == nsfsMagic
}

// Close lets go of the namespace.
func (s *Space) Close() error { return s.file.Close() }

// FD is the open file descriptor, for netlink messages that name a namespace.
// It is valid until Close.
func (s *Space) FD() int { return int(s.file.Fd()) }

// Do runs fn in the namespace, on a thread of its own, and gives fn's error.
// Sockets made by fn stay in the namespace; goroutines it starts do not run in
// it.
func (s *Space) Do(fn func() error) error {
	return onThread(func() error {
		if err := unix.Setns(s.FD(), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return fn()
	})
}

// Create makes a namespace, runs setup in it, and binds it to path once setup
// has succeeded: a bound namespace is a complete one. On an error nothing is
// bound; the namespace, and all links in it, go with it. path must not be
// bound yet.
func Create(path string, setup func() error) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		return err
	}
	f.Close()
	return onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make network namespace: %w", err)
		}
		if err := setup(); err != nil {
			return err
		}
		if err := unix.Mount(selfNS, path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind network namespace to %s: %w", path, err)
		}
		return nil
	})
}

// Scratch runs fn in a new namespace that nobody else sees and that goes when fn
// returns and has closed what it opened there.
func Scratch(fn func() error) error {
	return onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make network namespace: %w", err)
		}
		return fn()
	})
}

// Remove unbinds the namespace from path and deletes the file. It goes away
// once no process and no open Space holds it. Idempotent.
//
// Deleting the file also takes away copies of the mount in other mount
// namespaces, which unmounting does not where propagation is private.
func Remove(path string) error {
	for {
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err == nil {
			continue // bound more than once
		}
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			break
		}
		return fmt.Errorf("unbind network namespace %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// onThread runs fn on a locked thread and brings the thread back to the
// namespace it came from, or discards it.
func onThread(fn func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open(selfNS)
		if err != nil {
			runtime.UnlockOSThread()
			result <- err
			return
		}
		defer home.Close()
		err = fn()
		if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back == nil {
			runtime.UnlockOSThread()
		}
		result <- err
	}()
	return <-result
}
