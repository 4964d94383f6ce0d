package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/lepto-dev/lepto/internal/engine/process"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file looks after the engine's process from outside.

const (
	// askTimeout bounds the question whether an engine is well.
	askTimeout = 5 * time.Second
	// stopTimeout is longer than an engine's own bound on a graceful end.
	stopTimeout = 8 * time.Second
	killTimeout = 3 * time.Second
)

// LogPath is the engine's log file; the one before it has the suffix ".1".
func LogPath(home string) string { return process.LogPath(home) }

// Status tells about the engine's process.
type Status struct {
	Running bool   `json:"running"`       // a process holds the engine's lock
	PID     int    `json:"pid,omitempty"` // 0: unknown
	Answers bool   `json:"answers"`       // and it serves its socket
	Info    *Info  `json:"info,omitempty"`
	Error   string `json:"error,omitempty"` // why it does not answer
}

// EngineStatus looks for the engine of a home directory, starting nothing.
func EngineStatus(ctx context.Context, home string) (Status, error) {
	pid, held, err := process.Holder(process.LockPath(home))
	if errors.Is(err, os.ErrPermission) {
		pid, held, err = 0, false, nil // the socket may still be ours to use
	}
	if err != nil {
		return Status{}, fmt.Errorf("engine status: %w", err)
	}
	status := Status{Running: held, PID: pid}
	ctx, cancel := context.WithTimeoutCause(ctx, askTimeout, fault.ErrTimeout)
	defer cancel()
	c := dial(process.SocketPath(home))
	defer c.Close()
	info, err := c.Info(ctx)
	switch {
	case err == nil:
		status.Running, status.Answers, status.PID, status.Info = true, true, info.PID, &info
	case !isDown(err) || held:
		status.Error = explain(err, home).Error()
	}
	return status, nil
}

// StopEngine ends the engine and returns when it is gone, and whether there was
// one. Services go on running. One that does not end in time is killed, which
// harms no service either.
func StopEngine(ctx context.Context, home string) (stopped bool, err error) {
	pid, held, err := process.Holder(process.LockPath(home))
	if err != nil {
		return false, fault.New(process.CodeNotStopped, "engine's lock: %w", err)
	}
	if !held {
		return false, nil
	}
	askCtx, cancel := context.WithTimeoutCause(ctx, askTimeout, fault.ErrTimeout)
	defer cancel()
	c := dial(process.SocketPath(home))
	defer c.Close()
	if err := c.Shutdown(askCtx); err != nil && pid > 0 {
		_ = syscall.Kill(pid, syscall.SIGTERM)
	}
	if released(ctx, home, stopTimeout) {
		return true, nil
	}
	if err := context.Cause(ctx); err != nil {
		return false, err
	}
	// Whoever holds the lock now is to be killed, and nobody else.
	pid, held, err = process.Holder(process.LockPath(home))
	if err == nil && held && pid > 0 {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		held = !released(ctx, home, killTimeout)
	}
	if err != nil || held {
		return false, fault.New(process.CodeNotStopped, "engine (process %d) does not end: %w", pid, errors.Join(err, fault.ErrTimeout))
	}
	return true, nil
}

// released waits until nobody holds the engine's lock.
func released(ctx context.Context, home string, timeout time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, held, err := process.Holder(process.LockPath(home)); err == nil && !held {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}
