package supervisor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/fault"
)

// start makes the container and runs its command. After an error something may
// be left: see failed.
func (c *container) start() error {
	if err := c.update(func(s *supervise.State) {
		*s = supervise.State{Phase: supervise.PhaseStarting, Restarts: s.Restarts, Exit: s.Exit}
	}); err != nil {
		return diskFault(err)
	}
	if err := c.group.reset(); err != nil {
		return err
	}
	if err := c.prepare(); err != nil {
		return diskFault(err)
	}
	orders, err := c.orders()
	if err != nil {
		return diskFault(err)
	}
	if err := c.group.make(c.spec); err != nil {
		return err
	}
	return diskFault(c.run(orders))
}

// prepare makes the files that a container needs.
func (c *container) prepare() error {
	texts := map[string]string{
		"resolv.conf": c.spec.ResolvConf, "hosts": c.spec.Hosts, "hostname": c.spec.Hostname + "\n",
	}
	for _, f := range etcFiles(c.spec) {
		name := filepath.Join(c.dir, f.name)
		if err := os.WriteFile(name, []byte(texts[f.name]), 0o644); err != nil {
			return err
		}
		if err := os.Chmod(name, 0o644); err != nil {
			return err
		}
	}
	if err := c.root.mount(); err != nil {
		return err
	}
	if c.spec.Transient {
		c.stubs = missing(c.root.path(), c.mountPoints())
	}
	output, err := openOutput(c.dir, c.spec)
	if err != nil {
		return err
	}
	c.output = output
	return nil
}

// orders are what lepto-init make is to do, in its sequence: see initsrc/make.c.
func (c *container) orders() ([]byte, error) {
	root := c.root.path()
	id, err := identify(root, c.spec.User)
	if err != nil {
		return nil, err
	}
	cwd, err := checkWorkDir(root, c.spec.Cwd)
	if err != nil {
		return nil, err
	}
	names, bits, err := bounding(c.spec)
	if err != nil {
		return nil, err
	}
	limits, err := supervise.ParseUlimits(c.spec.Resources.Ulimits)
	if err != nil {
		return nil, err
	}
	program, err := c.filterFor(names, bits)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.program = program
	c.mu.Unlock()
	var e encoder
	e.text(initMode(c.spec))
	e.flag(c.console())
	e.text(root, c.spec.Hostname, keyring(c.spec.ID))
	e.limits(limits)
	e.list(c.group.joinFiles())
	e.text(c.spec.NetNS)
	if err := c.layout(&e); err != nil {
		return nil, err
	}
	e.list(c.spec.Args)
	e.list(environment(c.spec, id, c.spec.TTY))
	return confinement{make: true, bounding: bits, identity: id, cwd: cwd, filter: program}.append(e), nil
}

// keyring is the name of a container's session keyring.
func keyring(id string) string { return "_ses." + id }

// console reports whether the terminal is this process's to hold: the init does
// it, and so the terminal outlives the supervisor, but for a container that has
// none.
func (c *container) console() bool { return c.spec.TTY && c.spec.NoInit }

// etcFile is a file of the folder that is bound into /etc.
type etcFile struct{ name, target string }

func etcFiles(spec supervise.Spec) []etcFile {
	var files []etcFile
	if spec.ResolvConf != "" {
		files = append(files, etcFile{"resolv.conf", "/etc/resolv.conf"})
	}
	if spec.Hosts != "" {
		files = append(files, etcFile{"hosts", "/etc/hosts"})
	}
	if spec.Hostname != "" {
		files = append(files, etcFile{"hostname", "/etc/hostname"})
	}
	return files
}

// initMode is what the init does with the command.
func initMode(spec supervise.Spec) string {
	switch {
	case spec.Hold:
		return "hold"
	case spec.NoInit:
		return "exec"
	case spec.TTY:
		return "tty"
	}
	return "init"
}

// run has the container made and waits until it has executed the command.
func (c *container) run(orders []byte) error {
	stdio, err := c.output.writers()
	if err != nil {
		return err
	}
	defer stdio.close()
	exit, err := os.OpenFile(filepath.Join(c.dir, supervise.FileExit), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer exit.Close()
	told, err := memoryFile("orders", orders)
	if err != nil {
		return err
	}
	defer told.Close()
	console, theirs, err := c.consoleSocket()
	if err != nil {
		return err
	}
	defer console.Close()
	defer theirs.Close()
	process, failed, err := c.launch(stdio.in, stdio.out, stdio.err, nil, exit, told, theirs)
	if err != nil {
		return err
	}
	if failed.errno != 0 {
		process.wait()
		return c.notRun(failed)
	}
	if c.console() {
		theirs.Close()
		if err := c.output.takeConsole(console); err != nil {
			return err
		}
	}
	return c.running(process.pid)
}

// consoleSocket makes the pair that a terminal comes over, where there is one; two
// files that can be closed in any case.
func (c *container) consoleSocket() (ours, theirs *os.File, err error) {
	if c.console() {
		return socketPair()
	}
	null, err := os.Open(os.DevNull)
	return null, null, err
}

// launch starts the first process in new namespaces, and waits until it has
// executed the command, or has failed. The place of nil in files is that of its
// descriptor for reports.
func (c *container) launch(files ...*os.File) (*child, failure, error) {
	status, statusW, err := os.Pipe()
	if err != nil {
		return nil, failure{}, err
	}
	defer status.Close()
	defer statusW.Close()
	files[slices.Index(files, nil)] = statusW
	flags := uintptr(unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC)
	if !c.spec.HostPID {
		flags |= unix.CLONE_NEWPID
	}
	runtime.LockOSThread() // see children.start
	defer runtime.UnlockOSThread()
	pid, err := c.children.start(c.programs.sealedInit, []string{"lepto-init", "make"}, flags, files...)
	if err != nil {
		return nil, failure{}, err
	}
	process := newChild(c.dir, pid, c.children)
	c.mu.Lock()
	c.process = process
	c.mu.Unlock()
	statusW.Close()
	failed, err := readFailure(status)
	if err != nil {
		_ = process.signal(unix.SIGKILL) // it may be in no cgroup yet
		process.wait()
	}
	return process, failed, err
}

// running records that the command runs. One that has ended already has no start
// time any more; nor needs it one.
func (c *container) running(pid int) error {
	ticks, _, err := supervise.StartTime(pid)
	// ESRCH: it went while its file was open.
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
		return err
	}
	return c.update(func(s *supervise.State) {
		s.Phase = supervise.PhaseRunning
		s.PID, s.PIDStart = pid, ticks
		s.StartedAt = time.Now()
		s.Error = nil
	})
}

