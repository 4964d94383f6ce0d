package recipe

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/lepto-dev/lepto/internal/fault"
)

// A Wait repeats a recipe until its result fits a condition.
type Wait struct {
	Recipe    Recipe
	Condition Condition
	Interval  time.Duration // the first pause; above zero
	Timeout   time.Duration
}

// Waited is how a wait went.
type Waited struct {
	Result  Result // of the last try
	Tries   int
	Elapsed time.Duration
}

const (
	// longestPause bounds the pauses, so that a long wait still notices soon; an
	// interval that is longer is kept.
	longestPause = 2 * time.Second
	// grace is how long the last try may go on after the timeout.
	grace = 0.25
)

// Run tries until the condition holds. Pauses double, with jitter; the last try
// is at the deadline. A timeout is an E0312 that tells the number of tries and
// what the last one gave.
func (w Wait) Run(ctx context.Context, target Target, service string, fill Fill) (Waited, error) {
	start := time.Now()
	deadline := start.Add(w.Timeout)
	over := deadline.Add(time.Duration(float64(w.Timeout) * grace)).Add(time.Second)
	ctx, cancel := context.WithDeadlineCause(ctx, over, fmt.Errorf("the last try did not end: %w", fault.ErrTimeout))
	defer cancel()

	pause := w.Interval
	for tries := 1; ; tries++ {
		last := !time.Now().Before(deadline)
		result, err := w.try(ctx, target, service, fill)
		if err == nil {
			return Waited{Result: result, Tries: tries, Elapsed: time.Since(start)}, nil
		}
		if last || context.Cause(ctx) != nil {
			return Waited{}, w.timedOut(ctx, service, tries, err)
		}
		if err := sleep(ctx, min(jitter(pause), time.Until(deadline))); err != nil {
			return Waited{}, w.timedOut(ctx, service, tries, err)
		}
		pause = min(2*pause, max(w.Interval, longestPause))
	}
}

func (w Wait) try(ctx context.Context, target Target, service string, fill Fill) (Result, error) {
	result, err := w.Recipe.Run(ctx, target, service, fill)
	if err != nil {
		return Result{}, err
	}
	return result, w.Condition.Check(result)
}

// timedOut tells apart a wait that took too long from one that was cancelled.
func (w Wait) timedOut(ctx context.Context, service string, tries int, last error) error {
	if cause := context.Cause(ctx); cause != nil && !isTimeout(cause) {
		return cause
	}
	return fault.New("E0312", "service %q did not become ready within %s, in %d tries: %w", service, w.Timeout, tries, last).
		WithHint("look at its log, or give it a longer timeout")
}

func jitter(d time.Duration) time.Duration {
	return time.Duration((0.5 + rand.Float64()) * float64(d))
}

// sleep waits, or gives the reason why the context ended.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

func isTimeout(err error) bool { return errors.Is(err, fault.ErrTimeout) }
