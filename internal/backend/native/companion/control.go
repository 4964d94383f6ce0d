package companion

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file defines the socket over which the engine talks to a companion.
//
// One connection is one request: a line of text, answered by a line of JSON.

// controlPatience bounds one request, at both ends.
const controlPatience = 20 * time.Second

// refusal is the answer to a request that failed.
type refusal struct {
	Error *replyError `json:"error,omitempty"`
}

// replyError is a fault on its way through the socket.
type replyError struct {
	Code     string           `json:"code,omitempty"`
	Summary  string           `json:"summary"`
	Hint     string           `json:"hint,omitempty"`
	Evidence []fault.Evidence `json:"evidence,omitempty"`
}

func newReplyError(err error) *replyError {
	var f *fault.Fault
	if errors.As(err, &f) {
		return &replyError{f.Code, f.Summary, f.Hint, f.Evidence}
	}
	return &replyError{Summary: err.Error()}
}

func (e *replyError) err() error {
	if e.Code == "" {
		return errors.New(e.Summary)
	}
	return &fault.Fault{Code: e.Code, Summary: e.Summary, Hint: e.Hint, Evidence: e.Evidence}
}

// socketPath gives a path to the folder's socket that fits into a socket
// address, which holds 107 bytes; folders may lie deeper. It is valid while
// the folder is open.
func (k Kind) socketPath(folder *os.File) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", folder.Fd(), k.Socket)
}

// Listen opens the socket. The caller holds the folder's lock, so what lies
// there is of a process that has ended.
func (k Kind) Listen(dir string) (*net.UnixListener, error) {
	folder, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	path := k.socketPath(folder)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false) // its path dies with folder; the next process removes it
	return ln, nil
}

// Answer answers requests until the listener is closed: handle gives an object,
// or an error.
func (k Kind) Answer(ctx context.Context, ln *net.UnixListener, log *slog.Logger, handle func(request string) (any, error)) {
	var work sync.WaitGroup
	defer work.Wait()
	for {
		conn, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			log.Warn("control socket", "err", err)
			if !Pause(ctx, AcceptPause) {
				return
			}
			continue
		}
		work.Go(func() { answer(ctx, conn, handle) })
	}
}

func answer(ctx context.Context, conn net.Conn, handle func(request string) (any, error)) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	_ = conn.SetDeadline(time.Now().Add(controlPatience))
	request, err := bufio.NewReaderSize(conn, 64).ReadSlice('\n')
	if err != nil {
		return
	}
	result, err := handle(strings.TrimSpace(string(request)))
	if err != nil {
		result = refusal{newReplyError(err)}
	}
	_ = json.NewEncoder(conn).Encode(result) // a caller that has gone needs no answer
}

// Unknown is the error for a request that handle does not know.
func Unknown(request string) error { return fmt.Errorf("unknown request %q", request) }

// Ask sends a request to the process of dir and reads its answer.
// fault.ErrNotRunning if there is no process, or it ended before it answered.
func (k Kind) Ask(ctx context.Context, dir, request string, into any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, controlPatience, fmt.Errorf("%s: %w", k.Name, fault.ErrTimeout))
	defer cancel()
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer folder.Close()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", k.socketPath(folder))
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("%s: %w", k.Name, fault.ErrNotRunning)
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	text, err := exchange(conn, request)
	var failed refusal
	if err == nil {
		err = json.Unmarshal(text, &failed)
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil: // killed in the middle of it
		return fmt.Errorf("%s: %w: %w", k.Name, fault.ErrNotRunning, err)
	case failed.Error != nil:
		return failed.Error.err()
	}
	return json.Unmarshal(text, into)
}

func exchange(conn net.Conn, request string) ([]byte, error) {
	if _, err := fmt.Fprintln(conn, request); err != nil {
		return nil, err
	}
	return io.ReadAll(conn)
}

// AcceptPause is the rest after an error of accept(2), mostly want of file
// descriptors.
const AcceptPause = 50 * time.Millisecond
