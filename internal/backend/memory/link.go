package memory

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/link"
)

var _ backend.Shaper = (*Enclave)(nil)

// links are the rules between services. The memory backend has no packets: a
// rule is for the way in of a connection, and back.
type links struct {
	mu    sync.Mutex
	table link.Table
	stats map[[2]string]*link.Stats
}

// Shape puts the table into force.
func (e *Enclave) Shape(ctx context.Context, t link.Table) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if e.life.Err() != nil {
		return e.gone()
	}
	for name := range t.Members {
		if !e.reserved(backend.ServiceName(name)) {
			return fmt.Errorf("links of service %q: %w", name, fault.ErrNotFound)
		}
	}
	e.links.mu.Lock()
	defer e.links.mu.Unlock()
	e.links.table = t
	for way := range e.links.stats {
		if t.Between(way[0], way[1]).Free() {
			delete(e.links.stats, way)
		}
	}
	return nil
}

func (e *Enclave) reserved(name backend.ServiceName) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, ok := e.addresses[name]
	return ok
}

// LinkStats counts connections, there and back.
func (e *Enclave) LinkStats(ctx context.Context) ([]link.Stats, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	e.links.mu.Lock()
	defer e.links.mu.Unlock()
	var out []link.Stats
	for _, s := range e.links.stats {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b link.Stats) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
	return out, nil
}

// Links gives the table in force, for tests.
func (e *Enclave) Links() link.Table {
	e.links.mu.Lock()
	defer e.links.mu.Unlock()
	return e.links.table
}

// cross goes from one service to another and back: it takes its time, or ends
// with the context where a packet is lost.
func (e *Enclave) cross(ctx context.Context, from, to backend.ServiceName) error {
	if from == to {
		return nil
	}
	for _, way := range [][2]string{{string(from), string(to)}, {string(to), string(from)}} {
		delay, lost := e.links.send(way)
		if lost {
			<-ctx.Done()
			return &net.OpError{Op: "dial", Err: context.Cause(ctx)}
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// send decides over one message.
func (l *links) send(way [2]string) (delay time.Duration, lost bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.table.Between(way[0], way[1])
	if c.Free() {
		return 0, false
	}
	s := l.stats[way]
	if s == nil {
		if l.stats == nil {
			l.stats = map[[2]string]*link.Stats{}
		}
		s = &link.Stats{From: way[0], To: way[1]}
		l.stats[way] = s
	}
	verdict := link.NewFate(rand.Uint64(), way[0], way[1]).Decide(&c, 0, 1)
	s.Packets++
	if verdict.Drop {
		s.Dropped++
		return 0, true
	}
	if verdict.Delayed {
		s.Delayed++
	}
	return time.Duration(verdict.At), false
}
