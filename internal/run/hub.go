package run

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file finds the streams of runs, those going on and those that are over.

// remembered is how many streams of runs that are over stay in memory. Those of
// dry runs are nowhere else.
const remembered = 8

// Hub knows the streams of a Runner.
type Hub struct {
	mu   sync.Mutex
	live []*Stream
	past []*Stream // newest last
}

func (h *Hub) add(s *Stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.live = append(h.live, s)
}

func (h *Hub) end(s *Stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.live = slices.DeleteFunc(h.live, func(l *Stream) bool { return l == s })
	h.past = append(h.past, s)
	if len(h.past) > remembered {
		h.past = slices.Delete(h.past, 0, len(h.past)-remembered)
	}
}

// Live lists the streams of runs that are going on, or wait for their turn, in
// an enclave; of all enclaves if uuid is empty.
func (h *Hub) Live(uuid string) []*Stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(h.live), func(s *Stream) bool { return uuid != "" && s.uuid != uuid })
}

// Stream finds the stream of a run: going on, remembered or stored.
// fault.ErrNotFound if there is none.
func (h *Hub) Stream(e *enclave.Enclave, runID string) (*Stream, error) {
	h.mu.Lock()
	for _, s := range slices.Concat(h.live, h.past) {
		if s.id == runID && s.uuid == e.UUID() {
			h.mu.Unlock()
			return s, nil
		}
	}
	h.mu.Unlock()
	return stored(e, runID)
}

// Subscribe yields the events of a run from a number on. See Stream.Events.
func (h *Hub) Subscribe(ctx context.Context, e *enclave.Enclave, runID string, from uint64) iter.Seq2[Event, error] {
	s, err := h.Stream(e, runID)
	if err != nil {
		return func(yield func(Event, error) bool) { yield(Event{}, err) }
	}
	return s.Events(ctx, from)
}

// stored reads the stream of a run that is over.
func stored(e *enclave.Enclave, runID string) (*Stream, error) {
	lines, err := e.Events(runID, 1)
	if errors.Is(err, fault.ErrNotFound) {
		f := fault.New("E0374", "run %s is not known in enclave %q", runID, e.Name()).
			WithHint("an enclave keeps its last runs only")
		f.Cause = fault.ErrNotFound
		return nil, f
	}
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", runID, err)
	}
	s := newStream(runID, e.UUID(), nil)
	s.ended = true
	close(s.over)
	for _, line := range lines {
		event, err := Decode(line)
		if err != nil {
			return nil, fmt.Errorf("run %s: %w", runID, err)
		}
		s.events = append(s.events, event)
	}
	return s, nil
}

// Recover closes the streams of runs that the engine did not live to finish.
// Call it for each enclave after a start, before anything runs.
func (r *Runner) Recover(e *enclave.Enclave) error {
	runs, err := e.Runs()
	if err != nil {
		return fmt.Errorf("runs of enclave %q: %w", e.Name(), err)
	}
	var errs []error
	for _, record := range runs {
		if !record.Finished {
			errs = append(errs, r.recover(e, record))
		}
	}
	return errors.Join(errs...)
}

func (r *Runner) recover(e *enclave.Enclave, record enclave.RunRecord) error {
	s, err := stored(e, record.ID)
	if err != nil {
		return err
	}
	s.ended, s.now = false, r.deps.Now
	phase, steps := Interpretation, 0
	for _, event := range s.events {
		if event.Phase != nil {
			phase = event.Phase.Name
		}
		if event.Result != nil {
			steps++
		}
	}
	from := uint64(len(s.events)) + 1
	s.emit(Event{Kind: KindError, Error: &Problem{
		Phase: phase, Code: "E0371", Summary: "the engine ended during this run",
		Hint: "run it again: what was half made has been removed, and what ran still runs",
	}})
	last, _, _ := s.after(from)
	s.emit(Event{Kind: KindDone, Done: &Done{Steps: steps, Duration: last[0].At.Sub(record.Began).Round(time.Millisecond)}})
	last, _, _ = s.after(from)
	return s.store(e, last, true, nil)
}
