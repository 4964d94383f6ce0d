// Package companion is what the small processes beside an enclave have in
// common: the gateway process and the link relay.
//
// A companion works for one folder. All it is told lies in one file there, its
// table, which the engine replaces as a whole and then announces over a socket.
// It runs in a session of its own, outlives the engine, and ends by itself when
// the table is taken away. Killed and started again, it goes on with the table it
// finds. There is one process of a kind per folder: it holds a lock, and says who
// it is.
//
// The one type is [Kind]. The package knows nothing of what a table says.
// Companions are to stay small, so it uses neither net/http nor netlink.
package companion

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Kind is a sort of companion.
type Kind struct {
	Verb string // first argument of the process, before its folder
	Name string // for people: "gateway process"
	// Names of files in its folder.
	Table  string // written by the engine; while it is there, the process is wanted
	Socket string // the process listens here
	Log    string
}

// Names of files that all kinds have.
const (
	StatusFile = "status.json" // written by the process: who it is
	lockFile   = "lock"        // locked by the process while it lives
)

// Main prepares this process to be the companion of a folder and runs serve,
// whose context ends with SIGTERM or when the table is taken away; both are no
// error. A second process for the same folder ends at once with an error.
func (k Kind) Main(dir string, serve func(ctx context.Context, log *slog.Logger) error) error {
	unix.Umask(0o077)
	debug.SetGCPercent(50) // the heap is small: collecting often is cheap, memory is not
	lock, err := k.Lock(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(&boundedLog{file: os.Stderr, limit: maxLog}, nil))
	if err = serve(ctx, log); err != nil {
		log.Error(k.Name+" ends", "err", err)
	}
	return err
}

// Lock makes this process the one companion of its kind for a folder, and says so
// in its status file. The lock ends with the process.
func (k Kind) Lock(dir string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("another %s serves %s: %w", k.Name, dir, err)
	}
	self, err := Identify(os.Getpid())
	if err == nil {
		err = WriteJSON(filepath.Join(dir, StatusFile), self)
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	return lock, nil
}

// WriteJSON replaces a file in one step, so that a reader, or a process started
// after a crash, sees the old content or the new.
func WriteJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// ReadJSON reads what WriteJSON wrote.
func ReadJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// Pause waits; false if ctx ended first.
func Pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
