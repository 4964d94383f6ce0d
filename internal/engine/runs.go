package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/run"
)

// This file starts and cancels runs. They belong to the engine: nobody who
// watches one keeps it going, or stops it by leaving.

// errCancelled is the cause of a run that a user cancelled.
var errCancelled = errors.New("cancelled")

// StartRun starts a run in the background. It waits for its turn where another
// one runs in the enclave.
func (e *Engine) StartRun(in *enclave.Enclave, req run.Request) (*run.Stream, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ending {
		return nil, fmt.Errorf("%w: %w", errStopping, fault.ErrUnavailable)
	}
	return e.runner.Start(e.life, in, req), nil
}

// PlanYAML gives the plan of a package as the wire API's YAML document, for an
// enclave that is new; nothing of this one is read or changed.
func (e *Engine) PlanYAML(ctx context.Context, in *enclave.Enclave, req run.Request) (string, error) {
	return e.runner.PlanYAML(ctx, in, req)
}

// Runs gives the runs under way and the events of those that are over.
func (e *Engine) Runs() *run.Hub { return &e.runner.Hub }

// CancelRun asks a run of an enclave to stop at its next safe point; with an
// empty id, all of them. fault.ErrNotFound if none is under way.
func (e *Engine) CancelRun(in *enclave.Enclave, runID string) error {
	if e.cancelRuns(in.UUID(), runID, errCancelled) > 0 {
		return nil
	}
	if runID == "" {
		return fmt.Errorf("no run is under way in enclave %q: %w", in.Name(), fault.ErrNotFound)
	}
	return fmt.Errorf("run %s is not under way in enclave %q: %w", runID, in.Name(), fault.ErrNotFound)
}

// cancelRuns cancels runs of an enclave, all if runID is empty, and tells how
// many there were.
func (e *Engine) cancelRuns(enclave, runID string, cause error) int {
	n := 0
	for _, stream := range e.runner.Live(enclave) {
		if runID == "" || stream.ID() == runID {
			stream.Cancel(cause)
			n++
		}
	}
	return n
}
