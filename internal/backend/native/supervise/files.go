package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/lepto-dev/lepto/internal/backend/native/supervise/tree"
	"github.com/lepto-dev/lepto/internal/fault"
)

// Files gives a tar of a path in the container, running or stopped. A
// directory's entries are relative to it; a file is a single entry under its
// base name. fault.ErrNotFound if there is no such path. The caller closes it.
func (h *Handle) Files(ctx context.Context, path string) (io.ReadCloser, error) {
	root, err := h.root(ctx)
	if errors.Is(err, fault.ErrNotRunning) {
		return h.stoppedFiles(ctx, path)
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	source, err := tree.Open(root, path)
	if err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	go func() { // ends with the tar, or when the caller closes its side
		defer source.Close()
		w.CloseWithError(source.Write(ctx, w))
	}()
	return r, nil
}

// CopyIn unpacks a tar into a directory of the container, running or stopped,
// making the directory if need be. See tree.Extract for what is refused.
func (h *Handle) CopyIn(ctx context.Context, dir string, tar io.Reader) error {
	root, err := h.root(ctx)
	if errors.Is(err, fault.ErrNotRunning) {
		return h.stoppedCopyIn(ctx, dir, tar)
	}
	if err != nil {
		return err
	}
	defer root.Close()
	return tree.Extract(ctx, root, dir, tar)
}

// root opens the running container's root, as its processes see it.
// fault.ErrNotRunning if it does not run.
func (h *Handle) root(ctx context.Context) (*os.File, error) {
	state, err := h.State(ctx)
	if err != nil {
		return nil, err
	}
	if !state.Running() {
		return nil, fmt.Errorf("container is %s: %w", state.Phase, fault.ErrNotRunning)
	}
	process, err := state.OpenProcess()
	if err != nil {
		return nil, fmt.Errorf("container has just ended: %w", fault.ErrNotRunning)
	}
	defer process.Close()
	root, err := os.Open("/proc/" + strconv.Itoa(state.PID) + "/root")
	if err != nil {
		return nil, fmt.Errorf("container has just ended: %w", fault.ErrNotRunning)
	}
	// It is the container's if the process was there before and after.
	again, err := state.OpenProcess()
	if err != nil {
		root.Close()
		return nil, fmt.Errorf("container has just ended: %w", fault.ErrNotRunning)
	}
	again.Close()
	return root, nil
}

// A helper is a supervisor binary run for one task on a stopped container,
// whose root it mounts for itself.
type helper struct {
	cmd   *exec.Cmd
	ready *os.File
}

// helper starts one. The command's output goes to out, its input comes from in.
func (h *Handle) helper(ctx context.Context, mode, path string, in io.Reader, out io.Writer) (*helper, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	plain := h.launcher.command(h.dir, mode, path)
	cmd := exec.CommandContext(ctx, plain.Path, plain.Args[1:]...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = plain.Dir, plain.Env, plain.SysProcAttr
	cmd.ExtraFiles = []*os.File{w}
	cmd.Stdin, cmd.Stdout = in, out
	log, err := os.OpenFile(filepath.Join(h.dir, fileLog), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		r.Close()
		return nil, err
	}
	defer log.Close()
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		r.Close()
		return nil, err
	}
	return &helper{cmd, r}, nil
}

// told waits for the helper's word.
func (p *helper) told() error {
	defer p.ready.Close()
	var ready Ready
	if err := json.NewDecoder(p.ready).Decode(&ready); err != nil {
		return fmt.Errorf("access the stopped container's files: %w", fault.ErrUnavailable)
	}
	return ready.Error.Err()
}

func (h *Handle) stoppedFiles(ctx context.Context, path string) (io.ReadCloser, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p, err := h.helper(ctx, "files", path, nil, w)
	w.Close()
	if err != nil {
		r.Close()
		return nil, err
	}
	if err := p.told(); err != nil {
		r.Close()
		_ = p.cmd.Wait()
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		return nil, err
	}
	return &helperReader{File: r, p: p, ctx: ctx}, nil
}

// helperReader is the tar as a helper writes it: it is complete only if the
// helper ends well.
type helperReader struct {
	*os.File
	p      *helper
	ctx    context.Context
	waited bool
}

func (r *helperReader) Read(b []byte) (int, error) {
	n, err := r.File.Read(b)
	if errors.Is(err, io.EOF) && !r.waited {
		r.waited = true
		if werr := r.p.cmd.Wait(); werr != nil {
			if cause := context.Cause(r.ctx); cause != nil {
				return n, cause
			}
			return n, fmt.Errorf("read the stopped container's files: %w", werr)
		}
	}
	return n, err
}

// WriteTo keeps io.Copy from going past Read.
func (r *helperReader) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{r})
}

func (r *helperReader) Close() error {
	err := r.File.Close()
	if !r.waited {
		r.waited = true
		r.p.cmd.Process.Kill()
		_ = r.p.cmd.Wait() // killed, as meant
	}
	return err
}

func (h *Handle) stoppedCopyIn(ctx context.Context, dir string, tar io.Reader) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p, err := h.helper(ctx, "copy-in", dir, tar, nil)
	if err != nil {
		return err
	}
	err = p.told()
	werr := p.cmd.Wait()
	if err == nil && werr != nil {
		err = fmt.Errorf("copy into the stopped container: %w", werr)
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}