// memoryFile makes a file that is nowhere on disk, to be read from its start.
func memoryFile(name string, data []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err = f.Write(data); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// A failure is what kept the first process from executing the command.
type failure struct {
	errno unix.Errno // 0: nothing has
	stage stage
	about string // a path, or ""
}

// readFailure waits for the init's report: it ends with nothing said once the
// command has been executed.
func readFailure(status io.Reader) (failure, error) {
	data, err := io.ReadAll(io.LimitReader(status, 8+unix.PathMax))
	if err != nil {
		return failure{}, fmt.Errorf("read the init's report: %w", err)
	}
	if len(data) < 8 {
		return failure{}, nil
	}
	word := func(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }
	return failure{unix.Errno(word(data)), stage(word(data[4:])), string(data[8:])}, nil
}

// notRun explains a first process that did not come to execute the command.
func (c *container) notRun(f failure) error {
	switch {
	case f.stage == stageExecute:
		return commandFault(c.root.path(), c.spec, f.errno)
	case f.stage == stageDirectory && f.errno == unix.EACCES:
		return fault.New(supervise.CodeWorkDir, "working directory %q: permission denied for the user", c.spec.Cwd)
	case f.stage == stageDirectory:
		return fault.New(supervise.CodeWorkDir, "working directory %q: %w", c.spec.Cwd, f.errno)
	case f.errno == unix.ENOSPC || f.errno == unix.EDQUOT:
		return fmt.Errorf("%s %s: %w", f.stage, f.about, f.errno) // see diskFault
	case f.stage == stageMount:
		return mountFault(f)
	case f.about != "":
		return fault.New(supervise.CodeRuntime, "start container: %s %s: %w", f.stage, f.about, f.errno)
	}
	return fault.New(supervise.CodeRuntime, "start container: %s: %w", f.stage, f.errno)
}

// mountFault explains what could not be mounted.
func mountFault(f failure) error {
	out := fault.New(supervise.CodeMount, "mount %s: %w", f.about, f.errno)
	switch f.errno {
	case unix.ELOOP:
		return out.WithHint("the path is a symbolic link, in the image or in what is mounted there")
	case unix.EPERM:
		return out.WithHint("nothing can be mounted on the root, nor in /proc")
	case unix.ENOTDIR:
		return out.WithHint("a file can't be mounted on a directory, nor a directory on a file")
	}
	return out
}

// child is a first process that this supervisor has started.
type child struct {
	dir      string
	pid      int
	pidfd    *os.File // nil if it has ended already
	children *children
}

func newChild(dir string, pid int, children *children) *child {
	c := &child{dir: dir, pid: pid, children: children}
	if fd, err := unix.PidfdOpen(pid, 0); err == nil {
		c.pidfd = os.NewFile(uintptr(fd), "pidfd")
	}
	return c
}

// wait prefers what the init has recorded of the command to the init's own end,
// which has no signal.
func (c *child) wait() backend.Exit {
	status := c.children.wait(c.pid)
	if c.pidfd != nil {
		defer c.pidfd.Close()
	}
	if exit, ok := supervise.ReadExit(c.dir); ok {
		return exit
	}
	exit := exitStatus(status)
	exit.At = time.Now()
	return exit
}

func (c *child) signal(s unix.Signal) error { return signalTo(c.pidfd, s) }

// signalTo sends a signal to the process of a pidfd; os.ErrProcessDone if it
// has ended.
func signalTo(pidfd *os.File, s unix.Signal) error {
	if pidfd == nil {
		return os.ErrProcessDone
	}
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return os.ErrProcessDone
	}
	sent := os.ErrProcessDone
	raw.Control(func(fd uintptr) { sent = unix.PidfdSendSignal(int(fd), s, nil, 0) })
	if errors.Is(sent, unix.ESRCH) {
		return os.ErrProcessDone
	}
	return sent
}

// exitStatus reads a wait status: 128+n where signal n ended the process.
func exitStatus(status unix.WaitStatus) backend.Exit {
	if status.Signaled() {
		return backend.Exit{Code: 128 + int(status.Signal()), Signal: int(status.Signal())}
	}
	return backend.Exit{Code: status.ExitStatus()}
}
