package enclave

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file waits until a started service is there for others: its ports open,
// its readiness condition holding, its process not ended.

const (
	// firstRetry and lastRetry bound the pause between tries to open a port: it
	// doubles from one to the other, so that a port that opens soon is noticed
	// within milliseconds, and one that takes long costs little.
	firstRetry = 2 * time.Millisecond
	lastRetry  = 250 * time.Millisecond
	// tryTime bounds one try.
	tryTime = time.Second
	// moment is how long a wait takes before progress tells of it.
	moment = 500 * time.Millisecond
)

// portWait is a port that is waited for.
type portWait struct {
	id   string
	port Port
}

func (w portWait) String() string { return fmt.Sprintf("%d (%s)", w.port.Number, w.id) }

// waits lists the ports to wait for, by id. UDP has no connections that could
// be refused: such a port counts as open at once.
func waits(cfg ServiceConfig) []portWait {
	var out []portWait
	for _, id := range slices.Sorted(maps.Keys(cfg.Ports)) {
		if p := cfg.Ports[id]; p.Wait > 0 && p.Transport != backend.UDP {
			out = append(out, portWait{id, p})
		}
	}
	return out
}

// CheckWaits refuses waits that can't succeed, one error for each.
func CheckWaits(service string, cfg ServiceConfig) []error {
	var errs []error
	for _, w := range waits(cfg) {
		if w.port.Transport == backend.SCTP {
			errs = append(errs, fault.New("E0336", "port %v of service %q is SCTP, which can't be waited for", w, service).
				WithHint("set wait = None in its PortSpec"))
		}
	}
	return errs
}

// exitedError is the cause with which waits end when the process does.
type exitedError struct{ exit backend.Exit }

func (e exitedError) Error() string { return fmt.Sprintf("exited with code %d", e.exit.Code) }

// closedError is the cause with which the wait for a port runs out.
type closedError struct{ wait portWait }

func (e closedError) Error() string {
	return fmt.Sprintf("port %v never opened in %v", e.wait, e.wait.port.Wait)
}

// await waits for a service that has just started.
func (e *Enclave) await(ctx context.Context, handle backend.Enclave, row *serviceRow, opts AddOptions) error {
	ports := waits(row.Config)
	if len(ports) == 0 && opts.Ready == nil {
		return nil
	}
	watched, stop := e.watch(ctx, handle, row.Name)
	defer stop()
	pending, err := waitPorts(watched, handle, row.Name, ports, opts.Progress)
	if err != nil {
		return e.waitFault(ctx, handle, row, pending, err)
	}
	if opts.Ready == nil {
		return nil
	}
	if err := opts.Ready(watched, row.service()); err != nil {
		var exited exitedError
		if errors.As(context.Cause(watched), &exited) {
			err = exited
		}
		return e.waitFault(ctx, handle, row, nil, err)
	}
	return nil
}

// watch gives a context that ends when the service's process does. In
// production a process that ends is started again, which is no reason to give up.
func (e *Enclave) watch(ctx context.Context, handle backend.Enclave, name string) (context.Context, func()) {
	watched, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	if !e.row().Production {
		wg.Go(func() {
			if exit, err := handle.Wait(watched, backend.ServiceName(name)); err == nil {
				cancel(exitedError{exit})
			}
		})
	}
	return watched, func() {
		cancel(nil)
		wg.Wait()
	}
}

// waitPorts waits for all ports together. On failure it gives those not open yet.
func waitPorts(ctx context.Context, handle backend.Enclave, name string, ports []portWait, progress func(string)) ([]portWait, error) {
	var mu sync.Mutex
	pending := slices.Clone(ports)
	group, ctx := errgroup.WithContext(ctx)
	for _, w := range ports {
		group.Go(func() error {
			if err := waitPort(ctx, handle, name, w, progress); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			pending = slices.DeleteFunc(pending, func(p portWait) bool { return p.id == w.id })
			return nil
		})
	}
	err := group.Wait()
	return pending, err
}

// waitPort tries to open a port until that succeeds, its time is over, or ctx ends.
func waitPort(ctx context.Context, handle backend.Enclave, name string, w portWait, progress func(string)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, w.port.Wait, closedError{w})
	defer cancel()
	if progress != nil {
		slow := time.AfterFunc(moment, func() { progress(fmt.Sprintf("waiting for port %v of service %q", w, name)) })
		defer slow.Stop()
	}
	for pause := firstRetry; ; pause = min(2*pause, lastRetry) {
		if tryPort(ctx, handle, name, w) {
			return nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func tryPort(ctx context.Context, handle backend.Enclave, name string, w portWait) bool {
	ctx, cancel := context.WithTimeoutCause(ctx, tryTime, fault.ErrTimeout)
	defer cancel()
	conn, err := handle.Dial(ctx, backend.ServiceName(name), w.port.Transport, w.port.Number)
	if err != nil {
		return false
	}
	_ = conn.Close() // it was opened only to see that it can be
	return true
}
