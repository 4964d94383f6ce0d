package native

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/image"
)

// LevelTrace is the level of the log records with the time that steps took.
const LevelTrace = slog.LevelDebug - 4

// span logs how long a step took.
func (e *Enclave) span(ctx context.Context, step string, service backend.ServiceName, began time.Time) {
	e.b.log.Log(ctx, LevelTrace, "step", "step", step, "enclave", e.id.Short(), "service", service, "took", time.Since(began))
}

// Start runs a service. What it makes, in this order: the reservation, the
// service's folder with its record, its network and ports, its container; then
// the record says that it was started. A crash in between leaves a record that
// says otherwise, and whoever opens the enclave next removes the service.
func (e *Enclave) Start(ctx context.Context, spec backend.ServiceSpec) error {
	began := time.Now()
	ctx, done, err := e.enter(ctx, spec.Name, startBound, "start")
	if err != nil {
		return err
	}
	defer done()
	defer e.span(ctx, "start", spec.Name, began)
	if _, err := e.find(ctx, spec.Name); err == nil {
		return fmt.Errorf("service %q: %w", spec.Name, fault.ErrExists)
	}
	s, err := e.settleIn(ctx, spec)
	if err != nil {
		return e.startFailed(ctx, spec.Name, err)
	}
	e.mu.Lock()
	e.services[spec.Name] = s
	e.mu.Unlock()
	e.watch(spec.Name, s)
	return nil
}

// settleIn finds a place for a service and makes it there. A vacant place that
// turns out to have no supervisor any more is given up, and another one made.
func (e *Enclave) settleIn(ctx context.Context, spec backend.ServiceSpec) (*service, error) {
	v, err := e.lodge(spec)
	if err != nil {
		return nil, err
	}
	s, err := e.make(ctx, spec, v)
	if !isVacated(v, err) {
		return s, err
	}
	if err := e.discard(ctx, spec.Name, false); err != nil {
		return nil, err
	}
	return e.make(ctx, spec, vacancy{place: spec.Name})
}

// startFailed takes back what a Start has made, all but the reservation.
func (e *Enclave) startFailed(ctx context.Context, name backend.ServiceName, err error) error {
	if errors.Is(err, errCrash) || e.life.Err() != nil {
		return err // Destroy, or whoever opens the enclave next, cleans up
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause // what failed, failed for that
	}
	clean, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), removeBound, fmt.Errorf("clean up after service %q: %w", name, fault.ErrTimeout))
	defer cancel()
	if left := e.discard(clean, name, false); left != nil {
		e.b.log.Error("a service that could not be started is not removed completely", "enclave", e.id.Short(), "service", name, "err", left)
	}
	return err
}

// make records a service, makes it and runs it, in its place.
func (e *Enclave) make(ctx context.Context, spec backend.ServiceSpec, v vacancy) (*service, error) {
	// While the image has no record that says it is in use, nobody may collect
	// its layers.
	release, err := e.b.images.Hold(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	img, err := e.b.resolveImage(spec)
	if err != nil {
		return nil, err
	}
	s := &service{gone: make(chan struct{}), dir: e.container(spec.Name), doc: merge(spec, img)}
	s.doc.Phase = phaseStarting
	if err := e.record(s, v.handle == nil); err != nil {
		return nil, diskFault(fmt.Sprintf("start service %q", spec.Name), err)
	}
	if err := e.b.reach("recorded"); err != nil {
		return nil, err
	}
	if err := e.run(ctx, s, img, v); err != nil {
		return nil, err
	}
	if err := e.b.reach("launched"); err != nil {
		return nil, err
	}
	s.doc.Phase = phaseStarted
	if err := s.save(); err != nil {
		return nil, diskFault(fmt.Sprintf("start service %q", spec.Name), err)
	}
	return s, nil
}

// run makes a service's network and its container.
func (e *Enclave) run(ctx context.Context, s *service, img *image.Image, v vacancy) error {
	spec, vacant := s.doc.Spec, v.handle != nil
	network := func() (string, error) { return e.attach(ctx, spec) }
	if vacant {
		network = func() (string, error) { return e.endpointOf(ctx, spec.Name) }
	}
	netns, err := network()
	if err != nil {
		return diskFault(fmt.Sprintf("start service %q", spec.Name), err)
	}
	plan, err := e.plan(s.doc, img, e.addressOf(spec.Name), netns)
	if err != nil {
		return err
	}
	if err := e.b.reach("attached"); err != nil {
		return err
	}
	if vacant {
		return e.fill(ctx, s, v, plan)
	}
	return e.launch(ctx, s, plan)
}

// record makes a service's folder, afresh unless it takes one over, and writes its record.
func (e *Enclave) record(s *service, fresh bool) error {
	if fresh {
		// The folder of a service that was removed may still be there in part.
		if err := removeTree(s.dir); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(s.dir, "void"), 0o755); err != nil {
		return err
	}
	return s.save()
}

func (s *service) save() error { return supervise.WriteJSON(filepath.Join(s.dir, serviceFile), s.doc) }

// attach makes the service's network namespace and, meanwhile, its name and its
// published ports known.
func (e *Enclave) attach(ctx context.Context, spec backend.ServiceSpec) (netns string, err error) {
	n, err := e.connect(ctx)
	if err != nil {
		return "", err
	}
	ip := e.addressOf(spec.Name).IP
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() (err error) {
		defer e.span(ctx, "endpoint", spec.Name, time.Now())
		netns, err = e.endpoint(ctx, n, spec.Name, ip)
		return err
	})
	work.Go(func() error {
		defer e.span(ctx, "publish", spec.Name, time.Now())
		return e.board.set(ctx, spec.Name, rulesOf(spec, ip))
	})
	return netns, work.Wait()
}

