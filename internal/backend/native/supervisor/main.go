package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/fault"
)

// Main runs the program with its arguments (without its name) and gives its
// exit code.
func Main(args []string) int {
	// One container's bookkeeping needs no parallelism, and each further
	// processor costs caches. Nothing is collected before the container runs:
	// trim does it all at once.
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(-1)
	if len(args) < 2 {
		fmt.Fprintln(os.Stderr, "lepto-supervisor: for lepto's own use")
		return 2
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		fmt.Fprintln(os.Stderr, "lepto-supervisor: make mounts private:", err)
		return 1
	}
	dir, err := filepath.EvalSymlinks(args[1])
	if err != nil {
		return report(err)
	}
	switch {
	case args[0] == "run":
		return runMode(dir, args[2:])
	case args[0] == "adopt":
		return adoptMode(dir, args[2:])
	}
	debug.SetGCPercent(50)
	switch {
	case args[0] == "reap":
		return report(reap(dir))
	case args[0] == "files" && len(args) == 3:
		return files(dir, args[2])
	case args[0] == "copy-in" && len(args) == 3:
		return report(copyIn(dir, args[2]))
	}
	fmt.Fprintf(os.Stderr, "lepto-supervisor: unknown mode %q\n", args[0])
	return 2
}

// report tells the caller how a one-off mode went, on descriptor 3.
func report(err error) int {
	f := os.NewFile(supervise.ReadyFD, "ready")
	defer f.Close()
	json.NewEncoder(f).Encode(supervise.Ready{Error: supervise.Fail(err)})
	if err != nil {
		return 1
	}
	return 0
}

// errBusy: another supervisor is in charge of the folder.
var errBusy = errors.New("another supervisor is in charge")

// claim takes the folder's lock and holds it until the process ends. A
// supervisor that has recorded the end of its container is given time to go.
func claim(dir string, patience time.Duration) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", dir, err)
		}
		if time.Now().After(deadline) {
			f.Close()
			return nil, errBusy
		}
	}
}

// runMode makes the container and stays with it.
func runMode(dir string, rest []string) int {
	ready := os.NewFile(supervise.ReadyFD, "ready")
	lock, err := claim(dir, 20*time.Second)
	if err != nil {
		return refuse(ready, fmt.Errorf("container in %s: %w: %w", filepath.Base(dir), fault.ErrExists, err))
	}
	defer runtime.KeepAlive(lock) // held until the very end of the process
	spec, err := supervise.ReadSpec(dir)
	if err != nil {
		return refuse(ready, err)
	}
	spec.Dir = dir
	c, err := newContainer(spec, supervise.State{}, rest)
	if err != nil {
		return refuse(ready, err)
	}
	if err := c.start(); err != nil {
		c.failed(err)
		return refuse(ready, err)
	}
	return c.stay(ready)
}

// refuse reports an error that ends the supervisor.
func refuse(ready *os.File, err error) int {
	defer ready.Close()
	json.NewEncoder(ready).Encode(supervise.Ready{
		Error: supervise.Fail(err),
		Busy:  errors.Is(err, errBusy),
	})
	return 1
}

// stay serves the container until it has ended for good.
func (c *container) stay(ready *os.File) int {
	server, err := listen(c)
	if err != nil {
		c.failed(err)
		return refuse(ready, err)
	}
	state := c.current()
	json.NewEncoder(ready).Encode(supervise.Ready{State: &state})
	ready.Close()
	if c.spec.Hold {
		// What it is for comes at once, and soon it ends.
		debug.SetGCPercent(100)
		trimLater()
	} else {
		// From now on the heap is kept near what is live.
		debug.SetGCPercent(25)
		trim()
	}
	c.live()
	server.close()
	slog.Debug("done")
	return 0
}
