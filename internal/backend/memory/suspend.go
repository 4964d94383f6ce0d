package memory

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file freezes services, and stops and starts whole enclaves.

// Pause holds a service's output and refuses commands in it. A Go function
// can't be frozen any further.
func (e *Enclave) Pause(ctx context.Context, name backend.ServiceName) error {
	return e.setPaused(ctx, name, true)
}

// Unpause undoes Pause.
func (e *Enclave) Unpause(ctx context.Context, name backend.ServiceName) error {
	return e.setPaused(ctx, name, false)
}

func (e *Enclave) setPaused(ctx context.Context, name backend.ServiceName, paused bool) error {
	ctx, done, err := e.enter(ctx, name)
	if err != nil {
		return err
	}
	defer done()
	s, err := e.find(ctx, name)
	if err != nil {
		return err
	}
	if !s.running() {
		return fmt.Errorf("service %q: %w", name, fault.ErrNotRunning)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused = paused
	if paused {
		s.gate.close()
	} else {
		s.gate.open()
	}
	return nil
}

// Suspend stops all services and notes which ran.
func (e *Enclave) Suspend(ctx context.Context, grace time.Duration) error {
	release, err := e.turns.All(ctx)
	if err != nil {
		return err
	}
	defer release()
	if e.life.Err() != nil {
		return e.gone()
	}
	var group errgroup.Group
	for _, s := range e.all() {
		group.Go(func() error {
			if !s.running() {
				return nil
			}
			s.mu.Lock()
			s.wanted = true
			s.mu.Unlock()
			_, err := s.stop(ctx, grace)
			return err
		})
	}
	return group.Wait()
}

// Resume starts the services that ran when the enclave was suspended.
func (e *Enclave) Resume(ctx context.Context) error {
	release, err := e.turns.All(ctx)
	if err != nil {
		return err
	}
	defer release()
	if e.life.Err() != nil {
		return e.gone()
	}
	for _, s := range e.all() {
		s.mu.Lock()
		wanted := s.wanted && s.main.ended()
		s.wanted = false
		s.mu.Unlock()
		if wanted {
			s.run()
		}
	}
	return nil
}
