package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file lets a supervisor look after one container that holds, and then after
// another. Between the two nothing is left of the first: its processes are dead, its
// cgroups gone, its namespaces with them, and its root is unmounted and deleted. What
// the second one has been spared is a start of this program, which is half the work of
// a start.

// vacantTime is how long a supervisor without a container waits for the next one.
const vacantTime = time.Minute

// turnover is what passes from one container to the next. Its channels are made once.
type turnover struct {
	fills chan filling
	quit  chan struct{} // closed when the supervisor is to go
	gone  chan struct{} // closed when no container follows
}

// filling is a container to make in place of one that was taken away.
type filling struct {
	spec supervise.Spec
	done chan error // holds one
}

func newTurnover() turnover {
	return turnover{fills: make(chan filling), quit: make(chan struct{}), gone: make(chan struct{})}
}

var errNoneFollows = fmt.Errorf("the supervisor goes: %w", fault.ErrUnavailable)

// empty ends the container and takes away what it leaves.
func (c *container) empty(ctx context.Context) error {
	done := make(chan error, 1)
	c.mu.Lock()
	if !c.spec.Hold || c.spec.RestartAlways || c.vacated != nil || c.state.Phase != supervise.PhaseRunning {
		c.mu.Unlock()
		return fmt.Errorf("take the container away: %w", fault.ErrNotRunning)
	}
	c.vacated = done
	c.mu.Unlock()
	if _, err := c.stop(ctx, -1); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-c.gone:
		return errNoneFollows
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// fill makes the next container.
func (c *container) fill(ctx context.Context) error {
	spec, err := supervise.ReadSpec(c.dir)
	if err != nil {
		return err
	}
	f := filling{spec: spec, done: make(chan error, 1)}
	select {
	case c.fills <- f:
	case <-c.gone:
		return errNoneFollows
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return <-f.done // bounded as any start
}

// goAway has the supervisor go once its container has ended.
func (c *container) goAway() {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.quit:
	default:
		close(c.quit)
	}
}

func (c *container) isVacated() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.vacated != nil
}

// vacant clears up after a container that was taken away and waits for the next. It
// reports whether there is one.
func (c *container) vacant() bool {
	c.mu.Lock()
	vacated := c.vacated
	c.mu.Unlock()
	if vacated == nil {
		return false
	}
	c.execs.Wait()
	err := c.clear()
	vacated <- err
	if err == nil && c.next() {
		return true
	}
	if err := c.group.remove(false); err != nil {
		slog.Error("remove cgroups", "err", err)
	}
	return false
}

// next waits for the next container, and makes it.
func (c *container) next() bool {
	idle := time.NewTimer(vacantTime)
	defer idle.Stop()
	select {
	case f := <-c.fills:
		err := c.take(f.spec)
		f.done <- err
		return err == nil
	case <-c.quit:
	case <-c.leaving:
	case <-idle.C:
	}
	return false
}

// take makes a container where there was one.
func (c *container) take(spec supervise.Spec) error {
	if spec.CgroupName != c.spec.CgroupName || !spec.Hold {
		return fmt.Errorf("container %q after %q: %w", spec.ID, c.spec.ID, fault.ErrInvalid)
	}
	spec.Dir = c.dir
	c.mu.Lock()
	c.spec, c.root, c.state = spec, rootfs{dir: c.dir, spec: spec}, supervise.State{}
	c.output, c.process, c.stubs, c.vacated = nil, nil, nil, nil
	c.ended, c.wake, c.stopping = make(chan struct{}), make(chan struct{}), false
	c.mu.Unlock()
	if err := c.start(); err != nil {
		c.failed(err)
		return err
	}
	return nil
}

// clear unmounts and deletes all that a container has in its folder. What stays is
// named, so that what is added to it one day goes as well.
func (c *container) clear() error {
	for _, at := range c.root.mounts() {
		// EINVAL: nothing is mounted there, for another supervisor has done that.
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return &os.PathError{Op: "unmount", Path: at, Err: err}
		}
	}
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if supervise.Stays(entry.Name()) || entry.Name() == filepath.Base(c.programs.sealedInit) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(c.dir, entry.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
