package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file starts gateway processes.

// processVerb is the first argument of a gateway process, before its folder.
const processVerb = "net"

// startPatience bounds the start of a gateway process, up to its first answer.
const startPatience = 10 * time.Second

// Launch starts a gateway process for dir, which must hold a table, as
// `program net DIR`: in a session of its own, so that it outlives this one. It
// returns the answer to a first Reload.
func Launch(ctx context.Context, program, dir string) ([]Published, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, startPatience, fmt.Errorf("start of the gateway process: %w", fault.ErrTimeout))
	defer cancel()
	log, err := openLog(dir)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	from, _ := log.Seek(0, io.SeekEnd)
	cmd := exec.CommandContext(context.WithoutCancel(ctx), program, processVerb, dir) // it outlives the call
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the gateway process: %w", err)
	}
	// The process outlives every caller, so nobody can wait for this goroutine:
	// it ends with the process, and spares us a zombie.
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()

	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		published, err := Reload(ctx, dir)
		if !errors.Is(err, fault.ErrNotRunning) {
			return published, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case err := <-ended:
			return nil, earlyEnd(dir, from, err)
		case <-time.After(wait):
		}
	}
}

// earlyEnd tells of a process that ended before it answered, in its own words.
func earlyEnd(dir string, from int64, err error) error {
	data, _ := os.ReadFile(filepath.Join(dir, logFile))
	data = data[min(from, int64(len(data))):]
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	const kept = 20
	lines = lines[max(0, len(lines)-kept):]
	if err == nil {
		err = errors.New("exit status 0")
	}
	return fault.New("E0424", "the enclave's gateway process ended at its start: %w", err).
		WithEvidence("last lines of "+logFile, lines...)
}

// openLog opens the process's log to append to, emptied if it has grown large:
// what the Go runtime writes on its way down goes there too.
func openLog(dir string) (*os.File, error) {
	log, err := os.OpenFile(filepath.Join(dir, logFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if st, err := log.Stat(); err == nil && st.Size() > maxLog {
		err = log.Truncate(0)
		if err != nil {
			log.Close()
			return nil, err
		}
	}
	return log, nil
}
