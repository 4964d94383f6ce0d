package relay

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/link"
)

const (
	// burst bounds how many packets are read before those that wait are looked at.
	burst = 64
	// spin is how long before a packet is due the thread stops sleeping: a sleeper
	// wakes up to that much late. In nanoseconds.
	spin = 60_000
)

// loop moves the packets. All but rules, end and rounds is for its one thread.
type loop struct {
	fd     int
	rules  atomic.Pointer[rules]
	wake   int // eventfd: whoever sleeps is to go round
	end    atomic.Bool
	rounds atomic.Uint64

	arena   *arena
	wheel   *wheel
	buf     []byte // what is read
	piece   []byte // a segment of it
	spoiled []byte // a copy with an error
	parts   [][]byte
	flush   func(packet)
}

func newLoop(fd int) (*loop, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	l := &loop{fd: fd, wake: wake, buf: make([]byte, maxFrame), piece: make([]byte, 0, maxFrame), spoiled: make([]byte, 0, maxFrame)}
	l.rules.Store(makeRules(Table{}, nil))
	l.wheel = newWheel(clock())
	l.parts = make([][]byte, 0, maxFrame/blockSize+1)
	l.flush = l.deliver
	l.arena, err = newArena()
	return l, err
}

var began = time.Now()

// clock is the time since this program began, in nanoseconds. It takes no system call.
func clock() int64 { return int64(time.Since(began)) }

// stop makes run return.
func (l *loop) stop() {
	l.end.Store(true)
	l.rouse()
}

// rouse ends the thread's sleep.
func (l *loop) rouse() {
	_, _ = unix.Write(l.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // full only if it is awake anyway
}

// moves waits until the thread has begun another round; false if it does not within
// the time.
func (l *loop) moves(within time.Duration) bool {
	before, deadline := l.rounds.Load(), time.Now().Add(within)
	for l.rouse(); l.rounds.Load() == before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// run moves packets until stop.
func (l *loop) run() error {
	runtime.LockOSThread() // never unlocked: the thread ends with its priority
	urge()
	for !l.end.Load() {
		l.rounds.Add(1)
		l.wheel.advance(clock(), l.flush)
		more, err := l.readBurst()
		if err != nil {
			return err
		}
		if more {
			continue
		}
		if err := l.sleep(); err != nil {
			return err
		}
	}
	return nil
}

// urge asks the scheduler to run this thread when it wakes, and timers to be on
// time. It is for accuracy; what the system refuses, packets are later for.
func urge() {
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	attr := unix.SchedAttr{Policy: unix.SCHED_RR, Priority: 1}
	attr.Size = unix.SizeofSchedAttr
	if unix.SchedSetAttr(0, &attr, 0) != nil {
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, -20)
	}
}

// readBurst takes what has come; more tells that there may be more.
func (l *loop) readBurst() (more bool, err error) {
	current := l.rules.Load()
	for range burst {
		n, err := unix.Read(l.fd, l.buf)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return false, nil
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EIO), errors.Is(err, unix.EBADFD):
			return false, nil // the device is down for a moment: it is being set up
		case err != nil:
			return false, fmt.Errorf("read from %s: %w", Device, err)
		}
		// Not the time at which the burst began: where this thread was interrupted since,
		// packets came a millisecond later than that, and would leave as much too early.
		l.take(current, clock(), l.buf[:n])
	}
	return true, nil
}

// take decides on what was read.
func (l *loop) take(current *rules, now int64, f frame) {
	from, to, ok := f.route()
	switch {
	case !ok:
	case f.toSeveral():
		l.spread(current, now, from, f)
	default:
		l.pass(current.between(from, to), now, f)
	}
}

// spread gives everybody a packet of their own of one that is to several, each by
// the rule for the two; who does not want it drops it. Whoever has no rules sends
// none here.
func (l *loop) spread(current *rules, now int64, from uint32, f frame) {
	sender := current.by[from]
	if sender == nil || !sender.affected() {
		return
	}
	for _, to := range current.stations {
		if to != sender && len(to.hardware) == 6 {
			copy(f[vnetLen:], to.hardware)
			l.pass(current.between(from, to.address), now, f)
		}
	}
}

// pass does what a rule says. Without one, which ended while the packet was on its
// way here, it goes on at once.
func (l *loop) pass(r *rule, now int64, f frame) {
	switch {
	case r == nil:
		l.write(f)
	case r.perPacket && f.gsoType() != gsoNone:
		f.segment(l.piece, func(s frame) { l.send(r, now, s) })
	default:
		l.send(r, now, f)
	}
}

// send does with a packet what its rule says.
func (l *loop) send(r *rule, now int64, f frame) {
	v := r.decide(now, f.wireSize())
	if v.Drop {
		return
	}
	if v.Corrupt {
		f = append(l.spoiled[:0], f...)
		f.spoil(r.line.fate.Bits())
	}
	l.hold(r, v, f)
	if v.Duplicate {
		l.hold(r, v, f)
	}
}

// hold keeps a packet until its time.
func (l *loop) hold(r *rule, v link.Verdict, f frame) {
	if !v.Delayed {
		l.write(f)
		return
	}
	first, ok := l.arena.put(f)
	if ok && !l.wheel.add(v.At, first, len(f)) {
		l.arena.release(first)
		ok = false
	}
	if !ok {
		r.line.dropped.Add(1)
	}
}

// write passes a packet on. What the kernel refuses is lost, as on any wire.
func (l *loop) write(f frame) {
	_, _ = unix.Write(l.fd, f)
}

// deliver passes on a packet that has waited.
func (l *loop) deliver(p packet) {
	parts := l.arena.vector(l.parts[:0], p.first, int(p.size))
	if len(parts) == 1 {
		l.write(parts[0])
	} else {
		_, _ = unix.Writev(l.fd, parts)
	}
	l.arena.release(p.first)
}

// sleep waits for a packet to come or be due. It does not sleep just before.
func (l *loop) sleep() error {
	var timeout *unix.Timespec
	if at, ok := l.wheel.next(); ok {
		left := at - clock() - spin
		if left <= 0 {
			return nil
		}
		t := unix.NsecToTimespec(left)
		timeout = &t
	}
	fds := []unix.PollFd{{Fd: int32(l.fd), Events: unix.POLLIN}, {Fd: int32(l.wake), Events: unix.POLLIN}}
	_, err := unix.Ppoll(fds, timeout, nil)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return os.NewSyscallError("ppoll", err)
	}
	if fds[1].Revents != 0 {
		_, _ = unix.Read(l.wake, make([]byte, 8)) // heard
	}
	if fds[0].Revents&^unix.POLLIN != 0 && fds[0].Revents&unix.POLLIN == 0 {
		time.Sleep(time.Millisecond) // the device is not up yet: POLLERR at once
	}
	return nil
}
