package enclave

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/link"
)

// This file lets faults happen to an enclave on a schedule: in the background,
// whatever else goes on, and over restarts of the engine.

// FaultSchedule is faults and their times. Durable as JSON.
type FaultSchedule struct {
	ID     string           `json:"id"`
	Began  time.Time        `json:"began"`
	Seed   uint64           `json:"seed"`
	Faults []ScheduledFault `json:"faults"` // in order of time
}

// ScheduledFault is one fault of a schedule.
type ScheduledFault struct {
	link.Fault
	At      time.Time `json:"at"`
	Applied time.Time `json:"applied,omitzero"` // when it was, well or not
	Error   string    `json:"error,omitempty"`  // why it could not be
	// Cancelled: it was called off before its time.
	Cancelled bool `json:"cancelled,omitempty"`
}

// Pending reports whether it is still to come.
func (f ScheduledFault) Pending() bool { return f.Applied.IsZero() && !f.Cancelled }

// keptSchedules bounds the schedules that are over and still told of.
const keptSchedules = 20

// ScheduleFaults begins a schedule, and returns at once. What the seed decides is
// decided here; 0 stands for the seed of the enclave's links.
func (e *Enclave) ScheduleFaults(ctx context.Context, faults []link.Fault, seed uint64) (FaultSchedule, error) {
	if err := e.Usable(ctx); err != nil {
		return FaultSchedule{}, err
	}
	if seed == 0 {
		seed = e.topology().Seed
	}
	s := FaultSchedule{ID: e.m.deps.NewID(), Began: e.m.deps.Now().UTC(), Seed: seed}
	for i, f := range faults {
		if err := f.Validate(); err != nil {
			return FaultSchedule{}, fault.New("E0382", "fault %d: %w", i+1, err)
		}
	}
	for _, f := range link.Resolve(faults, seed) {
		s.Faults = append(s.Faults, ScheduledFault{Fault: f, At: s.Began.Add(f.After)})
	}
	if err := e.m.store.putSchedule(e.uuid, "faults scheduled", s); err != nil {
		return s, fmt.Errorf("enclave %q: %w", e.Name(), err)
	}
	e.follow(s)
	return s, nil
}

// follow applies the pending faults of a schedule as their times come.
func (e *Enclave) follow(s FaultSchedule) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.life.Err() != nil {
		return
	}
	ctx, cancel := context.WithCancelCause(e.life)
	if e.schedules == nil {
		e.schedules = map[string]schedule{}
	}
	over := make(chan struct{})
	e.schedules[s.ID] = schedule{cancel, over}
	e.faulting.Go(func() {
		defer close(over)
		defer cancel(nil)
		e.runSchedule(ctx, s)
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.schedules, s.ID)
	})
}

// schedule is one that goes on.
type schedule struct {
	end  context.CancelCauseFunc
	over chan struct{} // closed when nothing more comes of it, and that is recorded
}

// errCalledOff ends schedules.
var errCalledOff = errors.New("the schedule was called off")

func (e *Enclave) runSchedule(ctx context.Context, s FaultSchedule) {
	for i := range s.Faults {
		f := &s.Faults[i]
		if !f.Pending() {
			continue
		}
		var err error
		came := wait(ctx, f.At.Sub(e.m.deps.Now()))
		if came {
			err = e.applyFault(ctx, f.Fault)
		}
		switch {
		case came && (err == nil || ctx.Err() == nil):
			e.faultCame(s, f, err)
		case errors.Is(context.Cause(ctx), errCalledOff):
			e.callOff(s)
			return
		default:
			return // the engine ends, or the enclave
		}
	}
}

// faultCame records a fault whose time has come, and tells of it.
func (e *Enclave) faultCame(s FaultSchedule, f *ScheduledFault, err error) {
	f.Applied = e.m.deps.Now().UTC()
	if err != nil {
		f.Error = err.Error()
		e.m.deps.Logger.Warn("a scheduled fault failed", "enclave", e.uuid, "fault", f.String(), "error", err)
	}
	e.noteSchedule("fault applied", s)
	e.tellFault(*f)
}

