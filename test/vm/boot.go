package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// A machine is what QEMU boots.
type machine struct {
	kernel, initramfs string
	console           string // file for the kernel's messages
}

var errEarly = errors.New("the machine ended before its tests")

// bootPatience bounds everything but the tests themselves.
const bootPatience = 3 * time.Minute

// boot runs the machine to its end, and has the report read what it says.
func boot(ctx context.Context, m machine, o options, r *report) error {
	bound := bootPatience + time.Duration(len(r.suites))*(o.timeout+time.Minute)
	ctx, cancel := context.WithTimeoutCause(ctx, bound, fmt.Errorf("the machine does not end within %s", bound))
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64",
		"-machine", "q35", "-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", strconv.Itoa(o.memory),
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-nic", "none",
		"-serial", "file:"+m.console, "-serial", "stdio",
		"-kernel", m.kernel, "-initrd", m.initramfs,
		"-append", "console=ttyS0 panic=-1 quiet mitigations=off")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%w (install qemu-system-x86)", err)
	}
	readErr := r.read(ctx, out)
	err = errors.Join(readErr, cmd.Wait(), context.Cause(ctx))
	if err == nil && r.over {
		return r.result()
	}
	return fmt.Errorf("%w; the last lines of its console are\n%s", errors.Join(errEarly, err), lastLines(m.console))
}

// lastLines gives the end of a file.
func lastLines(path string) []byte {
	data, err := os.ReadFile(path)
	if err != nil {
		return []byte(err.Error())
	}
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-30):], []byte("\n"))
}
