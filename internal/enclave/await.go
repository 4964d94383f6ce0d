package enclave

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
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
	// tryTime bounds one try, and answerTime that for an answer by HTTP.
	tryTime    = time.Second
	answerTime = 10 * time.Second
	// patience is how long a port may end connections unanswered before it
	// counts as open: it may be no HTTP, in spite of its application protocol.
	patience = 2 * time.Second
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
// be refused, and nothing here speaks SCTP: such a port counts as open at once.
func waits(cfg ServiceConfig) []portWait {
	var out []portWait
	for _, id := range slices.Sorted(maps.Keys(cfg.Ports)) {
		if p := cfg.Ports[id]; p.Wait > 0 && p.Transport != backend.UDP && p.Transport != backend.SCTP {
			out = append(out, portWait{id, p})
		}
	}
	return out
}

// exitedError is the cause with which waits end when the process does.
type exitedError struct{ exit backend.Exit }

func (e exitedError) Error() string { return fmt.Sprintf("exited with code %d", e.exit.Code) }

// closedError is the cause with which the wait for a port runs out.
type closedError struct{ wait portWait }

func (e closedError) Error() string {
	return fmt.Sprintf("port %v never opened in %v", e.wait, e.wait.port.Wait)
}

// awaitPorts waits for the ports of a service that has just started.
func (e *Enclave) awaitPorts(ctx context.Context, handle backend.Enclave, row *serviceRow, opts AddOptions) error {
	ports := waits(row.Config)
	if len(ports) == 0 {
		return nil
	}
	watched, stop := e.watch(ctx, handle, row.Name, asExited)
	defer stop()
	pending, err := waitPorts(watched, handle, row.Name, ports, opts.Progress)
	if err != nil {
		return e.waitFault(ctx, handle, row, pending, err)
	}
	return nil
}

// awaitReady waits until a service whose ports are open is ready.
func (e *Enclave) awaitReady(ctx context.Context, handle backend.Enclave, row *serviceRow, opts AddOptions) error {
	watched, stop := e.watch(ctx, handle, row.Name, asExited)
	defer stop()
	if err := opts.Ready(watched, row.service()); err != nil {
		var exited exitedError
		if errors.As(context.Cause(watched), &exited) {
			err = exited
		}
		return e.waitFault(ctx, handle, row, nil, err)
	}
	return nil
}

func asExited(exit backend.Exit) error { return exitedError{exit} }

// watch gives a context that ends when the service's process does, with the cause
// that it is told. In production a process that ends is started again, which is no
// reason to give up.
func (e *Enclave) watch(ctx context.Context, handle backend.Enclave, name string, cause func(backend.Exit) error) (context.Context, func()) {
	watched, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	if !e.row().Production {
		wg.Go(func() {
			if exit, err := handle.Wait(watched, backend.ServiceName(name)); err == nil {
				cancel(cause(exit))
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
		slow := time.AfterFunc(moment, func() { progress(fmt.Sprintf("waiting for port %v of service %q, up to %v", w, name, w.port.Wait)) })
		defer slow.Stop()
	}
	var hungUp time.Time // since when it takes connections and ends them unanswered
	for pause := firstRetry; ; pause = min(2*pause, lastRetry) {
		err := tryPort(ctx, handle, name, w)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, errHungUp):
			hungUp = time.Time{}
		case hungUp.IsZero():
			hungUp = time.Now()
		case time.Since(hungUp) >= patience:
			return nil // whatever it speaks, it is there
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// errHungUp: a port took a request and ended the connection without an answer.
var errHungUp = errors.New("it ends the connection without an answer")

// tryPort opens a connection and, where HTTP is spoken, gets an answer.
func tryPort(ctx context.Context, handle backend.Enclave, name string, w portWait) error {
	opening, cancel := context.WithTimeoutCause(ctx, tryTime, fault.ErrTimeout)
	defer cancel()
	conn, err := handle.Dial(opening, backend.ServiceName(name), w.port.Transport, w.port.Number)
	if err != nil {
		return err
	}
	defer conn.Close()
	if w.port.Application != "http" || w.port.Transport != backend.TCP {
		return nil
	}
	return tryHTTP(ctx, conn, fmt.Sprintf("%s:%d", name, w.port.Number))
}

// tryHTTP sends a request and waits for the first byte of an answer: any answer,
// also that of a server that has no such page or speaks another version.
func tryHTTP(ctx context.Context, conn net.Conn, host string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, answerTime, fault.ErrTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	_, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nUser-Agent: lepto\r\nConnection: close\r\n\r\n", host)
	if err == nil {
		_, err = conn.Read(make([]byte, 1))
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("it does not answer: %w", context.Cause(ctx))
	}
	return errHungUp
}
