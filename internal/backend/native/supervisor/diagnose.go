package supervisor

import (
	"bufio"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file finds the words for a command that can't be run.

// commandFault explains the errno with which executing the command failed.
func commandFault(root string, spec supervise.Spec, errno unix.Errno) error {
	code, text, hint := explainExec(root, spec.Args[0], environment(spec, identity{home: "/"}, false), spec.Cwd, errno)
	f := fault.New(code, "%s", text)
	f.Hint = hint
	f.Cause = errno
	return f
}

// explainExec gives code, summary and hint.
func explainExec(root, name string, env []string, cwd string, errno unix.Errno) (code, text, hint string) {
	file := locate(root, name, env, cwd)
	switch errno {
	case unix.ENOENT, unix.ENOTDIR:
		if file == "" {
			if strings.Contains(name, "/") {
				return supervise.CodeNotFound, fmt.Sprintf("command %q not found in the image", name), ""
			}
			return supervise.CodeNotFound, fmt.Sprintf("command %q not found in the image's PATH", name),
				"PATH is " + lookup(env, "PATH")
		}
		return supervise.CodeNotFound, fmt.Sprintf("command %q can't run: %s", name, interpreter(root, file)), ""
	case unix.EACCES, unix.EPERM:
		text = fmt.Sprintf("command %q can't be executed: permission denied", name)
		return supervise.CodeNotRunnable, text, permissionHint(root, file)
	case unix.ENOEXEC:
		if arch := architecture(root, file); arch != "" && arch != runtime.GOARCH {
			return supervise.CodeWrongArch,
				fmt.Sprintf("command %q can't be executed: exec format error: image is for another architecture (%s, this host is %s)",
					name, arch, runtime.GOARCH), "use an image built for " + runtime.GOARCH
		}
		return supervise.CodeNotRunnable,
			fmt.Sprintf("command %q can't be executed: exec format error: not a program for this system", name),
			"a script needs a first line such as #!/bin/sh"
	}
	return supervise.CodeNotRunnable, fmt.Sprintf("command %q can't be executed: %s", name, errno.Error()), ""
}

// locate finds a command's file in the root as the init looked for it, or "".
func locate(root, name string, env []string, cwd string) string {
	if strings.Contains(name, "/") {
		if !path.IsAbs(name) {
			name = path.Join("/", cwd, name)
		}
		if _, err := statIn(root, name); err != nil {
			return ""
		}
		return name
	}
	for _, dir := range strings.Split(lookup(env, "PATH"), ":") {
		file := path.Join("/", dir, name)
		if _, err := statIn(root, file); err == nil {
			return file
		}
	}
	return ""
}

func lookup(env []string, name string) string {
	for _, entry := range env {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

// statIn is stat(2) inside a root.
func statIn(root, name string) (*unix.Stat_t, error) {
	dir, err := os.Open(root)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	fd, err := unix.Openat2(int(dir.Fd()), name, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	return &st, unix.Fstat(fd, &st)
}

// interpreter tells which interpreter a file names that isn't there.
func interpreter(root, file string) string {
	f := openIn(root, file)
	defer f.Close()
	line, _ := bufio.NewReader(f).ReadString('\n')
	if rest, ok := strings.CutPrefix(line, "#!"); ok {
		name, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		if strings.HasSuffix(name, "\r") || strings.HasSuffix(strings.TrimRight(line, "\n"), "\r") {
			return fmt.Sprintf("its first line ends with a carriage return: no interpreter %q", strings.TrimSpace(name)+"\\r")
		}
		return fmt.Sprintf("its interpreter %q is not in the image", name)
	}
	if loader := dynamicLoader(root, file); loader != "" {
		return fmt.Sprintf("its dynamic loader %q is not in the image", loader)
	}
	return "its interpreter is not in the image"
}

func dynamicLoader(root, file string) string {
	f := openELF(root, file)
	if f == nil {
		return ""
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP && p.Filesz < unix.PathMax {
			name := make([]byte, p.Filesz)
			if _, err := p.ReadAt(name, 0); err == nil {
				return strings.TrimRight(string(name), "\x00")
			}
		}
	}
	return ""
}

func permissionHint(root, file string) string {
	st, err := statIn(root, file)
	switch {
	case err != nil:
		return ""
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return file + " is a directory"
	case st.Mode&0o111 == 0:
		return fmt.Sprintf("%s has mode %04o: not executable", file, st.Mode&0o7777)
	}
	return ""
}

func openELF(root, file string) *elf.File {
	if f, ok := openIn(root, file).(*os.File); ok {
		if e, err := elf.NewFile(f); err == nil {
			return e
		}
	}
	return nil
}

// machines are the architectures that images come for, in Go's words.
var machines = map[elf.Machine]string{
	elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64", elf.EM_ARM: "arm", elf.EM_386: "386",
	elf.EM_RISCV: "riscv64", elf.EM_PPC64: "ppc64le", elf.EM_S390: "s390x",
	elf.EM_MIPS: "mips", elf.EM_LOONGARCH: "loong64",
}

// architecture tells for which one a program is, or "".
func architecture(root, file string) string {
	f := openELF(root, file)
	if f == nil {
		return ""
	}
	defer f.Close()
	if name := machines[f.Machine]; name != "" {
		return name
	}
	return f.Machine.String()
}

// diskFault puts a full disk first, whatever met it.
func diskFault(err error) error {
	var f *fault.Fault
	if !errors.As(err, &f) && (errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)) {
		return fault.New(supervise.CodeRuntime, "no space left on device: %w", err).
			WithHint("free some space on the disk that holds lepto's state")
	}
	return err
}
