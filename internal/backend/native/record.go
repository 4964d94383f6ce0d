package native

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file defines what is written down, and how.

const (
	enclaveFile   = "enclave.json"
	serviceFile   = supervise.FileOwner
	containersDir = "c"
	persistentDir = "persistent"
)

// enclaveDoc is enclave.json.
type enclaveDoc struct {
	Spec      backend.EnclaveSpec                `json:"spec"`
	Subnet    netip.Prefix                       `json:"subnet"`
	Addresses map[backend.ServiceName]netip.Addr `json:"addresses,omitempty"` // all that are reserved
	// Doomed: Destroy has begun. Nothing but Destroy is possible.
	Doomed bool `json:"doomed,omitempty"`
}

// phase is how far a service has come, for whoever finds it after a crash.
type phase string

const (
	phaseStarting phase = "starting" // Start has not returned: half made
	phaseStarted  phase = "started"
	phaseRemoving phase = "removing" // Remove has begun
	phaseClearing phase = "clearing" // Clear has begun: the address stays
	phaseVacant   phase = "vacant"   // there is no service: see warm.go
)

// serviceDoc is service.json.
type serviceDoc struct {
	Phase phase               `json:"phase"`
	Spec  backend.ServiceSpec `json:"spec"`
	// Image is the id of the image that runs: what the reference meant then.
	Image      string            `json:"image"`
	Entrypoint []string          `json:"entrypoint,omitempty"`
	Cmd        []string          `json:"cmd,omitempty"`
	Env        map[string]string `json:"env,omitempty"`
	// Resume: it ran when the enclave was suspended, or when the host went down.
	Resume bool `json:"resume,omitempty"`
}

// readJSON reads a file that supervise.WriteJSON wrote. fs.ErrNotExist if there is none.
func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return nil
}

// diskFault makes an error of a full or read-only disk one that says so; other
// errors are wrapped.
func diskFault(what string, err error) error {
	var already *fault.Fault
	switch {
	case err == nil:
		return nil
	case errors.As(err, &already):
		return err
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return &fault.Fault{Code: "E0414", Summary: what + ": no space left on the disk", Cause: err,
			Hint: "free some space, for example with: lepto clean"}
	case errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS):
		return &fault.Fault{Code: "E0408", Summary: fmt.Sprintf("%s: %s", what, err), Cause: err,
			Hint: "the native backend needs root and a writable state directory: see lepto doctor"}
	}
	return fmt.Errorf("%s: %w", what, err)
}
