package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/plan"
)

// This file is the second phase: the whole plan is checked, and the images it
// needs are made available.

const (
	// imagesAtOnce bounds how many images are pulled or built together.
	imagesAtOnce = 4
	// imagePause bounds how often the progress of an image is told.
	imagePause = 250 * time.Millisecond
)

// wanted is an image and the call that needs it first.
type wanted struct {
	image enclave.Image
	call  plan.Call
}

// validate checks the plan; every problem is told.
func (x *execution) validate(ctx context.Context) bool {
	x.enter(Validation, len(x.plan.Steps))
	forecast := plan.NewForecast(x.forecast())
	images, errs := check(x.plan.Steps, forecast)
	for _, err := range errs {
		x.failStep(err)
	}
	if len(errs) > 0 {
		return false // a plan that can't run downloads nothing
	}
	errs = append(x.ensure(ctx, images), x.fetch(ctx)...)
	if ctx.Err() != nil {
		return false
	}
	for _, err := range errs {
		x.failStep(err)
	}
	return len(errs) == 0
}

// failStep tells of an error of a step that has not begun.
func (x *execution) failStep(err error) {
	var step *plan.StepError
	if errors.As(err, &step) {
		x.fail(step.Call.ID, err)
		return
	}
	x.fail("", err)
}

// forecast gives the enclave as it is now.
func (x *execution) forecast() plan.ForecastInput {
	in := plan.ForecastInput{
		Services:     map[string]map[string]enclave.Port{},
		UUIDs:        map[string]string{},
		Capabilities: x.backend.Capabilities(),
		StrictNames:  x.req.StrictNames,
		KeepTasks:    x.req.KeepTasks,
	}
	for _, s := range x.enclave.Services() {
		if s.Config.Task {
			in.Tasks = append(in.Tasks, s.Name)
		}
		in.Services[s.Name], in.UUIDs[s.UUID] = s.Config.Ports, s.Name
	}
	for _, a := range x.enclave.Artifacts() {
		in.Artifacts = append(in.Artifacts, a.Name)
	}
	if !x.req.SkipResourceCheck {
		in.CPUMillis, in.MemoryMB = x.enclave.Room()
	}
	return in
}

// check validates the steps in order, and gives the images they need with the
// call that needs each first.
func check(steps []plan.Step, forecast *plan.Forecast) (images []wanted, errs []error) {
	for i, step := range steps {
		before := len(forecast.Images())
		errs = append(errs, plan.Validate(steps[i:i+1], forecast)...)
		for _, image := range forecast.Images()[before:] {
			images = append(images, wanted{image, step.Call()})
		}
	}
	return images, errs
}

// ensure makes images available, some at once, and gives every failure, in the
// order of the plan.
func (x *execution) ensure(ctx context.Context, images []wanted) []error {
	failures := make([]error, len(images))
	var group errgroup.Group
	group.SetLimit(imagesAtOnce)
	for i, w := range images {
		group.Go(func() error {
			err := x.guard(fault.CodeInternal, fmt.Sprintf("image %q", w.image.Ref), func() error { return x.ensureOne(ctx, w) })
			if err != nil {
				f := *fault.From(err, "E0352")
				failures[i] = &plan.StepError{Call: w.call, Fault: f.WithFrames(w.call.Stack...)}
			}
			return nil
		})
	}
	_ = group.Wait() // failures are gathered by index
	var errs []error
	for _, err := range failures {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// fetch gets what steps need from outside, and gives every failure, in the order
// of the plan.
func (x *execution) fetch(ctx context.Context) []error {
	progress := func(text string) { x.stream.emit(Event{Kind: KindProgress, Progress: &Progress{Text: text}}) }
	releases, failures := make([]func(), len(x.plan.Steps)), make([]error, len(x.plan.Steps))
	var group errgroup.Group
	group.SetLimit(imagesAtOnce)
	for i, step := range x.plan.Steps {
		fetcher, ok := step.(plan.Fetcher)
		if !ok {
			continue
		}
		group.Go(func() error {
			call := step.Call()
			err := x.guard(fault.CodeInternal, call.Name, func() (err error) {
				releases[i], err = fetcher.Fetch(ctx, x.enclave, progress)
				return err
			})
			if err != nil {
				f := *fault.From(err, "E0372")
				failures[i] = &plan.StepError{Call: call, Fault: f.WithFrames(call.Stack...)}
			}
			return nil
		})
	}
	_ = group.Wait() // failures are gathered by index
	none := func(release func()) bool { return release == nil }
	x.releases = slices.DeleteFunc(releases, none)
	return slices.DeleteFunc(failures, func(err error) bool { return err == nil })
}

func (x *execution) ensureOne(ctx context.Context, w wanted) error {
	ref := w.image.Ref
	tell := func(i Image) {
		i.Ref = ref
		x.stream.emit(Event{Kind: KindImage, Image: &i})
	}
	tell(Image{})
	info, err := x.enclave.EnsureImage(ctx, w.image, x.req.PullPolicy, throttled(x.runner.deps.Now, func(done, total int64) {
		tell(Image{Bytes: done, Total: total})
	}))
	if err != nil {
		return err
	}
	x.digested(ref, info.Digest)
	warning := info.Warning
	if runs := x.backend.Capabilities().Architecture; runs != "" && info.Architecture != "" && info.Architecture != runs {
		warning = fmt.Sprintf("image %q is built for %s, but this host runs %s: it may not start, or be slow", ref, info.Architecture, runs)
	}
	tell(Image{Done: true, Source: string(info.Source), Warning: warning, Bytes: info.SizeBytes, Total: info.SizeBytes})
	return nil
}

// digested notes the digest of an image that is available.
func (x *execution) digested(ref, digest string) {
	x.digestsMu.Lock()
	defer x.digestsMu.Unlock()
	if x.digests == nil {
		x.digests = map[string]string{}
	}
	x.digests[ref] = digest
}

// throttled gives a progress function that passes on a call now and then.
func throttled(now func() time.Time, tell func(done, total int64)) backend.ProgressFunc {
	var mu sync.Mutex
	var last time.Time
	return func(_ string, done, total int64) {
		mu.Lock()
		defer mu.Unlock()
		if t := now(); t.Sub(last) >= imagePause {
			last = t
			tell(done, total)
		}
	}
}
