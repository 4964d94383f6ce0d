package supervisor

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file limits devices on cgroup v2, which has a program of the kernel's
// virtual machine decide (BPF_PROG_TYPE_CGROUP_DEVICE). It is what
// github.com/opencontainers/cgroups writes too, which is not used here for its
// size: there is a supervisor beside every container.

// An instruction is a struct bpf_insn (linux/bpf.h).
type instruction struct {
	code      uint8
	registers uint8 // target, and source << 4
	jump      int16
	immediate int32
}

// The instructions that are needed; 32 bits wide but for the jumps.
const (
	opLoad    = unix.BPF_LDX | unix.BPF_MEM | unix.BPF_W
	opAnd     = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	opShift   = unix.BPF_ALU | unix.BPF_RSH | unix.BPF_K
	opCopy    = unix.BPF_ALU | unix.BPF_MOV | unix.BPF_X
	opSet     = unix.BPF_ALU | unix.BPF_MOV | unix.BPF_K
	opUnless  = unix.BPF_JMP | unix.BPF_JNE | unix.BPF_K
	opUnlessR = unix.BPF_JMP | unix.BPF_JNE | unix.BPF_X
	opReturn  = unix.BPF_JMP | unix.BPF_EXIT
)

// Registers: the answer, the context (and scratch once it is read), and what is
// asked for.
const (
	answer = iota
	scratch
	askedType
	askedAccess
	askedMajor
	askedMinor
)

// deviceProgram allows what the rules allow. It is asked with a struct
// bpf_cgroup_dev_ctx: type in the lower half and access in the upper half of its
// first word, then the two numbers.
func deviceProgram(rules []deviceRule) []instruction {
	program := []instruction{
		{opLoad, askedType | scratch<<4, 0, 0},
		{opAnd, askedType, 0, 0xffff},
		{opLoad, askedAccess | scratch<<4, 0, 0},
		{opShift, askedAccess, 0, 16},
		{opLoad, askedMajor | scratch<<4, 4, 0},
		{opLoad, askedMinor | scratch<<4, 8, 0},
	}
	for _, r := range rules {
		program = append(program, r.compile()...)
	}
	return append(program, instruction{opSet, answer, 0, 0}, instruction{code: opReturn})
}

// compile gives the part that answers yes if the rule does, and else goes on.
func (r deviceRule) compile() []instruction {
	kind := int32(unix.BPF_DEVCG_DEV_CHAR)
	if r.block {
		kind = unix.BPF_DEVCG_DEV_BLOCK
	}
	var access int32
	for letter, bit := range map[string]int32{
		"r": unix.BPF_DEVCG_ACC_READ, "w": unix.BPF_DEVCG_ACC_WRITE, "m": unix.BPF_DEVCG_ACC_MKNOD,
	} {
		if strings.Contains(r.access, letter) {
			access |= bit
		}
	}
	part := []instruction{
		{opUnless, askedType, 0, kind},
		{opCopy, scratch | askedAccess<<4, 0, 0},
		{opAnd, scratch, 0, access},
		{opUnlessR, scratch | askedAccess<<4, 0, 0},
	}
	if r.major >= 0 {
		part = append(part, instruction{opUnless, askedMajor, 0, int32(r.major)})
	}
	if r.minor >= 0 {
		part = append(part, instruction{opUnless, askedMinor, 0, int32(r.minor)})
	}
	part = append(part, instruction{opSet, answer, 0, 1}, instruction{code: opReturn})
	for i := range part {
		if part[i].code == opUnless || part[i].code == opUnlessR {
			part[i].jump = int16(len(part) - i - 1)
		}
	}
	return part
}

// attachDeviceFilter has the rules hold for a cgroup and all below it.
func attachDeviceFilter(dir string, rules []deviceRule) error {
	program, err := loadDeviceProgram(deviceProgram(rules))
	if err != nil {
		return fmt.Errorf("load the device rules of %s: %w", dir, err)
	}
	defer unix.Close(program)
	group, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(group)
	attributes := struct{ target, program, kind, flags uint32 }{
		uint32(group), uint32(program), unix.BPF_CGROUP_DEVICE, unix.BPF_F_ALLOW_MULTI,
	}
	_, err = bpf(unix.BPF_PROG_ATTACH, unsafe.Pointer(&attributes), unsafe.Sizeof(attributes))
	if err != nil {
		return fmt.Errorf("attach the device rules of %s: %w", dir, err)
	}
	return nil
}

func loadDeviceProgram(program []instruction) (int, error) {
	license := []byte("Apache\x00")
	var pinned runtime.Pinner // the kernel is given their addresses
	defer pinned.Unpin()
	pinned.Pin(&program[0])
	pinned.Pin(&license[0])
	attributes := struct {
		kind, count      uint32
		program, license uint64
	}{
		unix.BPF_PROG_TYPE_CGROUP_DEVICE, uint32(len(program)),
		uint64(uintptr(unsafe.Pointer(&program[0]))), uint64(uintptr(unsafe.Pointer(&license[0]))),
	}
	return bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&attributes), unsafe.Sizeof(attributes))
}

func bpf(command uintptr, attributes unsafe.Pointer, size uintptr) (int, error) {
	for {
		n, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(attributes), size)
		switch {
		case errno == 0:
			return int(n), nil
		case !errors.Is(errno, unix.EAGAIN) && !errors.Is(errno, unix.EINTR):
			return -1, errno
		}
	}
}
