package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"connectrpc.com/connect"

	"github.com/lepto-dev/lepto/internal/api/leptov1"
	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file runs commands in services, with input and output as they come.

type execStream = connect.BidiStream[leptov1.ExecRequest, leptov1.ExecResponse]

// stdinQueue is how many pieces of input wait for a command that does not read,
// so that a resize or a signal behind them still gets through.
const stdinQueue = 64

// Exec runs a command. It is killed when the client leaves or the engine stops.
func (s *ownService) Exec(ctx context.Context, stream *execStream) error {
	first, err := stream.Receive()
	if err != nil {
		return err
	}
	start := first.GetStart()
	if start == nil || len(start.GetArgs()) == 0 {
		return fmt.Errorf("exec: the first message must start a command: %w", fault.ErrInvalid)
	}
	in, err := s.engine.Enclaves().Get(start.GetEnclave())
	if err != nil {
		return err
	}
	ctx, done := s.engine.Stream(ctx)
	defer done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	x := &execSession{stream: stream, cancel: cancel}
	spec := x.spec(start)
	defer x.stopInput()
	code, err := x.run(ctx, in, start.GetService(), spec)
	if cause := context.Cause(ctx); cause != nil {
		return cause // the code is that of a command killed for it
	}
	if err != nil {
		return err
	}
	return x.send(&leptov1.ExecResponse{Message: &leptov1.ExecResponse_ExitCode{ExitCode: int32(code)}})
}

// execSession is one command with its stream.
type execSession struct {
	stream *execStream
	cancel context.CancelCauseFunc
	stdin  *stdinPipe // nil: none

	mu sync.Mutex // held while sending
}

func (x *execSession) spec(m *leptov1.ExecRequest_Start) backend.ExecSpec {
	stdout := execWriter(func(p []byte) error {
		return x.send(&leptov1.ExecResponse{Message: &leptov1.ExecResponse_Stdout{Stdout: p}})
	})
	stderr := execWriter(func(p []byte) error {
		return x.send(&leptov1.ExecResponse{Message: &leptov1.ExecResponse_Stderr{Stderr: p}})
	})
	spec := backend.ExecSpec{
		Args: m.GetArgs(), Env: m.GetEnv(), WorkDir: m.GetWorkDir(), User: m.GetUser(),
		TTY: m.GetTty(), Cols: uint16(m.GetCols()), Rows: uint16(m.GetRows()),
		Stdout: &stdout, Stderr: &stderr,
	}
	if m.GetCombined() || m.GetTty() {
		spec.Stderr = spec.Stdout
	}
	if m.GetStdin() {
		x.stdin = newStdinPipe()
		spec.Stdin = x.stdin.reader
	}
	return spec
}

// run runs the command to its end. A backend that can't attach still runs
// commands that need no terminal.
func (x *execSession) run(ctx context.Context, in *enclave.Enclave, service string, spec backend.ExecSpec) (int, error) {
	process, err := in.Attach(ctx, service, spec)
	if errors.Is(err, fault.ErrUnsupported) && !spec.TTY {
		go x.input(nil)
		return in.Exec(ctx, service, spec)
	}
	if err != nil {
		return 0, err
	}
	go x.input(process)
	return process.Wait()
}

// input takes what the client sends. It ends when the stream does, which is at
// the latest when the handler has returned: a Receive can't be interrupted.
func (x *execSession) input(process backend.Process) {
	for {
		m, err := x.stream.Receive()
		if errors.Is(err, io.EOF) {
			x.stdin.close()
			return
		}
		if err != nil {
			x.cancel(err)
			return
		}
		switch m := m.GetMessage().(type) {
		case *leptov1.ExecRequest_Stdin:
			x.stdin.write(m.Stdin)
		case *leptov1.ExecRequest_StdinClosed:
			x.stdin.close()
		case *leptov1.ExecRequest_Resize_:
			if process != nil {
				_ = process.Resize(uint16(m.Resize.GetCols()), uint16(m.Resize.GetRows())) // it may just have ended
			}
		case *leptov1.ExecRequest_Signal:
			if process != nil {
				_ = process.Signal(int(m.Signal))
			}
		}
	}
}

func (x *execSession) stopInput() {
	if x.stdin != nil {
		x.stdin.stop()
	}
}

func (x *execSession) send(m *leptov1.ExecResponse) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.stream.Send(m)
}

// execWriter sends what is written. Its address is its identity: a backend
// keeps the order of two streams that are one writer.
type execWriter func([]byte) error

// Write sends the piece.
func (w *execWriter) Write(p []byte) (int, error) {
	if err := (*w)(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// stdinPipe is a pipe with room for some input. write and close are called from
// one goroutine.
type stdinPipe struct {
	reader *io.PipeReader
	queue  chan []byte // closed at the end of the input
	quit   chan struct{}
	closed bool
	stop   func() // ends the pipe, read or not
}

func newStdinPipe() *stdinPipe {
	reader, writer := io.Pipe()
	p := &stdinPipe{reader: reader, queue: make(chan []byte, stdinQueue), quit: make(chan struct{})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer writer.Close()
		for {
			select {
			case piece, more := <-p.queue:
				if !more {
					return
				}
				if _, err := writer.Write(piece); err != nil {
					return
				}
			case <-p.quit:
				return
			}
		}
	}()
	p.stop = sync.OnceFunc(func() { close(p.quit); reader.Close(); <-ended })
	return p
}

// write queues a piece; it waits while the queue is full. Input that was not
// announced, or comes after its end, is dropped.
func (p *stdinPipe) write(piece []byte) {
	if p == nil || p.closed {
		return
	}
	select {
	case p.queue <- piece:
	case <-p.quit:
	}
}

func (p *stdinPipe) close() {
	if p != nil && !p.closed {
		p.closed = true
		close(p.queue)
	}
}
