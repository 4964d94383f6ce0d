package run

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/lepto-dev/lepto/internal/enclave"
)

// This file is the stream of one run: written by the run alone, read by anyone.

// A Stream is the events of one run, complete or still growing. Readers read
// from memory at their own pace; the run never waits for them.
type Stream struct {
	id     string
	uuid   string // of the enclave
	now    func() time.Time
	cancel context.CancelCauseFunc // nil once it is over
	over   chan struct{}           // closed when the run is over and stored
	final  chan struct{}           // closed when the last event is there

	mu     sync.Mutex
	events []Event
	grown  chan struct{} // closed, and replaced, when events come
	ended  bool          // the last event is there
}

func newStream(id, uuid string, now func() time.Time) *Stream {
	return &Stream{id: id, uuid: uuid, now: now, over: make(chan struct{}), final: make(chan struct{}), grown: make(chan struct{})}
}

// ID gives the run's id.
func (s *Stream) ID() string { return s.id }

// Enclave gives the UUID of the run's enclave.
func (s *Stream) Enclave() string { return s.uuid }

// Cancel ends the run at its next safe point. cause says why; it becomes
// Done.Reason. Cancelling what is over does nothing.
func (s *Stream) Cancel(cause error) {
	if s.cancel != nil {
		s.cancel(cause)
	}
}

// Wait waits until the run is over and stored, and gives its last event. The
// error is the context's cause: the run itself goes on.
func (s *Stream) Wait(ctx context.Context) (Done, error) {
	select {
	case <-s.over:
	case <-ctx.Done():
		return Done{}, context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.events); n > 0 && s.events[n-1].Done != nil {
		return *s.events[n-1].Done, nil
	}
	return Done{}, fmt.Errorf("run %s has no end", s.id)
}

// emit appends an event, giving it its number and time. After the last event
// there are no more.
func (s *Stream) emit(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	e.Seq, e.At = uint64(len(s.events))+1, s.now().UTC()
	s.events = append(s.events, e)
	if s.ended = e.Kind == KindDone; s.ended {
		close(s.final)
	}
	close(s.grown)
	s.grown = make(chan struct{})
}

// after gives the events with numbers from on, whether there will be more, and
// what tells of them.
func (s *Stream) after(from uint64) (events []Event, ended bool, grown <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if from < 1 {
		from = 1
	}
	if have := uint64(len(s.events)); from <= have {
		events = s.events[from-1 : have : have]
	}
	return events, s.ended, s.grown
}

// Events yields the events with numbers from on (1 is the first), then those
// that come, until the last. It ends early, with an error, with the context.
func (s *Stream) Events(ctx context.Context, from uint64) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for next := max(from, 1); ; {
			events, ended, grown := s.after(next)
			for _, e := range events {
				if !yield(e, nil) {
					return
				}
			}
			next += uint64(len(events))
			if ended {
				return
			}
			select {
			case <-grown:
			case <-ctx.Done():
				yield(Event{}, context.Cause(ctx))
				return
			}
		}
	}
}

// gathering is how long events are gathered before they are stored together: a
// transaction waits milliseconds for the disk, and others wait for it.
const gathering = 50 * time.Millisecond

// keep enters the run in the store and stores its events as they come, several
// at a time; the run does not wait for it. It returns once the last is stored,
// or can't be.
func (s *Stream) keep(e *enclave.Enclave, args *enclave.RunArgs, log *slog.Logger) {
	if err := e.BeginRun(s.id); err != nil {
		log.Error("a run is not entered in the store", "run", s.id, "error", err)
		<-s.final // bounded by the run, which always ends with a last event
		return
	}
	for next := uint64(1); ; {
		events, ended, grown := s.after(next)
		if len(events) == 0 {
			<-grown // bounded as above
			s.pause()
			continue
		}
		if err := s.store(e, events, ended, args); err != nil {
			log.Error("events of a run are not stored", "run", s.id, "from", next, "error", err)
			if ended {
				return
			}
			s.pause() // then again, together with those that follow
			continue
		}
		if ended {
			return
		}
		next += uint64(len(events))
	}
}

// pause gathers events, but not beyond the last.
func (s *Stream) pause() {
	timer := time.NewTimer(gathering)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.final:
	}
}

func (s *Stream) store(e *enclave.Enclave, events []Event, last bool, args *enclave.RunArgs) error {
	lines := make([][]byte, len(events))
	for i, event := range events {
		line, err := event.Encode()
		if err != nil {
			return fmt.Errorf("event %d: %w", event.Seq, err)
		}
		lines[i] = line
	}
	if last {
		return e.FinishRun(s.id, events[0].Seq, lines, args)
	}
	return e.AppendEvents(s.id, events[0].Seq, lines)
}
