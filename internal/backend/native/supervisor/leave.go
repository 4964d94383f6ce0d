package supervisor

import (
	"log/slog"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
)

// This file is about a host that goes down. Its init sends SIGTERM to all
// processes and waits for them, systemd for 90 s: to a service, which ends as it
// likes, and to this process. If it ended at once, nobody would read what the
// service still prints, and the container's init waits for that.
//
// So it stays until the container has ended, and stores the output. It neither
// restarts the container nor records its end: that the container ran is what
// brings it back after the reboot (State.BootID). If it was no reboot, the next
// supervisor finds the end in the exit file. State.Left keeps the engine, which is
// asked to end at the same time, from bringing that one too early.

// leaving gives the channel that SIGTERM comes by. It is looked at when the
// container has ended, and package signal has delivered it before the SIGCHLD of
// that moment: it goes through signals by number.
func leaving() chan os.Signal {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGTERM)
	return signals
}

func (c *container) asked() bool {
	select {
	case <-c.leaving:
		return true
	default:
		return false
	}
}

// leave ends the work for a container whose process has ended.
func (c *container) leave() {
	if err := c.group.kill(); err != nil {
		slog.Error("end processes", "err", err)
	}
	c.output.drain()
	_ = c.update(func(s *supervise.State) { s.Left = true }) // it has logged its error
}
