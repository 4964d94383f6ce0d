package native

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/network"
	"github.com/lepto-dev/lepto/internal/backend/native/shape"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/link"
)

// This file has links between services shaped.

var _ backend.Shaper = (*Enclave)(nil)

// linkDir is package shape's folder in an enclave's.
const linkDir = "link"

func missingShaping() string {
	if shape.Probe() == shape.Unable {
		return shape.WhyUnable
	}
	return ""
}

// shaper gives the rules of the enclave, read at the first call.
func (e *Enclave) shaper() (*shape.Shaper, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.shaping != nil {
		return e.shaping, nil
	}
	s, err := shape.Open(shape.Config{
		Dir: filepath.Join(e.dir, linkDir), NetNS: filepath.Join(e.dir, "netns"), Subnet: e.subnet, Bridge: network.Bridge,
		Program: e.b.launcher.Supervisor, Port: e.port,
		Hardware:  func(a netip.Addr) []byte { return network.HardwareAddr(a) },
		Mechanism: shape.Probe, CanRelay: shape.ProbeRelay, Logger: e.b.log,
	})
	if err == nil {
		e.shaping = s
	}
	return s, err
}

// port names the port of the bridge that a service is behind.
func (e *Enclave) port(service string) string {
	return network.EndpointLink(string(e.places.at(backend.ServiceName(service))))
}

// endpointOf gives the network namespace of a service whose place is there.
func (e *Enclave) endpointOf(ctx context.Context, name backend.ServiceName) (netns string, err error) {
	n, err := e.connect(ctx)
	if err != nil {
		return "", err
	}
	return n.EndpointPath(string(e.places.at(name)))
}

// endpoint makes a service's place in the network, with the rules for its links,
// before any process of it runs.
func (e *Enclave) endpoint(ctx context.Context, n *network.Network, name backend.ServiceName, ip netip.Addr) (netns string, err error) {
	netns, err = n.AddEndpoint(ctx, string(e.places.at(name)), ip)
	if err != nil {
		return "", err
	}
	s, err := e.shaper()
	if err != nil {
		return "", err
	}
	return netns, s.Attach(ctx, string(name))
}

// Shape puts a table into force.
func (e *Enclave) Shape(ctx context.Context, table link.Table) error {
	if err := e.check(ctx); err != nil {
		return err
	}
	ctx, cancel := e.bounded(ctx, startBound, "shape links")
	defer cancel()
	if _, err := e.connect(ctx); err != nil {
		return err
	}
	addresses := map[string]netip.Addr{}
	for name := range table.Members {
		a := e.addressOf(backend.ServiceName(name))
		if !a.IP.IsValid() {
			return fmt.Errorf("links of service %q: %w", name, fault.ErrNotFound)
		}
		addresses[name] = a.IP
	}
	s, err := e.shaper()
	if err != nil {
		return err
	}
	defer e.span(ctx, "shape", "", time.Now())
	if err := s.Apply(ctx, table, addresses); err != nil {
		return err
	}
	e.wakeWatch()
	return nil
}

// LinkStats counts packets.
func (e *Enclave) LinkStats(ctx context.Context) ([]link.Stats, error) {
	if err := e.check(ctx); err != nil {
		return nil, err
	}
	s, err := e.shaper()
	if err != nil {
		return nil, err
	}
	return s.Stats(ctx)
}

// wakeWatch has watchRelay look whether there is a relay now.
func (e *Enclave) wakeWatch() {
	select {
	case e.shaped <- struct{}{}:
	default:
	}
}

// watchRelay keeps the link relay running, where there is one, while the handle is
// open.
func (e *Enclave) watchRelay() {
	s, err := e.shaper()
	if err != nil {
		e.b.log.Error("the rules of the links can't be read", "enclave", e.id.Short(), "err", err)
		return
	}
	for pause := minPause; ; {
		if !s.UsesRelay() {
			select {
			case <-e.shaped:
				continue
			case <-e.life.Done():
				return
			}
		}
		began := time.Now()
		err := s.Watch(e.life, awaitProcess)
		if e.life.Err() != nil || e.doomed() {
			return
		}
		if err != nil {
			e.b.log.Error("no link relay", "enclave", e.id.Short(), "err", err)
		}
		if time.Since(began) > maxPause {
			pause = minPause
		}
		if !sleep(e.life, pause) {
			return
		}
		pause = min(2*pause, maxPause)
	}
}
