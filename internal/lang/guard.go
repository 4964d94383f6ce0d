package lang

import (
	"context"
	"fmt"
	"runtime/metrics"
	"time"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file keeps an interpretation within bounds: steps, time, memory, and the
// context's end.

const (
	// heapInterval is how often the watch looks at the heap.
	heapInterval = 20 * time.Millisecond
	// watchedLimits is how many memory limits the watch lets the heap grow, garbage
	// and all. It is for what no step announces: the script itself looks sooner, and
	// collects garbage first.
	watchedLimits = 2
)

// guard starts the watch; stop ends it and waits for it.
func (in *interpretation) guard() (stop func()) {
	in.heapAtStart = heapBytes()
	in.thread.SetMaxExecutionSteps(min(lookSteps, in.req.StepLimit))
	in.thread.OnMaxSteps = in.between
	ctx, cancel := context.WithCancelCause(in.ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		in.watch(ctx)
	}()
	return func() {
		cancel(nil)
		<-done
	}
}

// watch cancels the thread when the run's context ends, the heap grows too much or
// the time is over, and ends with ctx. A machine that is too busy for the watch is
// too busy for the script as well, and time is counted by what the watch sees.
func (in *interpretation) watch(ctx context.Context) {
	ticker := time.NewTicker(heapInterval)
	defer ticker.Stop()
	worked := time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			if cause := context.Cause(in.ctx); cause != nil {
				in.end(cancelled(cause))
			}
			return
		case <-ticker.C:
			if !in.fetching.Load() {
				worked += heapInterval
			}
			if worked > in.req.TimeLimit {
				in.end(fault.New("E0203", "the script did not end within %s of work", in.req.TimeLimit).
					WithHint("look for a loop that goes over large values again and again"))
			}
			if in.grown() > watchedLimits*in.req.MemoryLimit {
				in.end(fault.New("E0205", "the script used more than %d MiB of memory", in.req.MemoryLimit>>20).
					WithHint("look for a list or text that grows without end"))
			}
		}
	}
}

// end cancels the thread; the first reason counts. Whoever sees the reason finds
// the thread cancelled: an iterator that ends for it would else end a loop, and
// the script go on.
func (in *interpretation) end(reason error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.ended == nil {
		in.ended = reason
	}
	in.thread.Cancel(fmt.Sprint(reason))
}

// endedBy gives the reason why the thread was cancelled, if it was.
func (in *interpretation) endedBy() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.ended
}

func heapBytes() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
