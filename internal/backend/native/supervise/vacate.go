package supervise

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file exchanges the container of a supervisor for another one.

// FileOwner is a file of the folder that is its owner's: a supervisor never
// touches it.
const FileOwner = "service.json"

// Stays reports whether a file of a container's folder outlives the container
// when that is taken away by Empty: it is the supervisor's, or the owner's.
func Stays(name string) bool {
	return slices.Contains([]string{FileOwner, fileSpec, fileState, fileSock, fileLock, fileLog}, name)
}

// Empty ends a container that holds and takes all of it away: processes, cgroups,
// files, logs. Its supervisor stays for Fill, a minute at most. After an error there
// may be none, and the container is to be destroyed.
func (h *Handle) Empty(ctx context.Context) error {
	_, err := h.request(ctx, Request{Op: OpEmpty})
	return gone(err)
}

// Fill makes another container that holds where Empty has taken one away, of the
// same folder, and cgroup by name. It returns once that runs, and gives errors as Launcher.Start
// does; fault.ErrUnavailable if no supervisor waits for it. After an error the
// folder is to be destroyed.
func (h *Handle) Fill(ctx context.Context, spec Spec) error {
	if err := spec.validate(); err != nil {
		return err
	}
	if err := WriteJSON(filepath.Join(h.dir, fileSpec), spec); err != nil {
		return err
	}
	_, err := h.request(ctx, Request{Op: OpFill})
	return gone(err)
}

func gone(err error) error {
	if errors.Is(err, errGone) {
		return fmt.Errorf("%w: %w", err, fault.ErrUnavailable)
	}
	return err
}
