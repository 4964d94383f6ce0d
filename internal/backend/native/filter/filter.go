//go:build cgo

// Package filter compiles the system call filter of containers: the program
// lepto-filter, which a supervisor starts where it finds no compiled one. [Main]
// is the whole of it.
//
// The filter is Docker's default profile (github.com/moby/profiles), compiled with
// libseccomp and made to answer ENOSYS to calls that the profile is too old to
// know, by runc's package libcontainer/seccomp. That one gives no filter out, it
// sets it. So this process has a filter of its own that traps just that call, and
// takes from the trap what was to be set (trap.c): this needs neither a kernel with
// CONFIG_CHECKPOINT_RESTORE nor one that lets itself be traced.
package filter

// #include "trap.h"
import "C"

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	profile "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/seccomp"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Main reads the names of capabilities from stdin, as JSON, and writes the filter
// for processes with that bounding set to stdout: struct sock_filter, again and
// again. It gives the exit code. The calling goroutine must be locked to its
// thread.
func Main() int {
	var bounding []string
	err := json.NewDecoder(os.Stdin).Decode(&bounding)
	var program []byte
	if err == nil {
		program, err = compile(bounding)
	}
	if err == nil {
		_, err = os.Stdout.Write(program)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lepto-filter:", err)
		return 1
	}
	return 0
}

func compile(bounding []string) ([]byte, error) {
	config, err := rules(bounding)
	if err != nil {
		return nil, err
	}
	if errno := C.trap_filters(); errno != 0 {
		return nil, fmt.Errorf("trap the filter: error number %d", errno)
	}
	if _, err := seccomp.InitSeccomp(config); err != nil {
		return nil, err
	}
	if C.trapped == nil || C.trapped_size == 0 {
		return nil, errors.New("no filter was set")
	}
	return C.GoBytes(C.trapped, C.int(C.trapped_size)), nil
}

// rules give Docker's default profile, for processes with the given bounding set:
// some calls are allowed to those with a capability only.
func rules(bounding []string) (*configs.Seccomp, error) {
	spec := &specs.Spec{Process: &specs.Process{
		Capabilities: &specs.LinuxCapabilities{Bounding: bounding},
	}}
	rules, err := profile.GetDefaultProfile(spec)
	if err != nil {
		return nil, fmt.Errorf("seccomp profile: %w", err)
	}
	return specconv.SetupSeccomp(rules)
}
