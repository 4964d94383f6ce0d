package enclave

import (
	"context"
	"errors"
	"io"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file is what the containers of tasks need on top of being services.

// KeepWarm has the containers of tasks use what was made for earlier ones, where the
// backend can, until release, which takes away what is kept.
func (e *Enclave) KeepWarm(ctx context.Context) (release func()) {
	handle, err := e.active(ctx)
	warmer, ok := handle.(backend.Warmer)
	if err != nil || !ok {
		return func() {}
	}
	free := warmer.KeepWarm()
	return func() {
		ctx, cancel := lastWill(ctx)
		defer cancel()
		if err := free(ctx); err != nil {
			e.m.deps.Logger.Error("what was kept for tasks is not removed completely", "enclave", e.uuid, "error", err)
		}
	}
}

// LogTo gives a writer into a service's log, for the output of a command that
// Exec runs. Where the backend has no such thing, what is written is dropped.
func (e *Enclave) LogTo(ctx context.Context, identifier string, stream backend.Stream) (io.WriteCloser, error) {
	handle, name, err := e.locate(ctx, identifier)
	if err != nil {
		return nil, err
	}
	taker, ok := handle.(backend.LogTaker)
	if !ok {
		return dropped{io.Discard}, nil
	}
	to, err := taker.LogTo(ctx, name, stream)
	if errors.Is(err, fault.ErrUnsupported) {
		return dropped{io.Discard}, nil
	}
	return to, err
}

// dropped is a log that nobody keeps.
type dropped struct{ io.Writer }

// Close has nothing to do.
func (dropped) Close() error { return nil }

// Blame records with a service why it failed, for those who look at it later.
func (e *Enclave) Blame(ctx context.Context, identifier string, why error) error {
	row, release, err := e.claim(ctx, identifier)
	if err != nil {
		return err
	}
	defer release()
	failed := *row
	failed.Failure = e.failure(why)
	return e.change("service failed", change{put: []*serviceRow{&failed}})
}

// LastLines gives the end of a service's log, as evidence.
func (e *Enclave) LastLines(ctx context.Context, identifier string) []string {
	handle, name, err := e.locate(ctx, identifier)
	if err != nil {
		return nil
	}
	return e.lastLines(ctx, handle, string(name))
}
