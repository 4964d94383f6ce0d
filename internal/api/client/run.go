package client

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"connectrpc.com/connect"

	"github.com/lepto-dev/lepto/internal/api/errwire"
	"github.com/lepto-dev/lepto/internal/api/leptov1"
	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/run"
)

// This file holds the calls about runs.

// RunRequest says what to run. Exactly one of Script, Dir, PackageID and Locator
// is set.
type RunRequest struct {
	Enclave string // uuid, short uuid or name; it must exist

	Script     string // the text of a single script
	ScriptName string // its name in positions; the engine's default if empty
	Dir        string // a package's directory, absolute
	PackageID  string // a package uploaded before
	Locator    string // a package in a repository
	MainFile   string // of the package in Dir or at Locator; its default if empty

	PackageMirror string   // a directory, absolute; the engine's own if empty
	GitEnv        []string // NAME=value, for the git that fetches packages

	MainFunction    string // "run" if empty
	Args            string // a JSON object; none if empty
	DryRun          bool
	Parallelism     int // the engine's default if 0
	PullPolicy      backend.PullPolicy
	AllowPrivileged bool
	KeepTasks       bool
	Parallel        bool
	Workers         int     // of Parallel; the engine's default if 0
	ShuffleSeed     *uint64 // a random order; nil: the script's
	Experimental    []string
	OnFailure       run.OnFailure
}

// Run runs a script or package and yields the run's events, the first of them
// run.KindStarted with the run's id, the last run.KindDone. Leaving the loop or
// ending the context leaves the run going: CancelRun stops it, Events looks at
// it again. A failed run is no error here; its events tell. An error ends the
// sequence.
func (c *Client) Run(ctx context.Context, req RunRequest) iter.Seq2[run.Event, error] {
	return events(ctx, func(ctx context.Context) (*connect.ServerStreamForClient[leptov1.RunEvent], error) {
		return c.own.Run(ctx, connect.NewRequest(runMessage(req)))
	})
}

// Events yields the events of a run from a sequence number on (0 or 1: all),
// stored ones first, then live ones until the run is done.
func (c *Client) Events(ctx context.Context, enclave, runID string, from uint64) iter.Seq2[run.Event, error] {
	return events(ctx, func(ctx context.Context) (*connect.ServerStreamForClient[leptov1.RunEvent], error) {
		return c.own.Events(ctx, connect.NewRequest(&leptov1.EventsRequest{Enclave: enclave, RunId: runID, From: from}))
	})
}

// CancelRun asks a run of the enclave to stop at its next safe point; with a
// blank id, the one that is running. fault.ErrNotFound if it does not run.
func (c *Client) CancelRun(ctx context.Context, enclave, runID string) error {
	_, err := c.own.CancelRun(ctx, connect.NewRequest(&leptov1.CancelRunRequest{Enclave: enclave, RunId: runID}))
	return errwire.Decode(err)
}

func runMessage(req RunRequest) *leptov1.RunRequest {
	m := &leptov1.RunRequest{
		Enclave:         req.Enclave,
		MainFunction:    req.MainFunction,
		ArgsJson:        req.Args,
		DryRun:          req.DryRun,
		Parallelism:     uint32(max(req.Parallelism, 0)),
		PullPolicy:      string(req.PullPolicy),
		AllowPrivileged: req.AllowPrivileged,
		KeepTasks:       req.KeepTasks,
		Parallel:        req.Parallel,
		Workers:         uint32(max(req.Workers, 0)),
		ShuffleSeed:     req.ShuffleSeed,
		Experimental:    req.Experimental,
		OnFailure:       string(req.OnFailure),
		PackageMirror:   req.PackageMirror,
		GitEnvironment:  req.GitEnv,
	}
	switch {
	case req.Dir != "":
		m.Source = &leptov1.RunRequest_Directory_{Directory: &leptov1.RunRequest_Directory{Path: req.Dir, MainFile: req.MainFile}}
	case req.PackageID != "":
		m.Source = &leptov1.RunRequest_PackageId{PackageId: req.PackageID}
	case req.Locator != "":
		m.Source = &leptov1.RunRequest_Remote_{Remote: &leptov1.RunRequest_Remote{Locator: req.Locator, MainFile: req.MainFile}}
	default:
		m.Source = &leptov1.RunRequest_Script_{Script: &leptov1.RunRequest_Script{Name: req.ScriptName, Text: req.Script}}
	}
	return m
}

// events makes the call once per loop over the sequence.
func events(ctx context.Context, call func(context.Context) (*connect.ServerStreamForClient[leptov1.RunEvent], error)) iter.Seq2[run.Event, error] {
	return func(yield func(run.Event, error) bool) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(errLeft) // ends the stream where the loop is left early
		stream, err := call(ctx)
		if err != nil {
			yield(run.Event{}, errwire.Decode(err))
			return
		}
		defer stream.Close()
		for stream.Receive() {
			event, err := run.Decode(stream.Msg().GetEventJson())
			if !yield(event, err) || err != nil {
				return
			}
		}
		if err := stream.Err(); err != nil {
			yield(run.Event{}, lost(err))
		}
	}
}

// lost is the error with which a stream of events ends. One that the engine has
// not sent means that it is gone.
func lost(err error) error {
	var e *connect.Error
	if !errors.As(err, &e) || connect.IsWireError(err) || e.Code() == connect.CodeCanceled || e.Code() == connect.CodeDeadlineExceeded {
		return errwire.Decode(err)
	}
	f := fault.New(CodeEngineLost, "the engine ended while the run went on")
	f.Cause = fmt.Errorf("%s: %w", e.Message(), fault.ErrUnavailable)
	return f.WithHint("run it again in the same enclave: what is done is kept; lepto engine logs may tell why it ended")
}

// CodeEngineLost is the code of a run whose engine is gone.
const CodeEngineLost = "E0709"
