package memory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// A Program stands in for a command. It runs until it returns its exit code
// (0–255). It must return soon once ctx ends: that is how a signal kills it.
type Program func(ctx context.Context, p *Proc) int

// Proc is a process as its Program sees it.
type Proc struct {
	Args     []string // Args[0] is the command's name
	Env      map[string]string
	Dir      string
	User     string // "" is root
	Hostname string
	Stdin    io.Reader
	Stdout   io.Writer
	Stderr   io.Writer
	Files    *Files

	run     *process
	service *service
}

// Notify makes the given signals arrive on the channel instead of ending the
// process. SIGKILL can't be caught.
func (p *Proc) Notify(signals ...int) <-chan int {
	p.run.mu.Lock()
	defer p.run.mu.Unlock()
	c := make(chan int, 16)
	p.run.caught = append(p.run.caught, catcher{signals, c})
	return c
}

// Listen opens a TCP port of the service. It is closed with the process.
func (p *Proc) Listen(port uint16) (net.Listener, error) {
	return p.run.listen(p.service, backend.TCP, port)
}

// ListenUDP opens a UDP port of the service. Each peer is one connection, one
// Read one datagram.
func (p *Proc) ListenUDP(port uint16) (net.Listener, error) {
	return p.run.listen(p.service, backend.UDP, port)
}

// Dial connects to a service of the enclave, by name or address.
func (p *Proc) Dial(ctx context.Context, proto backend.Transport, host string, port uint16) (net.Conn, error) {
	target := p.service.enclave.lookup(host)
	if target == nil {
		return nil, fmt.Errorf("lookup %s: no such host: %w", host, fault.ErrNotFound)
	}
	if err := p.service.enclave.cross(ctx, p.service.spec.Name, target.spec.Name); err != nil {
		return nil, err
	}
	return target.dial(ctx, proto, port)
}

// The signals whose default action is not to end the process (signal(7)).
var ignored = []int{0, sigCHLD, sigCONT, sigURG, sigWINCH}

const (
	sigHUP   = 1
	sigINT   = 2
	sigKILL  = 9
	sigTERM  = 15
	sigCHLD  = 17
	sigCONT  = 18
	sigURG   = 23
	sigWINCH = 28
)

// killedBy is the cause of a process' context once a signal ended it.
type killedBy int

func (k killedBy) Error() string { return fmt.Sprintf("killed by signal %d", int(k)) }

// process is a running Program.
type process struct {
	mu        sync.Mutex
	caught    []catcher
	listeners []*listener
	stop      context.CancelCauseFunc
	done      chan struct{} // closed once exit is set and all its output is delivered
	exit      backend.Exit
}

type catcher struct {
	signals []int
	to      chan int
}

// start runs a program in its own goroutine; done tells its end. It lives
// until it returns or is killed, whatever becomes of the caller's context.
func start(svc *service, program Program, p *Proc, finish func()) *process {
	ctx, cancel := context.WithCancelCause(context.Background())
	run := &process{stop: cancel, done: make(chan struct{})}
	p.run, p.service = run, svc
	gate := svc.gate
	p.Stdout, p.Stderr = gated{p.Stdout, gate}, gated{p.Stderr, gate}
	go func() {
		code := program(ctx, p)
		run.end(code, context.Cause(ctx), svc)
		if finish != nil {
			finish()
		}
		cancel(nil)
		close(run.done)
	}()
	return run
}

func (r *process) end(code int, cause error, svc *service) {
	r.mu.Lock()
	open := r.listeners
	r.listeners = nil
	r.exit = backend.Exit{Code: code & 0xff, At: svc.enclave.host.opts.Now()}
	var killed killedBy
	if errors.As(cause, &killed) {
		r.exit.Code, r.exit.Signal = 128+int(killed), int(killed)
	}
	r.mu.Unlock()
	for _, l := range open {
		l.Close()
	}
}

// signal sends a signal, with its default action where nobody catches it.
func (r *process) signal(n int) {
	r.mu.Lock()
	caught := slices.Clone(r.caught)
	r.mu.Unlock()
	if n != sigKILL {
		for _, c := range caught {
			if slices.Contains(c.signals, n) {
				select {
				case c.to <- n:
				default: // as with real signals, more of the same are one
				}
				return
			}
		}
		if slices.Contains(ignored, n) {
			return
		}
	}
	r.stop(killedBy(n))
}

func (r *process) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// gated holds up writes while the service is paused.
type gated struct {
	io.Writer
	gate *gate
}

func (g gated) Write(p []byte) (int, error) {
	g.gate.pass()
	return g.Writer.Write(p)
}

// gate is closed while a service is paused.
type gate struct {
	mu   sync.Mutex
	shut chan struct{} // nil while open; closed when it opens again
}

func (g *gate) pass() {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut != nil {
		<-shut
	}
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut == nil {
		g.shut = make(chan struct{})
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut != nil {
		close(g.shut)
		g.shut = nil
	}
}
