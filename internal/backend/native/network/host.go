package network

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend/native/network/netspace"
)

// This file holds the lock on the host's network.

// host is the host's network namespace, locked: whoever chooses free addresses
// or counts uplinks must be alone, also among engines of different homes.
//
// The lock is on the namespace itself (an nsfs file is one inode for all who
// open it), so it leaves no file behind and ends with its holder.
type host struct {
	ns     *os.File
	handle *netlink.Handle
}

// lockPatience bounds the wait for the lock. Holders need some milliseconds.
const lockPatience = 30 * time.Second

func lockHost(ctx context.Context) (*host, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, lockPatience, errors.New("the host's network stayed locked by another engine"))
	defer cancel()
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	if err := flock(ctx, ns); err != nil {
		ns.Close()
		return nil, fmt.Errorf("lock the host's network: %w", err)
	}
	handle, err := netlink.NewHandle(routeFamily)
	if err != nil {
		ns.Close()
		return nil, err
	}
	return &host{ns, handle}, nil
}

// flock locks a file, polling so that ctx can end it.
func flock(ctx context.Context, f *os.File) error {
	for wait := time.Millisecond; ; wait = min(2*wait, 20*time.Millisecond) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

func (h *host) unlock() {
	h.handle.Close()
	h.ns.Close()
}

// withTables runs fn with a connection to nftables in the namespace, the
// host's if space is nil.
func withTables(space *netspace.Space, fn func(*nftables.Conn) error) error {
	work := func() error {
		c, err := nftables.New(nftables.AsLasting())
		if err != nil {
			return fmt.Errorf("nftables: %w", err)
		}
		defer func() { _ = c.CloseLasting() }()
		return fn(c)
	}
	if space == nil {
		return work()
	}
	return space.Do(work)
}

// sysctl sets a parameter below /proc/sys/net in the calling thread's
// namespace, if it isn't so already. A parameter that this kernel does not
// have is no error.
func sysctl(name, value string) error {
	old, err := readSysctl(name)
	if err != nil || old == value {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	if err := os.WriteFile(filepath.Join("/proc/sys/net", name), []byte(value), 0); err != nil {
		return fmt.Errorf("set net/%s to %s: %w", name, value, err)
	}
	return nil
}

func readSysctl(name string) (string, error) {
	data, err := os.ReadFile(filepath.Join("/proc/sys/net", name))
	for len(data) > 0 && data[len(data)-1] == '\n' {
		data = data[:len(data)-1]
	}
	return string(data), err
}