// callOff records that what is pending will not come.
func (e *Enclave) callOff(s FaultSchedule) {
	for i := range s.Faults {
		if s.Faults[i].Pending() {
			s.Faults[i].Cancelled = true
		}
	}
	e.noteSchedule("faults called off", s)
}

func (e *Enclave) noteSchedule(point string, s FaultSchedule) {
	if err := e.m.store.putSchedule(e.uuid, point, s); err != nil {
		e.m.deps.Logger.Error("a schedule of faults is not recorded", "enclave", e.uuid, "error", err)
	}
}

// wait pauses; false if ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(max(0, d))
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

func (e *Enclave) applyFault(ctx context.Context, f link.Fault) error {
	switch f.Action {
	case link.Pause:
		return e.PauseService(ctx, f.Services[0])
	case link.Unpause:
		return e.UnpauseService(ctx, f.Services[0])
	case link.Kill:
		return e.KillService(ctx, f.Services[0])
	case link.Start:
		return e.StartService(ctx, f.Services[0])
	}
	return e.relink(ctx, "fault", f.Apply)
}

// CallOffFaults ends all schedules: when it returns, nothing more comes of them. What
// they have done stays.
func (e *Enclave) CallOffFaults(ctx context.Context) error {
	e.mu.Lock()
	all := slices.Collect(maps.Values(e.schedules))
	e.mu.Unlock()
	for _, s := range all {
		s.end(errCalledOff)
	}
	for _, s := range all {
		select {
		case <-s.over:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// WatchFaults calls tell for every scheduled fault that is applied from now on,
// until stop.
func (e *Enclave) WatchFaults(tell func(ScheduledFault)) (stop func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.faultWatchers == nil {
		e.faultWatchers = map[*func(ScheduledFault)]bool{}
	}
	e.faultWatchers[&tell] = true
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.faultWatchers, &tell)
	}
}

func (e *Enclave) tellFault(f ScheduledFault) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for tell := range e.faultWatchers {
		(*tell)(f)
	}
}

// FaultSchedules lists the schedules, oldest first.
func (e *Enclave) FaultSchedules() ([]FaultSchedule, error) { return e.m.store.schedules(e.uuid) }

// resumeFaults takes up the schedules of an engine before this one. What should
// have happened meanwhile happens at once.
func (e *Enclave) resumeFaults() error {
	all, err := e.FaultSchedules()
	if err != nil {
		return err
	}
	for _, s := range all {
		if slices.ContainsFunc(s.Faults, ScheduledFault.Pending) {
			e.follow(s)
		}
	}
	return nil
}

// putSchedule writes a schedule, and deletes the oldest that are over where there are
// many.
func (s *Store) putSchedule(uuid, point string, schedule FaultSchedule) error {
	return s.updateEnclave(uuid, point, func(b *bbolt.Bucket) error {
		if err := put(b, bucketFaults, []byte(scheduleKey(schedule)), schedule); err != nil {
			return err
		}
		all, err := rows[FaultSchedule](b.Bucket(bucketFaults))
		if err != nil {
			return err
		}
		over := slices.DeleteFunc(all, func(s FaultSchedule) bool { return slices.ContainsFunc(s.Faults, ScheduledFault.Pending) })
		for _, old := range over[:max(0, len(over)-keptSchedules)] {
			if err := b.Bucket(bucketFaults).Delete([]byte(scheduleKey(old))); err != nil {
				return err
			}
		}
		return nil
	})
}

// scheduleKey sorts schedules by time.
func scheduleKey(s FaultSchedule) string {
	return s.Began.UTC().Format("20060102T150405.000000000") + "-" + s.ID
}

func (s *Store) schedules(uuid string) (out []FaultSchedule, err error) {
	err = s.viewEnclave(uuid, func(b *bbolt.Bucket) (err error) {
		out, err = rows[FaultSchedule](b.Bucket(bucketFaults))
		return err
	})
	return out, err
}
