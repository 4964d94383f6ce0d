package memory

import (
	"context"
	"errors"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

var _ backend.Clearer = (*Enclave)(nil)

// Clear deletes a service and keeps its address.
func (e *Enclave) Clear(ctx context.Context, name backend.ServiceName) error {
	ctx, done, err := e.enter(ctx, name)
	if err != nil {
		return err
	}
	defer done()
	s, err := e.find(ctx, name)
	if errors.Is(err, fault.ErrNotFound) && e.life.Err() == nil {
		return nil
	}
	if err != nil {
		return err
	}
	if err := s.delete(ctx); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.services, name)
	return nil
}
