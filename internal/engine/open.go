package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/lepto-dev/lepto/internal/artifact"
	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/instruction"
	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/lang/types"
	"github.com/lepto-dev/lepto/internal/run"
)

// This file opens an engine's state and brings it in line with what the host
// holds, and closes it again.

// open opens the state. Nothing is served yet.
func open(ctx context.Context, config Config, who owner) (_ *Engine, err error) {
	e := &Engine{config: config, owner: who, log: config.Logger, started: time.Now().UTC(),
		stop: make(chan struct{})}
	e.life, e.endLife = context.WithCancelCause(context.WithoutCancel(ctx))
	e.requests, e.endRequests = context.WithCancelCause(context.WithoutCancel(ctx))
	e.streams, e.endStreams = context.WithCancelCause(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close())
		}
	}()
	if e.backend, err = config.Backend(ctx); err != nil {
		return nil, fmt.Errorf("open backend: %w", err)
	}
	if e.store, err = enclave.OpenStore(filepath.Join(config.Home, "engine.db")); err != nil {
		return nil, err
	}
	artifacts, err := artifact.Open(filepath.Join(config.Home, "artifacts"), artifact.Limits{})
	if err != nil {
		return nil, err
	}
	if e.enclaves, err = enclave.NewManager(e.store, e.backend, enclave.Deps{Logger: e.log, Artifacts: artifacts}); err != nil {
		return nil, err
	}
	if err := e.reconcile(ctx); err != nil {
		return nil, err
	}
	if e.ports, err = openPorts(filepath.Join(config.Home, "enclave-ports.json")); err != nil {
		return nil, err
	}
	e.runner = run.NewRunner(run.Deps{Host: lang.NewHost(instruction.All(), types.All()), Logger: e.log, EnclaveVars: config.EnclaveVars})
	e.recoverRuns()
	return e, nil
}

// reconcile adopts what runs and removes what is half made.
func (e *Engine) reconcile(ctx context.Context) error {
	began := time.Now()
	report, err := e.enclaves.Reconcile(ctx)
	if err != nil {
		return fmt.Errorf("reconcile: %w", err)
	}
	e.found = describe(report)
	for _, line := range e.found {
		e.log.Info("reconciled", "what", line)
	}
	e.log.Info("state is open", "home", e.config.Home, "backend", e.backend.Name(),
		"enclaves", len(e.enclaves.List()), "took", time.Since(began))
	return nil
}

// recoverRuns closes the records of runs that ended with the engine before. One
// that can't be read is no reason not to start.
func (e *Engine) recoverRuns() {
	for _, one := range e.enclaves.List() {
		if err := e.runner.Recover(one); err != nil {
			e.log.Error("runs are not recovered", "enclave", one.Name(), "error", err)
			e.found = append(e.found, fmt.Sprintf("not recovered: runs of enclave %s: %v", one.Name(), err))
		}
	}
}

// close lets go of everything. Services go on running.
func (e *Engine) close() error {
	e.endLife(errStopping)
	e.endStreams(errStopping)
	e.endRequests(errStopping)
	var err error
	if e.store != nil {
		err = errors.Join(err, e.store.Close())
	}
	if e.backend != nil {
		err = errors.Join(err, e.backend.Close())
	}
	return err
}

// describe tells what reconciliation did, a line a thing.
func describe(r enclave.Report) []string {
	var lines []string
	for _, part := range []struct {
		word   string
		things []string
	}{
		{"adopted enclave", r.Adopted}, {"removed half-made", r.Removed},
		{"restored", r.Restored}, {"lost", r.Lost}, {"not reconciled:", r.Problems},
	} {
		for _, thing := range part.things {
			lines = append(lines, part.word+" "+thing)
		}
	}
	return lines
}
