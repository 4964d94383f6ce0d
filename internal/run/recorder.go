package run

import (
	"sync"

	"github.com/lepto-dev/lepto/internal/enclave"
)

// recorder writes records of steps, in a goroutine of its own: a step does not
// wait for the disk, but for what is being written. A record that is lost in a
// crash is a step that is done once more.
type recorder struct {
	mu      sync.Mutex
	last    uint64                         // the highest number of a record
	pending map[string]*enclave.StepRecord // by id; nil: to be deleted
	wake    chan struct{}
	done    chan struct{}
}

// start begins to write; finish ends it.
func (r *recorder) start(x *execution) {
	r.wake, r.done = make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(r.done)
		for range r.wake {
			r.flush(x)
		}
		r.flush(x)
	}()
}

// finish writes what is left and returns once it is on disk.
func (r *recorder) finish() {
	if r.wake == nil {
		return
	}
	close(r.wake)
	<-r.done
	r.wake = nil
}

func (r *recorder) flush(x *execution) {
	r.mu.Lock()
	pending := r.pending
	r.pending = nil
	r.mu.Unlock()
	if len(pending) == 0 {
		return
	}
	var change enclave.StepsChange
	for id, record := range pending {
		if record == nil {
			change.Delete = append(change.Delete, id)
		} else {
			change.Put = append(change.Put, *record)
		}
	}
	if err := x.enclave.ChangeSteps(change); err != nil {
		x.runner.deps.Logger.Error("what steps did is not stored", "run", x.stream.id, "error", err)
	}
}

// note changes what is to be written.
func (r *recorder) note(change func(pending map[string]*enclave.StepRecord)) {
	r.mu.Lock()
	if r.pending == nil {
		r.pending = map[string]*enclave.StepRecord{}
	}
	change(r.pending)
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default: // it will see this too
	}
}

func (r *recorder) put(record enclave.StepRecord) {
	r.note(func(pending map[string]*enclave.StepRecord) { pending[record.ID] = &record })
}

func (r *recorder) remove(id string) {
	r.note(func(pending map[string]*enclave.StepRecord) { pending[id] = nil })
}

// replace puts a record in the place of another one.
func (r *recorder) replace(record enclave.StepRecord, old string) {
	r.note(func(pending map[string]*enclave.StepRecord) {
		pending[old] = nil
		pending[record.ID] = &record
	})
}

// add gives a record its number and puts it. old, if not empty, is the id of one
// that it takes the place of.
func (r *recorder) add(record enclave.StepRecord, old string) {
	r.note(func(pending map[string]*enclave.StepRecord) {
		r.last++
		record.Number = r.last
		if old != "" && !record.Failed {
			pending[old] = nil
		}
		pending[record.ID] = &record
	})
}
