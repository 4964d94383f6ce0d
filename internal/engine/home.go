package engine

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/lepto-dev/lepto/internal/engine/process"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file prepares the home directory and makes this engine the only one there.

// folders are made closed to others, since layers of images hold set-uid
// programs and home itself may be open to the owner's group.
var folders = []string{"artifacts", "git", "images", "native", "packages", "tmp"}

// owner is who may call the engine besides root: whoever started it, behind
// sudo the user who ran sudo.
type owner struct {
	uid, gid int
	sudo     bool
}

func findOwner() owner {
	me := owner{uid: os.Geteuid(), gid: os.Getegid()}
	if me.uid != 0 {
		return me
	}
	uid, err := strconv.Atoi(os.Getenv("SUDO_UID"))
	if err != nil || uid <= 0 {
		return me
	}
	gid, err := strconv.Atoi(os.Getenv("SUDO_GID"))
	if err != nil || gid < 0 {
		return me
	}
	return owner{uid: uid, gid: gid, sudo: true}
}

// prepareHome makes the directory. It is closed to others; behind sudo, the
// owner's group may pass through to the socket, but look at nothing.
func prepareHome(home string, who owner) error {
	mode := os.FileMode(0o700)
	if who.sudo {
		mode = 0o710
	}
	err := os.MkdirAll(home, mode)
	if err == nil && who.sudo {
		err = os.Chown(home, 0, who.gid)
	}
	if err == nil {
		err = os.Chmod(home, mode)
	}
	for _, name := range folders {
		if err == nil {
			err = os.MkdirAll(filepath.Join(home, name), 0o700)
		}
	}
	if err == nil {
		err = emptyFolder(filepath.Join(home, "tmp"))
	}
	if err == nil {
		return nil
	}
	f := fault.New(process.CodeNoAccess, "engine's home: %w", err)
	if errors.Is(err, os.ErrPermission) {
		return f.WithHint("run it as the directory's owner (sudo), or set LEPTO_HOME to a directory of your own")
	}
	return f
}

// emptyFolder removes what an engine before this one was receiving when it ended.
func emptyFolder(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, entry := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, entry.Name())))
	}
	return err
}

// lockPatience is how long an engine waits for one that is on its way out.
const lockPatience = stopBound + 2*time.Second

// lockHome takes the engine's lock. A holder that answers is an engine at work,
// which is a fault at once; one that does not is ending, or only just starting.
func lockHome(ctx context.Context, home string) (*process.Lock, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, lockPatience, fault.ErrTimeout)
	defer cancel()
	for {
		lock, err := process.TryLock(process.LockPath(home))
		held, ok := errors.AsType[*process.HeldError](err)
		switch {
		case err == nil:
			return lock, nil
		case !ok:
			return nil, fault.New(process.CodeNoAccess, "engine's lock: %w", err)
		case answers(ctx, home):
			return nil, process.Held(home, held)
		}
		select {
		case <-ctx.Done():
			return nil, process.Held(home, held)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// answers reports whether somebody accepts connections on the socket.
func answers(ctx context.Context, home string) bool {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", process.SocketPath(home))
	if err != nil {
		return false
	}
	conn.Close()
	return true
}
