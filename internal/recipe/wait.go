package recipe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/lepto-dev/lepto/internal/fault"
)

// A Wait repeats a recipe until its result fits a condition.
type Wait struct {
	Recipe    Recipe
	Condition Condition
	Interval  time.Duration // the first pause; 0 for as short a one as there is
	Timeout   time.Duration
	// Progress, if set, is told of tries that did not fit.
	Progress func(text string)
}

// Waited is how a wait went.
type Waited struct {
	Result  Result // of the last try
	Tries   int
	Elapsed time.Duration
}

const (
	// shortestPause is the first one where none is asked for: what is tried may be a
	// process that is started.
	shortestPause = 10 * time.Millisecond
	// longestPause bounds the pauses, so that a long wait still notices soon; an
	// interval that is longer is kept.
	longestPause = 2 * time.Second
	// grace is how long the last try may go on after the timeout.
	grace = 0.25
	// tellPause is the least time between two reports of progress.
	tellPause = 250 * time.Millisecond
)

// Run tries until the condition holds. Pauses double, with jitter; the last try
// is at the deadline. A timeout is an E0312 that tells the number of tries and
// what the last one gave.
func (w Wait) Run(ctx context.Context, target Target, service string, values Values) (Waited, error) {
	wanted, err := values.Value(w.Condition.Target)
	if err != nil {
		return Waited{}, err
	}
	w.Condition.Target = wanted
	start, told := time.Now(), time.Time{}
	deadline := start.Add(w.Timeout)
	over := deadline.Add(time.Duration(float64(w.Timeout) * grace)).Add(time.Second)
	ctx, cancel := context.WithDeadlineCause(ctx, over, fmt.Errorf("the last try did not end: %w", fault.ErrTimeout))
	defer cancel()

	pause := cmp.Or(w.Interval, shortestPause)
	var answer Result // the last that there was: later tries may get none
	for tries := 1; ; tries++ {
		last := !time.Now().Before(deadline)
		result, err := w.try(ctx, target, service, values.Text)
		if result.Text != "" {
			answer = result
		}
		if err == nil {
			return Waited{Result: result, Tries: tries, Elapsed: time.Since(start)}, nil
		}
		if hopeless(err) {
			return Waited{}, err
		}
		if last || context.Cause(ctx) != nil {
			return Waited{}, w.timedOut(ctx, service, tries, answer, err)
		}
		if w.Progress != nil && time.Since(told) >= tellPause {
			told = time.Now()
			w.Progress(fmt.Sprintf("try %d on service %q: %s; %s left", tries, service, shorten(err.Error()), roundUp(time.Until(deadline))))
		}
		longest := max(w.Interval, longestPause)
		if err := sleep(ctx, min(jitter(pause), longest, time.Until(deadline))); err != nil {
			return Waited{}, w.timedOut(ctx, service, tries, answer, err)
		}
		pause = min(2*pause, longest)
	}
}

// shownError is how much of an error progress shows, in bytes.
const shownError = 200

func shorten(text string) string {
	text, _, _ = strings.Cut(text, "\n")
	if len(text) <= shownError {
		return text
	}
	return strings.ToValidUTF8(text[:shownError], "") + "…"
}

// roundUp gives a time left in seconds, or finer where it is short.
func roundUp(d time.Duration) time.Duration {
	if d > time.Second {
		return d.Round(time.Second)
	}
	return max(d.Round(10*time.Millisecond), 0)
}

func (w Wait) try(ctx context.Context, target Target, service string, fill Fill) (Result, error) {
	result, err := w.Recipe.Run(ctx, target, service, fill)
	if err != nil {
		return result, err
	}
	return result, w.Condition.Check(result)
}

// timedOut tells apart a wait that took too long from one that was cancelled.
func (w Wait) timedOut(ctx context.Context, service string, tries int, result Result, last error) error {
	if cause := context.Cause(ctx); cause != nil && !isTimeout(cause) {
		return cause
	}
	f := fault.New("E0312", "service %q did not become ready within %s, in %d tries: %w", service, w.Timeout, tries, last).
		WithHint("look at its log, or give it a longer timeout")
	if result.OOM {
		f.WithEvidence("meanwhile", "the kernel killed a process of the service: out of memory")
	}
	return f.WithEvidence("the last answer", Tail(result.Text)...)
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
