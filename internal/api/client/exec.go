package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/lepto-dev/lepto/internal/api/errwire"
	"github.com/lepto-dev/lepto/internal/api/leptov1"
	"github.com/lepto-dev/lepto/internal/backend"
)

// This file holds the running of commands in services.

// Control acts on a command that runs: a new size of its terminal, in character
// cells, or a signal, by number. Zero fields do nothing.
type Control struct {
	Cols, Rows uint16
	Signal     int
}

// Exec runs a command in a service and gives its exit code. Input and output
// flow while it runs. Ending the context kills the command. control may be nil.
//
// A read of spec.Stdin that blocks when the command ends is left behind: it
// takes one more piece of input, which is dropped.
func (c *Client) Exec(ctx context.Context, enclave, service string, spec backend.ExecSpec, control <-chan Control) (int, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(errLeft)
	stream := c.own.Exec(ctx)
	defer stream.CloseResponse()
	send := &execSender{send: stream.Send}
	// An error of Send says only that the stream ended; Receive tells why.
	_ = send.message(&leptov1.ExecRequest{Message: &leptov1.ExecRequest_Start_{Start: startMessage(enclave, service, spec)}})
	if spec.Stdin != nil {
		go send.input(spec.Stdin)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(errLeft)
	wg.Go(func() { send.control(ctx, control) })
	code, err := receiveExec(stream.Receive, spec)
	if err != nil {
		cancel(err) // frees a sender that waits for the other side
	}
	_ = send.close(stream.CloseRequest)
	return code, err
}

func startMessage(enclave, service string, spec backend.ExecSpec) *leptov1.ExecRequest_Start {
	return &leptov1.ExecRequest_Start{
		Enclave: enclave, Service: service, Args: spec.Args, Env: spec.Env,
		WorkDir: spec.WorkDir, User: spec.User, Tty: spec.TTY,
		Cols: uint32(spec.Cols), Rows: uint32(spec.Rows), Stdin: spec.Stdin != nil,
		Combined: spec.Stderr != nil && spec.Stderr == spec.Stdout,
	}
}

func receiveExec(receive func() (*leptov1.ExecResponse, error), spec backend.ExecSpec) (int, error) {
	for {
		m, err := receive()
		if errors.Is(err, io.EOF) {
			return 0, errors.New("engine's answer: ended without an exit code")
		}
		if err != nil {
			return 0, errwire.Decode(err)
		}
		switch m := m.GetMessage().(type) {
		case *leptov1.ExecResponse_Stdout:
			err = write(spec.Stdout, m.Stdout)
		case *leptov1.ExecResponse_Stderr:
			err = write(spec.Stderr, m.Stderr)
		case *leptov1.ExecResponse_ExitCode:
			return int(m.ExitCode), nil
		}
		if err != nil {
			return 0, fmt.Errorf("output of the command: %w", err)
		}
	}
}

func write(w io.Writer, data []byte) error {
	if w == nil {
		return nil
	}
	_, err := w.Write(data)
	return err
}

// execSender serialises what is sent: a stream has one sender at a time.
type execSender struct {
	mu     sync.Mutex
	send   func(*leptov1.ExecRequest) error
	closed bool
}

func (s *execSender) message(m *leptov1.ExecRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return io.ErrClosedPipe
	}
	return s.send(m)
}

func (s *execSender) close(closeRequest func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return closeRequest()
}

// input copies stdin. It has no owner that waits: a read of a terminal can't be
// interrupted.
func (s *execSender) input(r io.Reader) {
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if serr := s.message(&leptov1.ExecRequest{Message: &leptov1.ExecRequest_Stdin{Stdin: buf[:n]}}); serr != nil {
				return
			}
		}
		if err != nil {
			_ = s.message(&leptov1.ExecRequest{Message: &leptov1.ExecRequest_StdinClosed{StdinClosed: true}})
			return
		}
	}
}

func (s *execSender) control(ctx context.Context, control <-chan Control) {
	for {
		select {
		case <-ctx.Done():
			return
		case c, ok := <-control:
			if !ok {
				return
			}
			if c.Cols > 0 && c.Rows > 0 {
				_ = s.message(&leptov1.ExecRequest{Message: &leptov1.ExecRequest_Resize_{
					Resize: &leptov1.ExecRequest_Resize{Cols: uint32(c.Cols), Rows: uint32(c.Rows)}}})
			}
			if c.Signal > 0 {
				_ = s.message(&leptov1.ExecRequest{Message: &leptov1.ExecRequest_Signal{Signal: int32(c.Signal)}})
			}
		}
	}
}
