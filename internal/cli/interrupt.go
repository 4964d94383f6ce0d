package cli

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// This file turns Ctrl-C into something a command can act on.

// interrupts counts the signals that ask this process to end. Without a handler
// the first one ends the context, with errInterrupted, and the second one the
// process.
type interrupts struct {
	signals chan os.Signal

	mu      sync.Mutex
	count   int
	handler func(n int)
}

func newInterrupts() *interrupts { return &interrupts{signals: make(chan os.Signal, 8)} }

// start begins to listen and gives the context that the first signal ends.
func (i *interrupts) start() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signal.Notify(i.signals, os.Interrupt, syscall.SIGTERM)
	quit := make(chan struct{})
	var owned sync.WaitGroup
	owned.Go(func() {
		for {
			select {
			case <-quit:
				return
			case <-i.signals:
				i.deliver(cancel)
			}
		}
	})
	return ctx, func() {
		signal.Stop(i.signals)
		close(quit)
		owned.Wait()
		cancel(nil)
	}
}

func (i *interrupts) deliver(cancel context.CancelCauseFunc) {
	i.mu.Lock()
	defer i.mu.Unlock() // restore waits for a handler that is at work
	i.count++
	switch {
	case i.handler != nil:
		i.handler(i.count)
	case i.count == 1:
		cancel(errInterrupted)
	default:
		os.Exit(exitInterrupted)
	}
}

// handle lets f decide what the n-th signal from now on means, until restore. f
// must return soon.
func (i *interrupts) handle(f func(n int)) (restore func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.count, i.handler = 0, f
	return func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.handler = nil
	}
}
