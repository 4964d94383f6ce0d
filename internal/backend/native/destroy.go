package native

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/network"
	"github.com/lepto-dev/lepto/internal/backend/native/shape"
	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file takes enclaves away.

// Destroy removes the enclave and all of it on this host.
func (e *Enclave) Destroy(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, destroyBound, fmt.Errorf("destroy enclave %q: %w", e.id.Short(), fault.ErrTimeout))
	defer cancel()
	e.end(e.gone())
	e.work.Wait() // its goroutines see the end of e.life at once
	release, err := e.turns.All(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := e.doom(); err != nil {
		return err
	}
	if err := e.b.erase(ctx, e.id); err != nil {
		return fmt.Errorf("destroy enclave %q: %w", e.id.Short(), err)
	}
	e.b.forget(e)
	e.span(ctx, "destroy enclave", "", began)
	return nil
}

// doom notes that the enclave goes, and lets go of its network.
func (e *Enclave) doom() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.net != nil {
		if err := e.net.Close(); err != nil {
			e.b.log.Warn("the enclave's network is not let go of", "enclave", e.id.Short(), "err", err)
		}
		e.net = nil
	}
	if !exists(e.dir) || e.doc.Doomed {
		return nil
	}
	e.doc.Doomed = true
	if err := supervise.WriteJSON(filepath.Join(e.dir, enclaveFile), e.doc); err != nil {
		// A full disk must not keep enclaves from being destroyed.
		e.b.log.Warn("the end of the enclave is not recorded", "enclave", e.id.Short(), "err", err)
	}
	return e.b.reach("doomed")
}

// erase removes all of an enclave by its id and folder alone, whatever state it
// is in. What can't be removed is named by the error, and its part of the folder
// stays, so that the next try finds it.
func (b *Backend) erase(ctx context.Context, id backend.EnclaveID) error {
	dir := b.dir(id)
	if !exists(dir) {
		return nil
	}
	var linksErr, networkErr, servicesErr error
	var work sync.WaitGroup
	work.Go(func() {
		linksErr = shape.Destroy(ctx, filepath.Join(dir, linkDir))
		if networkErr = b.reach("network goes"); networkErr == nil {
			networkErr = network.Destroy(ctx, network.Config{ID: id, Dir: dir})
		}
	})
	work.Go(func() { servicesErr = b.eraseServices(ctx, dir, cgroupOf(id)) })
	work.Wait()
	err := errors.Join(servicesErr, sweepCgroups(ctx, cgroupOf(id)), linksErr, networkErr)
	if err == nil {
		err = b.reach("erased")
	}
	if errors.Is(err, errCrash) {
		return err
	}
	// The enclave's record stays as long as anything does.
	kept := map[string]bool{
		enclaveFile: true, containersDir: servicesErr != nil, linkDir: linksErr != nil,
		networkDir: networkErr != nil, networkSpace: networkErr != nil,
	}
	if err = errors.Join(err, removeEntries(dir, kept)); err != nil {
		return err
	}
	return removeTree(dir)
}

// Where package network keeps to in an enclave's folder.
const networkDir, networkSpace = "net", "netns"

// removeEntries removes what is in a folder but what is to be kept.
func removeEntries(dir string, kept map[string]bool) error {
	entries, err := os.ReadDir(dir)
	errs := []error{err}
	for _, e := range entries {
		if !kept[e.Name()] {
			errs = append(errs, removeTree(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// eraseServices ends all containers of a folder, side by side.
func (b *Backend) eraseServices(ctx context.Context, dir, cgroup string) error {
	containers := filepath.Join(dir, containersDir)
	entries, err := os.ReadDir(containers)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	errs := make([]error, len(entries))
	var work sync.WaitGroup
	free := make(chan struct{}, 16)
	for i, entry := range entries {
		work.Go(func() {
			free <- struct{}{}
			defer func() { <-free }()
			container := filepath.Join(containers, entry.Name())
			err := b.endContainer(ctx, container, cgroup+"/"+entry.Name())
			if err == nil {
				err = removeContainer(container)
			}
			if err != nil {
				errs[i] = fmt.Errorf("service %q: %w", entry.Name(), err)
			}
		})
	}
	work.Wait()
	return errors.Join(errs...)
}

// cgroupsOf finds a cgroup in all hierarchies: /sys/fs/cgroup is one (v2), or
// holds one a directory (v1, hybrid).
func cgroupsOf(name string) []string {
	found, _ := filepath.Glob(filepath.Join("/sys/fs/cgroup/*", name))
	if exists(filepath.Join("/sys/fs/cgroup", name)) {
		found = append(found, filepath.Join("/sys/fs/cgroup", name))
	}
	return found
}

// killPatience bounds the wait for processes to end after SIGKILL.
const killPatience = 10 * time.Second

// sweepCgroups kills what runs below a cgroup and removes it, in all
// hierarchies: what no container's record leads to any more.
func sweepCgroups(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, killPatience, fmt.Errorf("processes of %s do not end: %w", name, fault.ErrTimeout))
	defer cancel()
	var errs []error
	for _, top := range cgroupsOf(name) {
		errs = append(errs, sweepGroup(ctx, top))
	}
	return errors.Join(errs...)
}

// sweepGroup does one hierarchy.
func sweepGroup(ctx context.Context, top string) error {
	for groups := groupsBelow(top); ; groups = groupsBelow(top) {
		busy := killAll(groups) > 0
		for _, g := range groups {
			switch err := unix.Rmdir(g); {
			case errors.Is(err, unix.EBUSY):
				busy = true // a process that has ended keeps it so for a moment
			case err != nil && !errors.Is(err, unix.ENOENT):
				return fmt.Errorf("remove cgroup %s: %w", g, err)
			}
		}
		if !busy {
			_ = unix.Rmdir(filepath.Dir(top)) // other enclaves may be in it
			return nil
		}
		if !sleep(ctx, 2*time.Millisecond) {
			return fmt.Errorf("remove cgroup %s: %w", top, context.Cause(ctx))
		}
	}
}

// groupsBelow lists a cgroup and those in it, the innermost first.
func groupsBelow(top string) []string {
	var out []string
	entries, _ := os.ReadDir(top)
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, groupsBelow(filepath.Join(top, e.Name()))...)
		}
	}
	return append(out, top)
}

// killAll sends SIGKILL to all processes of the groups, and thaws what is
// frozen: under v1 the frozen don't even die. It tells how many there were.
func killAll(groups []string) int {
	n := 0
	for _, g := range groups {
		data, err := os.ReadFile(filepath.Join(g, "cgroup.procs"))
		if err != nil {
			continue
		}
		pids := strings.Fields(string(data))
		for _, text := range pids {
			if pid, err := strconv.Atoi(text); err == nil && pid > 0 {
				unix.Kill(pid, unix.SIGKILL)
			}
		}
		if n += len(pids); len(pids) > 0 {
			// One of them at most is there.
			_ = os.WriteFile(filepath.Join(g, "freezer.state"), []byte("THAWED"), 0)
			_ = os.WriteFile(filepath.Join(g, "cgroup.freeze"), []byte("0"), 0)
		}
	}
	return n
}
