package shape

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend/native/companion"
	"github.com/lepto-dev/lepto/internal/backend/native/network/netspace"
	"github.com/lepto-dev/lepto/internal/backend/native/relay"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file has the relay run, and its device stand ready.

// relayQueue bounds the packets that wait for the relay to read them.
const relayQueue = 4096

// ensureRelay sees to it that the relay works by the table in place, and gives the
// index of its device. reload is false where the table has not changed.
func (s *Shaper) ensureRelay(ctx context.Context, k *kernel, reload bool) (int, error) {
	if err := s.runRelay(ctx, reload); err != nil {
		return 0, err
	}
	device, err := k.handle.LinkByName(relay.Device)
	if err != nil {
		return 0, fmt.Errorf("device of the link relay: %w", err)
	}
	bridge, err := k.handle.LinkByName(s.cfg.Bridge)
	if err != nil {
		return 0, fmt.Errorf("bridge: %w", err)
	}
	attrs := device.Attrs()
	if attrs.MasterIndex == bridge.Attrs().Index && attrs.Flags&unix.IFF_UP != 0 {
		return attrs.Index, nil
	}
	for _, step := range []func() error{
		func() error { return k.handle.LinkSetMTU(device, bridge.Attrs().MTU) },
		func() error { return k.handle.LinkSetTxQLen(device, relayQueue) },
		func() error { return k.handle.LinkSetMaster(device, bridge) },
		// Whoever speaks through it sits behind another port; floods reach all without
		// it.
		func() error { return k.handle.LinkSetLearning(device, false) },
		func() error { return k.handle.LinkSetFlood(device, false) },
		func() error { return k.setPort(attrs.Index, nl.IFLA_BRPORT_MCAST_FLOOD, false) },
		func() error { return k.setPort(attrs.Index, nl.IFLA_BRPORT_BCAST_FLOOD, false) },
		func() error { return k.handle.LinkSetUp(device) },
	} {
		if err := step(); err != nil {
			return 0, fmt.Errorf("device of the link relay: %w", err)
		}
	}
	return attrs.Index, nil
}

// runRelay has a relay for this namespace run: one that is left from before the
// namespace was made anew, after a reboot, works nowhere.
func (s *Shaper) runRelay(ctx context.Context, reload bool) error {
	here, err := inode(s.cfg.NetNS)
	if err != nil {
		return err
	}
	mark := filepath.Join(s.cfg.Dir, "netns.json")
	var before uint64
	if companion.ReadJSON(mark, &before) == nil && before == here {
		err := error(nil)
		if reload {
			err = relay.Reload(ctx, s.cfg.Dir)
		} else if !relayRuns(s.cfg.Dir) {
			err = fault.ErrNotRunning
		}
		if !errors.Is(err, fault.ErrNotRunning) {
			return err
		}
	}
	if before != 0 && before != here {
		table := *s.current()
		if err := relay.Stop(ctx, s.cfg.Dir); err != nil {
			return err
		}
		if err := relay.WriteTable(s.cfg.Dir, table); err != nil {
			return err
		}
	}
	if err := companion.WriteJSON(mark, here); err != nil {
		return err
	}
	return relay.Launch(ctx, s.cfg.Program, s.cfg.Dir)
}

// inode identifies a namespace while it lives.
func inode(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, os.NewSyscallError("stat "+path, err)
	}
	if !netspace.Bound(path) {
		return 0, fmt.Errorf("no namespace is bound to %s", path)
	}
	return st.Ino, nil
}

// relayRuns reports whether the relay of a folder lives.
func relayRuns(dir string) bool {
	var id companion.Identity
	if companion.ReadJSON(filepath.Join(dir, companion.StatusFile), &id) != nil {
		return false
	}
	now, err := companion.Identify(id.PID)
	return err == nil && now == id
}

// Watch waits for the end of the relay and starts another one; one that gives no
// sign of life it ends. It is for a Shaper that is active and uses the relay, and is
// to be called again when it returns.
func (s *Shaper) Watch(ctx context.Context, await func(ctx context.Context, pid int) error) error {
	var id companion.Identity
	if err := companion.ReadJSON(filepath.Join(s.cfg.Dir, companion.StatusFile), &id); err == nil && relayRuns(s.cfg.Dir) {
		if err := s.awaitEnd(ctx, id, await); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.cfg.Logger.Warn("the link relay has ended, another takes over", "dir", s.cfg.Dir)
	return s.revive(ctx)
}

// awaitEnd waits for the end of a relay, and hastens it where that is due.
func (s *Shaper) awaitEnd(ctx context.Context, id companion.Identity, await func(ctx context.Context, pid int) error) error {
	watched, stop := context.WithCancelCause(ctx)
	var work sync.WaitGroup
	defer work.Wait()
	defer stop(errEnded)
	work.Go(func() { s.endHung(watched, id) })
	return await(ctx, id.PID)
}

const (
	// signEvery is how often the relay is asked for a sign of life.
	signEvery = time.Second
	// signsMissed is after how many questions without an answer it is ended.
	signsMissed = 2
)

// errEnded is why a relay is no longer asked for signs of life.
var errEnded = errors.New("the link relay has ended")

// endHung kills the relay when it hangs, so that its end is noticed. What waited in
// it is lost, as it would be in any case.
func (s *Shaper) endHung(ctx context.Context, id companion.Identity) {
	for missed := 0; missed > 0 || companion.Pause(ctx, signEvery); {
		if err := relay.Sign(ctx, s.cfg.Dir); !errors.Is(err, fault.ErrTimeout) {
			missed = 0
			continue
		}
		if missed++; missed < signsMissed {
			continue
		}
		missed = 0
		s.cfg.Logger.Error("the link relay hangs, and is ended", "dir", s.cfg.Dir, "pid", id.PID)
		if err := id.Kill(); err != nil {
			s.cfg.Logger.Error("the link relay can't be ended", "pid", id.PID, "err", err)
		}
	}
}

// revive starts the relay again. Rules and redirections are where they were.
func (s *Shaper) revive(ctx context.Context) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	k, err := s.openKernel()
	if err != nil {
		return err
	}
	defer k.close()
	_, err = s.ensureRelay(ctx, k, true)
	return err
}
