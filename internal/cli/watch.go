package cli

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/lepto-dev/lepto/internal/api/client"
	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/run"
	"github.com/lepto-dev/lepto/internal/ui"
)

// This file follows a run from its first event to its last, with Ctrl-C in
// between: the first one asks the engine to stop the run, the second one leaves
// that to the engine and ends this process.

const (
	// cancelTimeout bounds the request to stop a run.
	cancelTimeout = 10 * time.Second
	// inspectTimeout bounds the look at the enclave after a run.
	inspectTimeout = 10 * time.Second
)

// CodeCutOff is the fault of a run whose end was not seen.
const CodeCutOff = "E0809"

// errDetached is the cause of a context that the user took off its run.
var errDetached = errors.New("detached")

// A watcher is the state of following one run.
type watcher struct {
	d       *deps
	c       *client.Client
	printer ui.Printer
	enclave string

	service string // that a problem was about

	mu        sync.Mutex
	runID     string
	cancelled bool // a cancel is wanted
	asked     bool // and was asked for
	agreed    bool // and the engine has said that it does
	asking    sync.WaitGroup
}

// watch runs a request and shows its events. Its error is what the process ends
// with; a failed run is a silent one. service is the one that failed, if it is
// there to be looked into.
func (o *runOptions) watch(ctx context.Context, d *deps, c *client.Client, req client.RunRequest, printer ui.Printer) (service string, err error) {
	ctx, leave := context.WithCancelCause(ctx)
	defer leave(nil)
	w := &watcher{d: d, c: c, printer: printer, enclave: req.Enclave}
	restore := d.interrupts.handle(func(n int) {
		if n == 1 {
			w.wantCancel(ctx)
			return
		}
		leave(errDetached)
	})
	last, err := w.follow(ctx, req, o.detach)
	restore()
	w.asking.Wait()
	if closeErr := printer.Close(); err == nil {
		err = closeErr
	}
	return w.service, w.outcome(ctx, last, err, o.detach)
}

// follow shows events until the last one, which it gives.
func (w *watcher) follow(ctx context.Context, req client.RunRequest, detach bool) (*run.Done, error) {
	for e, err := range w.c.Run(ctx, req) {
		if err != nil {
			return nil, err
		}
		if err := w.printer.Event(e); err != nil {
			return nil, err
		}
		if e.Error != nil && e.Error.Service != "" {
			w.service = e.Error.Service
		}
		switch {
		case e.Done != nil:
			return e.Done, nil
		case e.Started != nil:
			w.started(ctx, e.Started.RunID)
			if detach {
				return nil, nil
			}
		}
	}
	return nil, nil
}

// lookInto opens a shell in a service that failed, for who has a terminal.
func (d *deps) lookInto(ctx context.Context, c *client.Client, e client.Enclave, service string) {
	if !d.term.InTTY || !d.term.OutTTY {
		d.say("look into it: lepto service shell %s %s", e.Name, service)
		return
	}
	d.say("a shell in service %q, which failed; leave it with exit or Ctrl-D", service)
	spec := backend.ExecSpec{Args: []string{"sh", "-c", findShell}}
	var left *silentError // with the shell's code
	if err := d.execTerminal(ctx, c, e.UUID, service, spec); err != nil && !errors.As(err, &left) {
		d.warn("a shell in service %q: %v", service, err)
	}
}

// outcome says what the process ends with.
func (w *watcher) outcome(ctx context.Context, last *run.Done, err error, detach bool) error {
	switch {
	case errors.Is(context.Cause(ctx), errDetached):
		what := "goes on"
		if w.stopping() {
			what = "still has to stop"
		}
		w.d.say("the run %s in the engine; look at it with: lepto enclave inspect %s", what, w.enclave)
		return silent(exitInterrupted)
	case err != nil:
		return err
	case last == nil && detach && w.runID != "":
		w.d.say("run %s goes on in the engine", w.runID)
		return nil
	case last == nil:
		return fault.New(CodeCutOff, "the events of the run ended before the run did").
			WithHint("the engine may have been stopped: lepto engine status")
	case last.Cancelled:
		return silent(exitInterrupted)
	case !last.OK:
		return silent(exitFailure)
	}
	return nil
}

// started notes the run's id, and stops the run if that was wanted before.
func (w *watcher) started(ctx context.Context, runID string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.runID = runID
	w.ask(ctx)
}

// wantCancel stops the run, as soon as it is known.
func (w *watcher) wantCancel(ctx context.Context) {
	w.printer.Note("stopping at the next safe point; Ctrl-C again leaves that to the engine")
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cancelled = true
	w.ask(ctx)
}

// stopping says whether the engine stops the run. A request that it has not answered
// goes with this process.
func (w *watcher) stopping() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.agreed
}

// ask sends the request to stop, once. The caller holds mu.
func (w *watcher) ask(ctx context.Context) {
	if !w.cancelled || w.asked || w.runID == "" {
		return
	}
	w.asked = true
	runID := w.runID
	w.asking.Go(func() {
		bounded, cancel := context.WithTimeoutCause(ctx, cancelTimeout, fault.ErrTimeout)
		defer cancel()
		err := w.c.CancelRun(bounded, w.enclave, runID)
		w.mu.Lock()
		w.agreed = err == nil
		w.mu.Unlock()
		// A run that is not there any more has ended by itself.
		if err != nil && !errors.Is(err, fault.ErrNotFound) && context.Cause(ctx) == nil {
			w.printer.Note("stop the run: " + err.Error())
		}
	})
}

// after shows the enclave once the run is over, however it ended.
func (o *runOptions) after(d *deps, c *client.Client, e client.Enclave, made bool) {
	if o.output.json() {
		return
	}
	if made {
		d.spotlight("Created enclave: " + e.Name)
	}
	if !o.showInspect {
		return
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), inspectTimeout, fault.ErrTimeout)
	defer cancel()
	detail, err := c.Enclave(ctx, e.UUID)
	if err == nil {
		err = d.writeEnclave(detail, o.fullUUIDs)
	}
	if err != nil {
		d.warn("look at enclave %q: %v", e.Name, err)
	}
}
