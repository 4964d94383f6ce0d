package native

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/network"
	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file makes enclaves, and finds them again.

// errCrash is what failpoints give: the step's error is not cleaned up after, as
// if the process had died.
var errCrash = errors.New("crashed at a failpoint")

// CreateEnclave makes an enclave, or completes the one that is there.
func (b *Backend) CreateEnclave(ctx context.Context, spec backend.EnclaveSpec) (backend.Enclave, error) {
	if !validID(spec.ID) {
		return nil, fmt.Errorf("enclave id %q: %w", spec.ID, fault.ErrInvalid)
	}
	b.seat.await()
	release, err := b.opening.One(ctx, spec.ID)
	if err != nil {
		return nil, err
	}
	defer release()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if e := b.held(spec.ID); e != nil {
		return e, nil
	}
	if _, err := os.Lstat(b.dir(spec.ID)); err == nil {
		return b.open(ctx, spec)
	}
	e, err := b.create(ctx, spec)
	if err == nil || errors.Is(err, errCrash) {
		return e, err
	}
	clean, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), removeBound, fmt.Errorf("clean up: %w", fault.ErrTimeout))
	defer cancel()
	if left := b.erase(clean, spec.ID); left != nil {
		b.log.Error("an enclave that could not be made is not removed completely", "enclave", spec.ID.Short(), "err", left)
	}
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	return nil, diskFault(fmt.Sprintf("create enclave %q", spec.ID.Short()), err)
}

// create makes the folder, the record and the network, in this order.
func (b *Backend) create(ctx context.Context, spec backend.EnclaveSpec) (backend.Enclave, error) {
	began := time.Now()
	if err := os.Mkdir(b.dir(spec.ID), 0o700); err != nil {
		return nil, err
	}
	if err := b.reach("folder"); err != nil {
		return nil, err
	}
	var refused []netip.Prefix
	for {
		doc, err := b.choose(spec, refused)
		if err != nil {
			return nil, err
		}
		if err := b.reach("enclave recorded"); err != nil {
			return nil, err
		}
		e := newEnclave(b, spec.ID, doc)
		n, err := network.Create(ctx, e.networkConfig())
		if errors.Is(err, fault.ErrExists) && len(refused) < 8 {
			refused = append(refused, doc.Subnet) // someone else was faster
			continue
		}
		if err != nil {
			return nil, err
		}
		e.net = n
		if err := b.reach("network"); err != nil {
			return nil, errors.Join(err, e.close())
		}
		b.hold(e)
		e.begin()
		e.span(ctx, "create enclave", "", began)
		return e, nil
	}
}

// choose finds a subnet for an enclave and writes its record.
func (b *Backend) choose(spec backend.EnclaveSpec, refused []netip.Prefix) (enclaveDoc, error) {
	b.subnets.Lock()
	defer b.subnets.Unlock()
	taken := append(b.takenSubnets(spec.ID), refused...)
	subnet, err := network.ChooseSubnet(taken)
	if err != nil {
		return enclaveDoc{}, err
	}
	doc := enclaveDoc{Spec: spec, Subnet: subnet}
	return doc, supervise.WriteJSON(filepath.Join(b.dir(spec.ID), enclaveFile), doc)
}

// takenSubnets reads the subnets of all other enclaves, suspended ones too.
func (b *Backend) takenSubnets(but backend.EnclaveID) []netip.Prefix {
	var out []netip.Prefix
	for _, file := range b.found("*/" + enclaveFile) {
		var doc enclaveDoc
		if err := readJSON(file, &doc); err == nil && doc.Spec.ID != but && doc.Subnet.IsValid() {
			out = append(out, doc.Subnet)
		}
	}
	return out
}

// OpenEnclave finds an enclave again.
func (b *Backend) OpenEnclave(ctx context.Context, id backend.EnclaveID) (backend.Enclave, error) {
	if !validID(id) {
		return nil, fmt.Errorf("enclave %q: %w", id, fault.ErrNotFound)
	}
	b.seat.await()
	release, err := b.opening.One(ctx, id)
	if err != nil {
		return nil, err
	}
	defer release()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if e := b.held(id); e != nil {
		return e, nil
	}
	if _, err := os.Lstat(b.dir(id)); err != nil {
		return nil, fmt.Errorf("enclave %q: %w", id.Short(), fault.ErrNotFound)
	}
	return b.open(ctx, backend.EnclaveSpec{ID: id})
}

