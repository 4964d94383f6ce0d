package client

import (
	"bufio"
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

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/engine/process"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/source"
)

// This file starts an engine in the background.

const (
	// startTimeout bounds an engine's start. It takes a tenth of a second, but
	// after a reboot it looks at every enclave first.
	startTimeout = 60 * time.Second
	// logTail is how much of the log goes into the fault of a failed start.
	logTail = 4 << 10
)

// start starts an engine and returns once it serves. Of several clients that
// start one, the first does it and the others wait.
func start(ctx context.Context, opts Options) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fault.ErrTimeout)
	defer cancel()
	if err := makeHome(opts.Home); err != nil {
		return err
	}
	lock, err := process.WaitLock(ctx, process.StartLockPath(opts.Home))
	switch {
	case process.IsHeld(err):
		return fault.New(process.CodeNotStarted, "another process is starting the engine: %w", err)
	case err != nil:
		return noHome(err)
	}
	defer func() { _ = lock.Release() }() // an engine runs: that is what counts
	if answers(ctx, opts.Home) {
		return nil
	}
	return launch(ctx, opts)
}

func makeHome(home string) error {
	if err := os.MkdirAll(home, 0o700); err != nil {
		return noHome(err)
	}
	return nil
}

// noHome is the fault of a home that can't be used.
func noHome(err error) error {
	f := fault.New(process.CodeNoAccess, "engine's home: %w", err)
	if errors.Is(err, os.ErrPermission) && os.Geteuid() != 0 {
		return f.WithHint("the engine runs as root: use sudo")
	}
	return f
}

// answers reports whether an engine serves the socket now.
func answers(ctx context.Context, home string) bool {
	c := dial(process.SocketPath(home))
	defer c.Close()
	_, err := c.firstInfo(ctx)
	return err == nil
}

// launch runs the engine's command in a session of its own, so that no terminal
// and no signal of the client's reaches it, and waits for its word.
func launch(ctx context.Context, opts Options) error {
	command := opts.Command
	if len(command) == 0 {
		find := opts.Program
		if find == nil {
			find = os.Executable
		}
		self, err := find()
		if err != nil {
			return fault.New(process.CodeNotStarted, "find lepto's program: %w", err)
		}
		command = []string{self, "engine", "run", "--home", opts.Home}
	}
	log, err := os.OpenFile(process.LogPath(opts.Home), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return noHome(err)
	}
	defer log.Close()
	ready, theirs, err := os.Pipe()
	if err != nil {
		return fault.New(process.CodeNotStarted, "readiness pipe: %w", err)
	}
	defer ready.Close()

	// The engine outlives whoever starts it, and so their context and their files.
	process.KeepInherited()
	cmd := exec.CommandContext(context.WithoutCancel(ctx), command[0], command[1:]...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), process.ReadyVariable+"=3")
	if mirror, err := filepath.Abs(os.Getenv(source.MirrorVariable)); err == nil && os.Getenv(source.MirrorVariable) != "" {
		cmd.Env = append(cmd.Env, source.MirrorVariable+"="+mirror) // the engine's directory is another
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return cannotRun(command[0], err)
	}
	return await(ctx, opts, cmd, ready)
}

// await reads the engine's one line. Where the engine ends without one, its log
// says why.
func await(ctx context.Context, opts Options, cmd *exec.Cmd, ready *os.File) error {
	stop := context.AfterFunc(ctx, func() { _ = ready.SetReadDeadline(time.Now()) })
	defer stop()
	line, err := bufio.NewReader(io.LimitReader(ready, 1<<20)).ReadString('\n')
	switch {
	case strings.HasSuffix(line, "\n"):
		if err := process.ParseReport([]byte(line)); err != nil {
			_ = cmd.Wait()
			return err
		}
		// The engine is no child that this process waits for: it outlives it.
		return cmd.Process.Release()
	case errors.Is(err, os.ErrDeadlineExceeded):
		// It may be at work on a large state: leave it to finish.
		_ = cmd.Process.Release()
		return fault.New(process.CodeNotStarted, "engine (process %d) is not ready: %w", cmd.Process.Pid, context.Cause(ctx)).
			WithEvidence("engine's log", tailOf(process.LogPath(opts.Home))...)
	}
	werr := cmd.Wait()
	if werr == nil {
		werr = errors.New("it ended without a word")
	}
	return fault.New(process.CodeNotStarted, "engine did not start: %w", werr).
		WithEvidence("engine's log", tailOf(process.LogPath(opts.Home))...).
		WithHint("see it fail in the foreground: lepto engine run")
}

// tailOf gives the last lines of a file, as far as it can be read.
func tailOf(path string) []string {
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer file.Close()
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil
	}
	data, err := io.ReadAll(io.NewSectionReader(file, max(0, size-logTail), logTail))
	if err != nil || len(data) == 0 {
		return nil
	}
	lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	if size > logTail && len(lines) > 1 {
		lines = lines[1:] // the first is cut
	}
	return lines[max(0, len(lines)-10):]
}

// StartEngine starts the engine unless it runs, and tells whether it did.
func StartEngine(ctx context.Context, opts Options) (started bool, err error) {
	opts.Start = true
	opts.Starting = func() { started = true }
	c, err := Connect(ctx, opts)
	if err != nil {
		return false, fmt.Errorf("start engine: %w", err)
	}
	return started, c.Close()
}

// cannotRun tells why the engine's program, which lies in the home, can't be executed.
func cannotRun(program string, err error) error {
	f := fault.New(process.CodeNotStarted, "run %s: %w", program, err)
	var st unix.Statfs_t
	if unix.Statfs(program, &st) == nil && st.Flags&unix.ST_NOEXEC != 0 {
		return f.WithHint("its file system is mounted noexec: set LEPTO_HOME to a directory on another one")
	}
	return f
}
