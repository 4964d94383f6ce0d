//go:build !front

package cli

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/instruction"
	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/lang/types"
	"github.com/lepto-dev/lepto/internal/run"
	"github.com/lepto-dev/lepto/internal/source"
	"github.com/lepto-dev/lepto/internal/ui"
)

// This file interprets and validates in this process, for lepto plan and for a
// dry run that has no enclave to be tried on. No engine takes part and nothing
// is changed.

// plan makes the plan of a target. What is wrong with it is among its Problems;
// there is no package where the target itself can't be read.
func (o *codeOptions) plan(ctx context.Context, d *deps, what target, argsJSON string) (planned run.Planned, pkg *source.Package) {
	fetcher, err := o.fetcher(d)
	if err == nil {
		pkg, err = what.open(ctx, o.mainFile, fetcher)
	}
	if err != nil {
		p := ui.ProblemOf(err)
		p.Phase = run.Interpretation
		return run.Planned{Problems: []*run.Problem{&p}}, nil
	}
	host := lang.NewHost(instruction.All(), types.All())
	return run.Plan(ctx, host, run.Request{
		Package: pkg, MainFunction: o.mainFunction, Args: argsJSON, DryRun: true, AllowPrivileged: o.privileged,
		EnclaveVars: d.getenv(lang.EnclaveVarsVariable),
	}, backend.Capabilities{}), pkg
}

// planEvents gives a plan as the events of a dry run.
func planEvents(planned run.Planned, now time.Time) []run.Event {
	var events []run.Event
	add := func(e run.Event) {
		e.Seq, e.At = uint64(len(events)+1), now
		events = append(events, e)
	}
	started := run.Started{DryRun: true}
	if planned.Plan != nil {
		started.Package = planned.Plan.PackageID
	}
	add(run.Event{Kind: run.KindStarted, Started: &started})
	add(run.Event{Kind: run.KindPhase, Phase: &run.Phase{Name: run.Interpretation}})
	if planned.Plan != nil {
		for _, text := range planned.Plan.Warnings {
			add(run.Event{Kind: run.KindWarning, Warning: &run.Notice{Text: text}})
		}
		add(run.Event{Kind: run.KindPlan, Plan: &run.Ready{Steps: planned.Steps}})
		add(run.Event{Kind: run.KindPhase, Phase: &run.Phase{Name: run.Validation, Steps: len(planned.Steps)}})
	}
	for _, p := range planned.Problems {
		add(run.Event{Kind: run.KindError, Error: p})
	}
	done := run.Done{OK: len(planned.Problems) == 0, DryRun: true}
	if done.OK {
		done.Output = planned.Plan.Output
		add(run.Event{Kind: run.KindPhase, Phase: &run.Phase{Name: run.Execution, Steps: len(planned.Steps)}})
		for i := range planned.Steps {
			add(run.Event{Kind: run.KindBegin, Step: planned.Steps[i].ID, Begin: &planned.Steps[i]})
		}
	}
	add(run.Event{Kind: run.KindDone, Done: &done})
	return events
}

// dryRunHere shows a dry run that needs no engine.
func (o *runOptions) dryRunHere(ctx context.Context, d *deps, what target, argsJSON string, printer ui.Printer) error {
	planned, _ := o.plan(ctx, d, what, argsJSON)
	if err := context.Cause(ctx); err != nil {
		return err
	}
	for _, e := range planEvents(planned, time.Now().UTC()) {
		if err := printer.Event(e); err != nil {
			return err
		}
	}
	if err := printer.Close(); err != nil {
		return err
	}
	if len(planned.Problems) > 0 {
		return silent(exitFailure)
	}
	return nil
}

// fetcher gives what fetches packages for a plan made by this process. Clones are
// kept in the user's cache, since a plan needs no engine and no home of one.
func (o *codeOptions) fetcher(d *deps) (source.Fetcher, error) {
	mirror, err := o.mirrorDir(d)
	if err != nil {
		return nil, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = filepath.Join(d.home, "cache")
	}
	return source.NewFetcher(mirror, filepath.Join(cache, "lepto", "git"), nil), nil
}

// open gives the target as a package, for a plan made by this process.
func (t target) open(ctx context.Context, mainFile string, fetcher source.Fetcher) (*source.Package, error) {
	switch {
	case t.locator != "":
		return source.OpenRemote(ctx, t.locator, mainFile, fetcher)
	case t.dir != "":
		return source.OpenDir(t.dir, mainFile, source.WithFetcher(fetcher))
	}
	return source.OpenScript(t.name, t.script, source.WithFetcher(fetcher)), nil
}
