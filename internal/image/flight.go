package image

import (
	"context"
	"errors"
	"sync"

	"github.com/lepto-dev/lepto/internal/backend"
)

// flights lets goroutines that want the same thing share one making of it. The
// zero value is ready.
type flights[T any] struct {
	mu     sync.Mutex
	flying map[string]*flight[T]
}

// flight is one making of a thing.
type flight[T any] struct {
	done  chan struct{} // closed when value and err are set
	value T
	err   error
	left  bool // whoever made it was cancelled: a follower takes over

	mu       sync.Mutex
	watchers map[*watcher]struct{}
}

// watcher is somebody who wants to know how far a flight has come.
type watcher struct{ tell backend.ProgressFunc }

// progress tells everybody who waits.
func (f *flight[T]) progress(what string, done, total int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for w := range f.watchers {
		w.tell(what, done, total)
	}
}

// watch adds a watcher, until stop: afterwards it is told nothing any more.
func (f *flight[T]) watch(tell backend.ProgressFunc) (stop func()) {
	if tell == nil {
		return func() {}
	}
	w := &watcher{tell}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watchers == nil {
		f.watchers = map[*watcher]struct{}{}
	}
	f.watchers[w] = struct{}{}
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.watchers, w)
	}
}

// do makes the thing named key, or waits for whoever makes it and shares the
// outcome. If the maker was cancelled, a waiter makes it anew.
func (fs *flights[T]) do(ctx context.Context, key string, progress backend.ProgressFunc,
	build func(backend.ProgressFunc) (T, error)) (T, error) {
	for {
		f, mine := fs.join(key)
		if mine {
			fs.fly(ctx, key, f, progress, build)
			return f.value, f.err
		}
		landed, err := f.await(ctx, progress)
		if err != nil {
			var none T
			return none, err
		}
		if landed {
			return f.value, f.err
		}
	}
}

// fly makes the thing. Whatever happens, the waiters are let go.
func (fs *flights[T]) fly(ctx context.Context, key string, f *flight[T], progress backend.ProgressFunc,
	build func(backend.ProgressFunc) (T, error)) {
	defer fs.land(key, f)
	defer f.watch(progress)()
	f.value, f.err = build(f.progress)
	f.left = f.err != nil && ctx.Err() != nil
}

// await waits for the maker; landed is false if the maker was cancelled.
func (f *flight[T]) await(ctx context.Context, progress backend.ProgressFunc) (landed bool, err error) {
	defer f.watch(progress)()
	select {
	case <-f.done:
		return !f.left, nil
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}

// join gives the flight named key; mine says that the caller has to fly it.
func (fs *flights[T]) join(key string) (f *flight[T], mine bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f, ok := fs.flying[key]; ok {
		return f, false
	}
	if fs.flying == nil {
		fs.flying = map[string]*flight[T]{}
	}
	f = &flight[T]{done: make(chan struct{}), err: errors.New("abandoned")}
	fs.flying[key] = f
	return f, true
}

func (fs *flights[T]) land(key string, f *flight[T]) {
	fs.mu.Lock()
	delete(fs.flying, key)
	fs.mu.Unlock()
	close(f.done)
}
