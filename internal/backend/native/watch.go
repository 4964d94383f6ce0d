package native

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/network"
	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
)

// This file notices when a process that looks after an enclave dies, and puts
// another in its place: nothing is lost meanwhile, but the longer it takes, the
// more a container may block on output that nobody reads.

// The pauses between attempts to replace a process that keeps dying.
const (
	minPause = 20 * time.Millisecond
	maxPause = 5 * time.Second
)

// leftPause is how long nobody takes over from a supervisor that was asked to end:
// the host goes down, most likely, and this process with it. Another would record
// that the service has ended, and it would not be started after a reboot.
const leftPause = 20 * time.Second

// watch looks after the supervisor of a service until its container has ended
// for good, or the handle is closed.
func (e *Enclave) watch(name backend.ServiceName, s *service) {
	e.work.Go(func() {
		for pause := minPause; ; pause = min(2*pause, maxPause) {
			if awaitSupervisor(e.life, s.dir) != nil {
				return
			}
			again, err := e.superviseAgain(name, s)
			if err != nil && e.life.Err() == nil {
				e.b.log.Error("no new supervisor", "enclave", e.id.Short(), "service", name, "err", err)
			}
			if !again || !sleep(e.life, pause) {
				return
			}
		}
	})
}

// superviseAgain has a new supervisor take over, in the service's turn: not
// while it is being removed. It reports whether there is something to watch.
func (e *Enclave) superviseAgain(name backend.ServiceName, s *service) (bool, error) {
	state, err := supervise.ReadState(s.dir)
	if err != nil || !state.Running() && state.Phase != supervise.PhaseStarting {
		return false, nil // it has ended, and that is on record
	}
	if state.Left && !sleep(e.life, leftPause) {
		return false, nil
	}
	ctx, done, err := e.enter(e.life, name, startBound, "take over")
	if err != nil {
		return false, err
	}
	defer done()
	if there, err := e.find(ctx, name); err != nil || there != s {
		return false, nil
	}
	if pid := supervisorOf(s.dir); pid != 0 {
		return true, nil // a call that needed one was faster
	}
	e.b.log.Warn("a supervisor has died, another takes over", "enclave", e.id.Short(), "service", name)
	_, err = e.b.launcher.Adopt(ctx, s.dir)
	return true, err
}

// awaitSupervisor returns nil when the supervisor of a folder has ended; at once
// if there is none.
func awaitSupervisor(ctx context.Context, dir string) error {
	pid := supervisorOf(dir)
	if pid == 0 {
		return context.Cause(ctx)
	}
	return awaitProcess(ctx, pid)
}

// supervisorOf gives the process id of a folder's supervisor; 0 if none lives.
func supervisorOf(dir string) int {
	state, err := supervise.ReadState(dir)
	if err != nil || state.SupervisorPID == 0 {
		return 0
	}
	// Process ids are used again; a supervisor has its folder as an argument.
	args, err := os.ReadFile("/proc/" + strconv.Itoa(state.SupervisorPID) + "/cmdline")
	if err != nil || !bytes.Contains(args, []byte("\x00"+dir+"\x00")) {
		return 0
	}
	return state.SupervisorPID
}

// watchGateway keeps a gateway process running while the handle is open.
func (e *Enclave) watchGateway() {
	var told string // the last error, told once
	for pause := minPause; ; {
		began := time.Now()
		err := e.board.refresh(e.life)
		if err == nil {
			err = awaitGateway(e.life, filepath.Join(e.dir, "net"))
		}
		if e.life.Err() != nil || e.doomed() {
			return
		}
		switch {
		case err == nil:
			told = ""
			e.b.log.Warn("the gateway process has died, another takes over", "enclave", e.id.Short())
		case err.Error() != told:
			told = err.Error()
			e.b.log.Error("no gateway process", "enclave", e.id.Short(), "err", err)
		}
		if time.Since(began) > maxPause {
			pause = minPause
		}
		if !sleep(e.life, pause) {
			return
		}
		pause = min(2*pause, maxPause)
	}
}

// doomed reports that the enclave is being destroyed, be it by another process.
func (e *Enclave) doomed() bool {
	var doc enclaveDoc
	return readJSON(filepath.Join(e.dir, enclaveFile), &doc) != nil || doc.Doomed
}

// awaitGateway returns nil when the gateway process of a folder has ended.
func awaitGateway(ctx context.Context, dir string) error {
	var self struct {
		PID   int    `json:"pid"`
		Start uint64 `json:"start"`
	}
	if err := readJSON(filepath.Join(dir, "status.json"), &self); err != nil {
		return err
	}
	start, zombie, err := supervise.StartTime(self.PID)
	if err == nil && !zombie && start == self.Start {
		return awaitProcess(ctx, self.PID)
	}
	return context.Cause(ctx) // it has ended
}

// awaitProcess returns nil when a process has ended, and the context's cause if
// that comes first. It occupies no thread meanwhile.
func awaitProcess(ctx context.Context, pid int) error {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return context.Cause(ctx)
	}
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Unix(1, 0)) })()
	var pollErr error
	err = raw.Read(func(fd uintptr) bool {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, 0)
		if errors.Is(err, unix.EINTR) {
			return false
		}
		pollErr = err
		return n > 0 || err != nil
	})
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return errors.Join(err, pollErr)
}

// sleep pauses; false if the context ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// watchFirewall keeps the enclaves' part of the host's firewall in place, until
// unwatch.
func (b *Backend) watchFirewall() {
	ctx, cancel := context.WithCancelCause(context.Background())
	var work sync.WaitGroup
	b.unwatch = func() {
		cancel(errors.New("the backend closes"))
		work.Wait()
	}
	work.Go(func() {
		if err := network.Watch(ctx, b.log, func() { b.mendFirewall(ctx) }); err != nil {
			b.log.Error("changes of the host's firewall go unnoticed", "err", err)
		}
	})
}

func (b *Backend) mendFirewall(ctx context.Context) {
	b.mu.Lock()
	open := slices.Collect(maps.Values(b.enclaves))
	b.mu.Unlock()
	for _, e := range open {
		n := e.network()
		if n == nil || e.doomed() {
			continue
		}
		if err := n.Mend(ctx); err != nil && ctx.Err() == nil {
			b.log.Error("the host's firewall is not mended", "enclave", e.id.Short(), "err", err)
		}
	}
}
