// Package create makes a container with libcontainer: the program lepto-create,
// which a supervisor starts for it and which ends when the container's first
// process is there. [Main] is the whole of it.
//
// It is a program apart because of its size: libcontainer starts its own
// executable three times for a container, and leaves some 10 MB in the memory
// of whoever calls it. Of the 105 ms of processor time that a start takes (Linux
// 6.18 in a virtual machine with costly page faults, where a Go program that
// does nothing takes 5 ms), 30 are this program's and 35 those of libcontainer's
// second stage, in the container. It runs in the supervisor's mount namespace, where the
// root is mounted. It decides nothing: what is not libcontainer's business is
// settled in the request.
package create

import (
	"encoding/json"
	"errors"
	"os"
	"strings"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/fault"
)

// Main reads a supervise.CreateRequest from stdin, makes the container, and
// writes a supervise.Created to stdout. It gives the exit code.
func Main() int {
	var request supervise.CreateRequest
	var answer supervise.Created
	err := json.NewDecoder(os.Stdin).Decode(&request)
	if err == nil {
		answer.PID, err = create(request)
	}
	answer.Error = supervise.Fail(err)
	if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil || answer.Error != nil {
		return 1
	}
	return 0
}

// create makes the container and lets its first process run: lepto-init, as root
// with all capabilities and without a filter, which gives up what the command
// must not have.
func create(r supervise.CreateRequest) (int, error) {
	for attempt := 1; ; attempt++ {
		pid, err := createOnce(r)
		// Another supervisor may have removed a parent cgroup that was empty,
		// just as this one was about to be made in it.
		raced := errors.Is(err, unix.ENOENT) && strings.Contains(err.Error(), "cgroup")
		if !raced || attempt == 3 {
			return pid, explain(err)
		}
		if err := os.RemoveAll(r.StateDir); err != nil {
			return 0, err
		}
	}
}

func createOnce(r supervise.CreateRequest) (int, error) {
	config, err := configure(r)
	if err != nil {
		return 0, err
	}
	if err := os.MkdirAll(r.StateDir, 0o700); err != nil {
		return 0, err
	}
	container, err := libcontainer.Create(r.StateDir, r.Spec.ID, config)
	if err != nil {
		return 0, err
	}
	p := &libcontainer.Process{
		Args:         r.Args,
		Cwd:          "/",
		Capabilities: &configs.Capabilities{Bounding: r.Available, Permitted: r.Available, Effective: r.Available},
		Init:         true,
	}
	for _, fd := range []uintptr{supervise.CreateStatus, supervise.CreateExit, supervise.CreateOrders} {
		p.ExtraFiles = append(p.ExtraFiles, supervise.CreateFile(fd))
	}
	if r.Console {
		p.ConsoleSocket = supervise.CreateFile(supervise.CreateConsole)
		p.ConsoleWidth, p.ConsoleHeight = 80, 24
	} else {
		p.Stdin = supervise.CreateFile(supervise.CreateStdin)
		p.Stdout = supervise.CreateFile(supervise.CreateStdout)
		p.Stderr = supervise.CreateFile(supervise.CreateStderr)
	}
	if err := container.Run(p); err != nil {
		return 0, err
	}
	return p.Pid()
}

// explain turns libcontainer's error into a fault; nil stays nil.
func explain(err error) error {
	var known *fault.Fault
	if err == nil || errors.As(err, &known) {
		return err
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fault.New(supervise.CodeRuntime, "no space left on device: %w", err)
	}
	text := err.Error()
	if _, after, ok := strings.Cut(text, "runc init error(s): "); ok {
		text = after
	}
	if strings.Contains(text, "error mounting") {
		return fault.New(supervise.CodeMount, "mount: %w", err)
	}
	return fault.New(supervise.CodeRuntime, "start container: %w", err)
}
