package relay

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend/native/companion"
	"github.com/lepto-dev/lepto/internal/backend/native/network/netspace"
)

// Main runs the relay of a folder until its table is taken away or SIGTERM
// comes. A second process for the same folder ends at once with an error.
func Main(dir string) error {
	runtime.GOMAXPROCS(2) // the packets' thread, and one for all else
	return kind.Main(dir, func(ctx context.Context, log *slog.Logger) error { return serve(ctx, dir, log) })
}

var (
	// errClosed is why work in the relay ends.
	errClosed = errors.New("the relay was closed")
	errStuck  = errors.New("no packet is moved")
)

// server is the running process.
type server struct {
	dir, netns string
	loop       *loop

	reloading sync.Mutex
}

// serve does the work. The watch stands before the table is read, so that a table
// that goes at any time is noticed; the rules stand before the first packet is
// read.
func serve(ctx context.Context, dir string, log *slog.Logger) error {
	ctx, cancel := context.WithCancelCause(ctx)
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
	table, err := ReadTable(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s := &server{dir: dir, netns: table.NetNS}
	if s.loop, err = open(table); err != nil {
		return err
	}
	defer unix.Close(s.loop.fd)
	control, err := kind.Listen(dir)
	if err != nil {
		return err
	}
	work.Go(func() { kind.Answer(ctx, control, log, s.answer) })
	defer control.Close()
	debug.FreeOSMemory()
	work.Go(func() {
		<-ctx.Done()
		s.loop.stop()
	})
	return s.loop.run()
}

// open takes the device, with the rules of a table.
func open(table Table) (*loop, error) {
	space, err := netspace.Open(table.NetNS)
	if err != nil {
		return nil, fmt.Errorf("network namespace of the enclave: %w", err)
	}
	defer space.Close()
	fd, err := openTap(space)
	if err != nil {
		return nil, err
	}
	l, err := newLoop(fd)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	l.rules.Store(makeRules(table, nil))
	return l, nil
}

// answer handles a request of the engine.
func (s *server) answer(request string) (any, error) {
	switch request {
	case requestReload:
		return answer{}, s.reload()
	case requestStats:
		return answer{Stats: s.loop.rules.Load().stats()}, nil
	case requestSign:
		if !s.loop.moves(2 * signPatience) { // whoever asked has given up
			return nil, errStuck
		}
		return answer{}, nil
	}
	return nil, companion.Unknown(request)
}

// reload makes the table in place take effect, all of it at once.
func (s *server) reload() error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	table, err := ReadTable(s.dir)
	if err != nil {
		return err
	}
	if table.NetNS != s.netns {
		return fmt.Errorf("the enclave's network has moved from %s to %s", s.netns, table.NetNS)
	}
	s.loop.rules.Store(makeRules(table, s.loop.rules.Load()))
	return nil
}
