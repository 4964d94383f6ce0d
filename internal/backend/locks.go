package backend

import (
	"context"
	"fmt"
	"math"
	"sync"

	"golang.org/x/sync/semaphore"
)

// Locks keeps the contract's rule of order for the services of one enclave:
// calls on one service wait for one another, calls on different services don't,
// and a call on the whole enclave waits for all and holds up those after it.
// The zero value is ready.
type Locks struct {
	once   sync.Once
	whole  *semaphore.Weighted // a service's call holds 1, the whole enclave's all
	mu     sync.Mutex
	queues map[ServiceName]*queue
}

// queue is the lock of one service: turn holds one token while it is free.
type queue struct {
	turn  chan struct{}
	users int // those who hold it or wait; the queue is forgotten at 0
}

func (l *Locks) init() {
	l.once.Do(func() {
		l.whole = semaphore.NewWeighted(math.MaxInt64)
		l.queues = map[ServiceName]*queue{}
	})
}

// Service takes the turn of one service. The error is the context's cause.
func (l *Locks) Service(ctx context.Context, name ServiceName) (release func(), err error) {
	l.init()
	if err := l.whole.Acquire(ctx, 1); err != nil {
		return nil, fmt.Errorf("service %q: %w", name, context.Cause(ctx))
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
		return nil, fmt.Errorf("service %q: %w", name, context.Cause(ctx))
	}
}

// All takes the turn of the whole enclave.
func (l *Locks) All(ctx context.Context) (release func(), err error) {
	l.init()
	if err := l.whole.Acquire(ctx, math.MaxInt64); err != nil {
		return nil, context.Cause(ctx)
	}
	return func() { l.whole.Release(math.MaxInt64) }, nil
}

func (l *Locks) join(name ServiceName) *queue {
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

func (l *Locks) leave(name ServiceName, q *queue) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if q.users--; q.users == 0 {
		delete(l.queues, name)
	}
}
