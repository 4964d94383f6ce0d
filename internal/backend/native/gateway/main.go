// Package gateway is the gateway process of an enclave: DNS on the gateway
// address of the enclave's network, and the ports that services publish on the
// host.
//
// [Main] is the process (lepto-supervisor net DIR). It runs in the host's
// network namespace, in a session of its own, and outlives the engine: all it
// is told lies in one file, the [Table], which the engine replaces as a whole
// ([WriteTable]) and announces with [Reload]. Killed and started again, it goes
// on with the same table and the same host ports. It ends by itself when the
// table is taken away; [Stop] does that and makes sure.
//
// The process stays small: a few megabytes. So the package uses neither
// net/http nor netlink. It knows nothing of containers, and nothing of how the
// network it serves was made.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"runtime/debug"
	"sync"

	"github.com/lepto-dev/lepto/internal/backend/native/companion"
	"github.com/lepto-dev/lepto/internal/backend/native/network/netspace"
)

// Main runs the gateway process of a folder until its table is taken away or
// SIGTERM comes, both of which are no error. A second process for the same
// folder ends at once with an error.
func Main(dir string) error {
	return kind.Main(dir, func(ctx context.Context, log *slog.Logger) error { return serve(ctx, dir, log) })
}

// errClosed is why work in a gateway process ends.
var errClosed = errors.New("the port or the gateway process was closed")

// server is the running process.
type server struct {
	dir       string
	log       *slog.Logger
	setting   Setting
	dns       *dnsServer
	publisher *publisher

	reloading sync.Mutex
}

// serve does the work. The watch stands before the table is read, so that a
// table that goes at any time is noticed.
func serve(ctx context.Context, dir string, log *slog.Logger) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(errClosed)
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel(errClosed)

	watch, err := kind.Watch(dir)
	if err != nil {
		return err
	}
	work.Go(func() {
		watch.Wait(ctx)
		cancel(errClosed)
	})
	setting, table, err := ReadTable(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	space, err := netspace.Open(setting.NetNS)
	if err != nil {
		return fmt.Errorf("network namespace of the enclave: %w", err)
	}
	defer space.Close()

	s := &server{dir: dir, log: log, setting: setting}
	if s.dns, err = startDNS(ctx, space, setting, log); err != nil {
		return err
	}
	defer s.dns.close()
	s.publisher = newPublisher(ctx, space, log)
	defer s.publisher.close()
	s.resume(table)

	control, err := kind.Listen(dir)
	if err != nil {
		return err
	}
	work.Go(func() { kind.Answer(ctx, control, log, s.answer) })
	debug.FreeOSMemory()
	<-ctx.Done()
	control.Close()
	return nil
}

// resume serves the table found at start, as much of it as can be: a host port
// may have been taken while no gateway process ran.
func (s *server) resume(table Table) {
	s.dns.hosts.Store(newHostIndex(table.Hosts))
	var ports []Published
	if err := companion.ReadJSON(filepath.Join(s.dir, portsFile), &ports); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("chosen ports are lost", "err", err)
	}
	s.publisher.remember(ports)
	for _, r := range table.Publish {
		if err := s.publisher.open(r); err != nil {
			s.log.Warn("port is not published", "service", r.Service, "id", r.ID, "err", err)
		}
	}
	s.savePorts()
}

// reload makes the table in place take effect: all of it, or on an error
// nothing.
func (s *server) reload() ([]Published, error) {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	setting, table, err := ReadTable(s.dir)
	if err != nil {
		return nil, err
	}
	if setting != s.setting {
		return nil, fmt.Errorf("the enclave's network has changed from %v to %v", s.setting, setting)
	}
	if err := s.publisher.apply(table.Publish); err != nil {
		return nil, err
	}
	s.dns.hosts.Store(newHostIndex(table.Hosts))
	s.savePorts()
	return s.publisher.published(table.Publish), nil
}

// savePorts records the chosen ports for a successor.
func (s *server) savePorts() {
	if err := companion.WriteJSON(filepath.Join(s.dir, portsFile), s.publisher.all()); err != nil {
		s.log.Warn("chosen ports are not recorded", "err", err)
	}
}
