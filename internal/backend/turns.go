package backend

import (
	"context"
	"math"
	"sync"

	"golang.org/x/sync/semaphore"
)

// Turns keep the contract's rule of order among things with names, such as the
// services of one enclave: calls on one wait for one another, calls on different
// ones don't, and a call on all waits for those under way and holds up those
// after it. The zero value is ready.
type Turns[K ~string] struct {
	once   sync.Once
	whole  *semaphore.Weighted // a call on one holds 1, a call on all everything
	mu     sync.Mutex
	queues map[K]*queue
}

// queue is the lock of one name: turn holds one token while it is free.
type queue struct {
	turn  chan struct{}
	users int // those who hold it or wait; the queue is forgotten at 0
}

func (l *Turns[K]) init() {
	l.once.Do(func() {
		l.whole = semaphore.NewWeighted(math.MaxInt64)
		l.queues = map[K]*queue{}
	})
}

// One takes the turn of one thing. The error is the context's cause.
func (l *Turns[K]) One(ctx context.Context, name K) (release func(), err error) {
	l.init()
	if err := l.whole.Acquire(ctx, 1); err != nil {
		return nil, context.Cause(ctx)
	}
	q := l.join(name)
	select {
	case <-q.turn:
		return func() {
			q.turn <- struct{}{}
			l.leave(name, q)
			l.whole.Release(1)
		}, nil
	case <-ctx.Done():
		l.leave(name, q)
		l.whole.Release(1)
		return nil, context.Cause(ctx)
	}
}

// All takes the turn of all of them.
func (l *Turns[K]) All(ctx context.Context) (release func(), err error) {
	l.init()
	if err := l.whole.Acquire(ctx, math.MaxInt64); err != nil {
		return nil, context.Cause(ctx)
	}
	return func() { l.whole.Release(math.MaxInt64) }, nil
}

func (l *Turns[K]) join(name K) *queue {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.queues[name]
	if q == nil {
		q = &queue{turn: make(chan struct{}, 1)}
		q.turn <- struct{}{}
		l.queues[name] = q
	}
	q.users++
	return q
}

func (l *Turns[K]) leave(name K, q *queue) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if q.users--; q.users == 0 {
		delete(l.queues, name)
	}
}