// launch runs the container.
func (e *Enclave) launch(ctx context.Context, s *service, plan supervise.Spec) error {
	defer e.span(ctx, "launch", s.doc.Spec.Name, time.Now())
	h, err := e.b.launcher.Start(ctx, plan)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return diskFault(fmt.Sprintf("start service %q", s.doc.Spec.Name), withName(err, s.doc.Spec.Name))
	}
	s.mu.Lock()
	s.handle = h
	s.mu.Unlock()
	return nil
}

// withName puts the service's name into a fault of its container.
func withName(err error, name backend.ServiceName) error {
	var f *fault.Fault
	if !errors.As(err, &f) {
		return err
	}
	named := *f
	named.Summary = fmt.Sprintf("start service %q: %s", name, f.Summary)
	return &named
}

// discard removes all of a service, and with forget its reservation. It works on
// what is half made or half removed. The address is free, and the name unknown,
// only once nothing uses them any more; the record goes last.
func (e *Enclave) discard(ctx context.Context, name backend.ServiceName, forget bool) error {
	place := e.places.at(name)
	dir := e.container(name)
	if err := e.b.endContainer(ctx, dir, e.cgroup()+"/"+string(place)); err != nil {
		return err
	}
	n, err := e.connect(ctx)
	if err != nil {
		return err
	}
	if err := n.RemoveEndpoint(ctx, string(place)); err != nil {
		return err
	}
	if place != name {
		if err := e.unreserve(place); err != nil {
			return err
		}
	}
	if forget {
		if err := e.unreserve(name); err != nil {
			return err
		}
	}
	if err := e.board.set(ctx, name, nil); err != nil {
		return err
	}
	if err := removeContainer(dir); err != nil {
		return err
	}
	e.places.unsettle(name)
	return nil
}

// gonePrefix begins the names of containers' folders that are being deleted.
const gonePrefix = ".gone-"

// removeContainer deletes a container's folder. It loses its name first, in one
// step: who looks for it meanwhile, such as a follower of its log, finds all of
// it or nothing.
func removeContainer(dir string) error {
	gone := filepath.Join(filepath.Dir(dir), gonePrefix+filepath.Base(dir))
	if err := removeTree(gone); err != nil {
		return err
	}
	if err := os.Rename(dir, gone); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return removeTree(gone)
}

// endContainer ends the container of a folder, if there is one. Where its
// supervisor can't do that, nor a new one, it is done without: by its cgroup.
func (b *Backend) endContainer(ctx context.Context, dir, cgroup string) error {
	h, err := b.launcher.Adopt(ctx, dir)
	if errors.Is(err, fault.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = h.Destroy(ctx)
	}
	if err == nil || ctx.Err() != nil {
		return err
	}
	b.log.Warn("a container does not end the usual way", "dir", dir, "err", err)
	if pid := supervisorOf(dir); pid != 0 {
		unix.Kill(pid, unix.SIGKILL)
		if err := awaitProcess(ctx, pid); err != nil {
			return err
		}
	}
	return sweepCgroups(ctx, cgroup)
}
