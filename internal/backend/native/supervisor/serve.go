package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/fault"
)

// A server answers on the container's socket.
type server struct {
	c        *container
	listener *net.UnixListener
	ctx      context.Context // ends with the server
	cancel   context.CancelCauseFunc
	wg       sync.WaitGroup
}

// listen opens the socket. One left by a dead supervisor is in the way: the
// lock says that it is nobody's.
func listen(c *container) (*server, error) {
	path, dir, err := supervise.SocketPath(c.dir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("open the supervisor's socket: %w", err)
	}
	l.SetUnlinkOnClose(false) // its name is through a descriptor closed by then
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	s := &server{c: c, listener: l}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.wg.Go(s.accept)
	return s, nil
}

// close ends the server: whoever waits for the container is told first.
func (s *server) close() {
	s.listener.Close()
	if path, dir, err := supervise.SocketPath(s.c.dir); err == nil {
		_ = os.Remove(path)
		dir.Close()
	}
	s.cancel(errors.New("the supervisor ends"))
	s.wg.Wait()
}

func (s *server) accept() {
	for {
		conn, err := s.listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			slog.Error("accept", "err", err)
			return
		}
		s.wg.Go(func() {
			defer trimLater()
			defer conn.Close()
			s.serve(conn)
		})
	}
}

// serve answers one request.
func (s *server) serve(conn *net.UnixConn) {
	var req supervise.Request
	// A connection without a request must not outlive the server.
	stop := context.AfterFunc(s.ctx, func() { conn.CloseRead() })
	files, err := supervise.Receive(conn, &req)
	stop()
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	if err != nil {
		return
	}
	if req.Op == supervise.OpExec {
		s.c.exec(conn, req, files)
		return
	}
	reply := s.answer(conn, req)
	_ = supervise.Send(conn, reply) // who asked may be gone
}

// answer does what a request other than exec asks for.
func (s *server) answer(conn *net.UnixConn, req supervise.Request) supervise.Reply {
	c := s.c
	ctx, cancel := hangup(conn)
	defer cancel()
	switch req.Op {
	case supervise.OpState:
		state := c.current()
		return supervise.Reply{State: &state}
	case supervise.OpWait:
		return exitReply(c.wait(ctx))
	case supervise.OpStop:
		return exitReply(c.stop(ctx, max(req.Grace, 0)))
	case supervise.OpEmpty:
		return supervise.Reply{Error: supervise.Fail(c.empty(ctx))}
	case supervise.OpFill:
		return supervise.Reply{Error: supervise.Fail(c.fill(ctx))}
	case supervise.OpDestroy:
		c.goAway()
		return exitReply(c.stop(ctx, -1))
	case supervise.OpKill:
		return exitReply(c.stop(ctx, -1))
	case supervise.OpPause, supervise.OpUnpause:
		return supervise.Reply{Error: supervise.Fail(c.pause(req.Op == supervise.OpPause))}
	}
	return supervise.Reply{Error: supervise.Fail(fmt.Errorf("request %q: %w", req.Op, fault.ErrUnsupported))}
}

func exitReply(exit backend.Exit, err error) supervise.Reply {
	if err != nil {
		return supervise.Reply{Error: supervise.Fail(err)}
	}
	return supervise.Reply{Exit: &exit}
}

// wait blocks until the current run has ended.
func (c *container) wait(ctx context.Context) (backend.Exit, error) {
	c.mu.Lock()
	ended := c.ended
	c.mu.Unlock()
	select {
	case <-ended:
		return c.current().Exit, nil
	case <-ctx.Done():
		return backend.Exit{}, context.Cause(ctx)
	}
}

var errHungUp = errors.New("the client has gone")

// hangup gives a context that ends when the client closes its side.
func hangup(conn *net.UnixConn) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		var b [1]byte
		_, _ = conn.Read(b[:])
		cancel(errHungUp)
	}()
	return ctx, func() {
		conn.CloseRead() // ends the reader
		<-done
	}
}
