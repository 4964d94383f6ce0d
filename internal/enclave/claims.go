package enclave

import (
	"context"
	"fmt"
	"sync"
)

// This file orders the operations of one enclave that change services.

// claims lets operations on one service follow one another, operations on
// different services overlap, and one on the whole enclave be alone. A set of
// names is claimed at once or not at all, so that two sets can't wait for each
// other; that is why backend.Locks, which takes one at a time, doesn't serve.
// The zero value is ready.
type claims struct {
	mu      sync.Mutex
	held    map[string]bool
	whole   bool
	waiting int // for the whole: new claims of names queue behind them
	freed   chan struct{}
}

// names claims services. The error is the context's cause.
func (c *claims) names(ctx context.Context, names ...string) (release func(), err error) {
	take := func() bool {
		if c.whole || c.waiting > 0 {
			return false
		}
		for _, name := range names {
			if c.held[name] {
				return false
			}
		}
		for _, name := range names {
			c.hold(name)
		}
		return true
	}
	if err := c.wait(ctx, take); err != nil {
		return nil, fmt.Errorf("services are busy: %w", err)
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, name := range names {
			delete(c.held, name)
		}
		c.announce()
	}, nil
}

// all claims the whole enclave.
func (c *claims) all(ctx context.Context) (release func(), err error) {
	c.queue(1)
	defer c.queue(-1)
	take := func() bool {
		if c.whole || len(c.held) > 0 {
			return false
		}
		c.whole = true
		return true
	}
	if err := c.wait(ctx, take); err != nil {
		return nil, fmt.Errorf("the enclave is busy: %w", err)
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.whole = false
		c.announce()
	}, nil
}

// wait tries until take succeeds or the context ends.
func (c *claims) wait(ctx context.Context, take func() bool) error {
	for {
		c.mu.Lock()
		if take() {
			c.mu.Unlock()
			return nil
		}
		if c.freed == nil {
			c.freed = make(chan struct{})
		}
		freed := c.freed
		c.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (c *claims) queue(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting += n
	c.announce()
}

func (c *claims) hold(name string) {
	if c.held == nil {
		c.held = map[string]bool{}
	}
	c.held[name] = true
}

func (c *claims) announce() {
	if c.freed != nil {
		close(c.freed)
		c.freed = nil
	}
}
