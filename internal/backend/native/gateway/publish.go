package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/network/netspace"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file keeps the published ports in line with the table.

// A proxy carries the traffic of one published port.
type proxy interface {
	// bound is where it listens.
	bound() netip.AddrPort
	// retarget says where new connections go.
	retarget(netip.AddrPort)
	// unlisten frees the port; connections that are, stay.
	unlisten()
	// close ends all of it, and waits for that.
	close()
}

// publisher holds the published ports. Its methods are called one at a time.
type publisher struct {
	ctx    context.Context // ends dialling; the publisher's owner cancels it
	space  *netspace.Space
	log    *slog.Logger
	active map[ruleKey]*publication
	chosen map[ruleKey]netip.AddrPort // ports of the process before
}

type publication struct {
	rule Rule
	proxy
}

func newPublisher(ctx context.Context, space *netspace.Space, log *slog.Logger) *publisher {
	return &publisher{ctx: ctx, space: space, log: log, active: map[ruleKey]*publication{}}
}

// remember takes over the ports that an earlier process had chosen.
func (p *publisher) remember(ports []Published) {
	p.chosen = map[ruleKey]netip.AddrPort{}
	for _, port := range ports {
		p.chosen[ruleKey{port.Service, port.ID}] = port.Host
	}
}

// open publishes one rule.
func (p *publisher) open(r Rule) error {
	proxy, err := p.listen(r)
	if err == nil {
		p.active[r.key()] = &publication{r, proxy}
	}
	return err
}

// listen opens the rule's port; where any will do, the one it had before.
func (p *publisher) listen(r Rule) (proxy, error) {
	want := r.listen()
	if had, ok := p.chosen[r.key()]; ok && want.Port() == 0 && had.Addr() == want.Addr() {
		if proxy, err := p.listenOn(r, had); err == nil {
			return proxy, nil
		}
		p.log.Warn("chosen port is taken, choosing another", "service", r.Service, "id", r.ID, "port", had)
	}
	return p.listenOn(r, want)
}

func (p *publisher) listenOn(r Rule, addr netip.AddrPort) (proxy, error) {
	var made proxy
	var err error
	if r.Proto == backend.UDP {
		made, err = newUDPProxy(p.ctx, p.space, addr, r.Target)
	} else {
		made, err = newTCPProxy(p.ctx, p.space, addr, r.Target, p.log)
	}
	if err != nil {
		return nil, portFault(r, addr, err)
	}
	return made, nil
}

// portFault says why a port can't be published.
func portFault(r Rule, addr netip.AddrPort, err error) error {
	if !errors.Is(err, unix.EADDRINUSE) {
		return fault.New("E0421", "port %q of service %q can't be published on %s: %w", r.ID, r.Service, addr, err).
			WithHint("publish it on an address of this host, 127.0.0.1 is the default")
	}
	f := &fault.Fault{Code: "E0420", Summary: fmt.Sprintf("port %s is already in use", addr), Cause: err}
	if owner := portOwner(r.Proto, addr); owner != "" {
		f.Summary += " by " + owner
	}
	return f.WithHint("port %q of service %q asks for it: end that program, or choose another public port", r.ID, r.Service)
}

// apply changes the published ports to those of rules. On an error they are as
// they were.
func (p *publisher) apply(rules []Rule) error {
	wanted := make(map[ruleKey]Rule, len(rules))
	for _, r := range rules {
		wanted[r.key()] = r
	}
	// What goes makes room first: its port may be asked for by what comes.
	var leaving []*publication
	for key, pub := range p.active {
		if r, ok := wanted[key]; !ok || !pub.serves(r) {
			pub.unlisten()
			leaving = append(leaving, pub)
			delete(p.active, key)
		}
	}
	var arriving []*publication
	for _, r := range rules {
		if p.active[r.key()] != nil {
			continue
		}
		if err := p.open(r); err != nil {
			p.revert(arriving, leaving)
			return err
		}
		arriving = append(arriving, p.active[r.key()])
	}
	for _, pub := range p.active {
		pub.rule = wanted[pub.rule.key()]
		pub.retarget(pub.rule.Target)
	}
	closeAll(leaving)
	p.chosen = nil // what the process before had chosen is served, or wanted no more
	return nil
}

// serves reports whether the publication is what the rule wants, but for the
// target.
func (pub *publication) serves(r Rule) bool {
	want, have := r.listen(), pub.bound()
	return pub.rule.Proto == r.Proto && have.Addr() == want.Addr() && (want.Port() == 0 || want.Port() == have.Port())
}

// revert closes what came and publishes again, on the same ports, what was to
// go. Connections of the latter were cut.
func (p *publisher) revert(arriving, leaving []*publication) {
	for _, pub := range arriving {
		delete(p.active, pub.rule.key())
	}
	closeAll(arriving)
	for _, pub := range leaving {
		again, err := p.listenOn(pub.rule, pub.bound())
		if err != nil {
			p.log.Warn("port is not published any more", "service", pub.rule.Service, "id", pub.rule.ID, "err", err)
			continue
		}
		p.active[pub.rule.key()] = &publication{pub.rule, again}
	}
	closeAll(leaving)
}

func closeAll(pubs []*publication) {
	var closing sync.WaitGroup
	for _, pub := range pubs {
		closing.Go(pub.close)
	}
	closing.Wait()
}

// published gives the ports of rules, in their order.
func (p *publisher) published(rules []Rule) []Published {
	var out []Published
	for _, r := range rules {
		if pub := p.active[r.key()]; pub != nil {
			out = append(out, Published{
				Service:   r.Service,
				Published: backend.Published{ID: r.ID, Port: r.Target.Port(), Proto: r.Proto, Host: pub.bound()},
			})
		}
	}
	return out
}

// all gives all published ports, in any order.
func (p *publisher) all() []Published {
	rules := make([]Rule, 0, len(p.active))
	for _, pub := range p.active {
		rules = append(rules, pub.rule)
	}
	return p.published(rules)
}

func (p *publisher) close() {
	var pubs []*publication
	for _, pub := range p.active {
		pubs = append(pubs, pub)
	}
	clear(p.active)
	closeAll(pubs)
}
