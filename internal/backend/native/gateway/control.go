package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file defines the socket over which the engine announces a new table.
//
// One connection is one request: a line of text, answered by a line of JSON.

const (
	requestReload = "reload"

	// controlPatience bounds one request, at both ends.
	controlPatience = 20 * time.Second
)

// reply answers a request.
type reply struct {
	Published []Published `json:"published,omitempty"`
	Error     *replyError `json:"error,omitempty"`
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
func socketPath(folder *os.File) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", folder.Fd(), socketFile)
}

// listenControl opens the socket. The caller holds the folder's lock, so what
// lies there is of a process that has ended.
func listenControl(dir string) (*net.UnixListener, error) {
	folder, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	path := socketPath(folder)
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

// control answers requests until the listener is closed.
func (s *server) control(ctx context.Context, ln *net.UnixListener) {
	var work sync.WaitGroup
	defer work.Wait()
	for {
		conn, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.log.Warn("control socket", "err", err)
			if !pause(ctx, acceptPause) {
				return
			}
			continue
		}
		work.Go(func() { s.answer(ctx, conn) })
	}
}

func (s *server) answer(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	_ = conn.SetDeadline(time.Now().Add(controlPatience))
	request, err := bufio.NewReaderSize(conn, 64).ReadSlice('\n')
	if err != nil {
		return
	}
	var r reply
	switch what := strings.TrimSpace(string(request)); what {
	case requestReload:
		published, err := s.reload()
		if r.Published = published; err != nil {
			r.Error = newReplyError(err)
		}
	default:
		r.Error = &replyError{Summary: fmt.Sprintf("unknown request %q", what)}
	}
	_ = json.NewEncoder(conn).Encode(r) // a caller that has gone needs no answer
}

// Reload has the gateway process of dir serve the table in place, and gives the
// host ports of its rules, in their order. A port that can't be had is a
// *fault.Fault; then the process goes on with the table it had.
// fault.ErrNotRunning if there is no process, or it ended before it answered.
func Reload(ctx context.Context, dir string) ([]Published, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, controlPatience, fmt.Errorf("gateway process: %w", fault.ErrTimeout))
	defer cancel()
	folder, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socketPath(folder))
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED) {
		return nil, fmt.Errorf("gateway process: %w", fault.ErrNotRunning)
	}
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()

	var r reply
	_, err = fmt.Fprintln(conn, requestReload)
	if err == nil {
		err = json.NewDecoder(conn).Decode(&r)
	}
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil: // killed in the middle of it
		return nil, fmt.Errorf("gateway process: %w: %w", fault.ErrNotRunning, err)
	case r.Error != nil:
		return nil, r.Error.err()
	}
	return r.Published, nil
}

// acceptPause is the rest after an error of accept(2), mostly want of file
// descriptors.
const acceptPause = 50 * time.Millisecond

// pause waits; false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