// open makes a handle on the enclave of a folder, and mends what it finds.
func (b *Backend) open(ctx context.Context, spec backend.EnclaveSpec) (backend.Enclave, error) {
	began := time.Now()
	var doc enclaveDoc
	err := readJSON(filepath.Join(b.dir(spec.ID), enclaveFile), &doc)
	if err != nil || doc.Spec.ID != spec.ID || !doc.Subnet.IsValid() {
		// The process died before it had written the record: nothing else is there.
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			b.log.Warn("the enclave's record is unreadable, it gets a new one", "enclave", spec.ID.Short(), "err", err)
		}
		if doc, err = b.choose(spec, nil); err != nil {
			return nil, diskFault(fmt.Sprintf("open enclave %q", spec.ID.Short()), err)
		}
	}
	e := newEnclave(b, spec.ID, doc)
	if doc.Doomed {
		e.end(e.gone())
		b.hold(e)
		return e, nil
	}
	if err := e.mend(ctx); err != nil {
		return nil, errors.Join(err, e.close())
	}
	b.hold(e)
	e.begin()
	e.span(ctx, "open enclave", "", began)
	return e, nil
}

// begin starts the handle's own goroutines.
func (e *Enclave) begin() {
	e.work.Go(e.watchGateway)
	e.work.Go(e.watchRelay)
	for name, s := range e.all() {
		e.watch(name, s)
	}
}

// mend opens the network, re-adopts the services and removes what is half made.
// An enclave whose network can't be had is still opened: it can be looked at
// and destroyed.
func (e *Enclave) mend(ctx context.Context) error {
	ctx, cancel := e.bounded(ctx, startBound, fmt.Sprintf("open enclave %q", e.id.Short()))
	defer cancel()
	var networkErr error
	var work sync.WaitGroup
	work.Go(func() { _, networkErr = e.connect(ctx) })
	half, err := e.adopt(ctx)
	work.Wait()
	if err != nil || ctx.Err() != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	if networkErr != nil {
		e.b.log.Error("the enclave's network can't be repaired", "enclave", e.id.Short(), "err", networkErr)
		return nil
	}
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for name := range e.all() {
		group.Go(func() error { return e.reattach(within, name) })
	}
	for name, reserved := range half {
		group.Go(func() error { return e.dropHalf(within, name, reserved) })
	}
	err = group.Wait()
	if err == nil {
		err = e.board.refresh(ctx)
	}
	if err != nil {
		e.b.log.Error("the enclave is not mended completely", "enclave", e.id.Short(), "err", err)
	}
	return nil
}

// dropHalf removes a service that is half made, or half removed: then its
// reservation as well.
func (e *Enclave) dropHalf(ctx context.Context, name backend.ServiceName, keep bool) error {
	e.b.log.Info("removing a half-made service", "enclave", e.id.Short(), "service", name)
	if err := e.discard(ctx, name, !keep); err != nil {
		return fmt.Errorf("half-made service %q: %w", name, err)
	}
	return nil
}

// adopt finds all services of the folder. It gives those that are half made,
// with whether their reservation stays.
func (e *Enclave) adopt(ctx context.Context) (half map[backend.ServiceName]bool, err error) {
	entries, err := os.ReadDir(filepath.Join(e.dir, containersDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	half = map[backend.ServiceName]bool{}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), gonePrefix) {
			group.Go(func() error { return removeTree(filepath.Join(e.dir, containersDir, entry.Name())) })
			continue
		}
		name := backend.ServiceName(entry.Name())
		s := &service{gone: make(chan struct{}), dir: filepath.Join(e.dir, containersDir, entry.Name())}
		err := readJSON(filepath.Join(s.dir, serviceFile), &s.doc)
		if err == nil && isPlace(name) && s.doc.Phase != phaseVacant {
			e.places.settle(s.doc.Spec.Name, name)
			name = s.doc.Spec.Name
		}
		ip, reserved := e.doc.Addresses[name]
		if err != nil || s.doc.Phase != phaseStarted || !reserved {
			half[name] = s.doc.Phase != phaseRemoving && !isPlace(name)
			continue
		}
		e.board.preset(name, rulesOf(s.doc.Spec, ip))
		e.services[name] = s
		group.Go(func() error { return e.adoptOne(ctx, name, s) })
	}
	return half, group.Wait()
}

// adoptOne finds a service's container. One that ran when the host went down is
// remembered, for Resume.
func (e *Enclave) adoptOne(ctx context.Context, name backend.ServiceName, s *service) error {
	before, err := supervise.ReadState(s.dir)
	rebooted := err == nil && before.Running() && before.BootID != supervise.BootID()
	if rebooted {
		if err := s.setResume(true); err != nil {
			return err
		}
		if err := e.reattach(ctx, name); err != nil {
			e.b.log.Error("a service's network is not repaired", "enclave", e.id.Short(), "service", name, "err", err)
		}
	}
	if _, err := e.handle(ctx, s); err != nil && ctx.Err() == nil {
		// The enclave opens all the same; each call on the service tries again.
		e.b.log.Error("a service is not found again", "enclave", e.id.Short(), "service", name, "err", err)
	}
	return context.Cause(ctx)
}

// reattach gives a service its network back, before its supervisor might want
// to restart it.
func (e *Enclave) reattach(ctx context.Context, name backend.ServiceName) error {
	n, err := e.connect(ctx)
	if err != nil {
		return err
	}
	_, err = e.endpoint(ctx, n, name, e.addressOf(name).IP)
	return err
}
