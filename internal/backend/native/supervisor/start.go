package supervisor

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path"
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
	request, orders, err := c.request()
	if err != nil {
		return diskFault(err)
	}
	return diskFault(c.run(request, orders))
}

// prepare makes the files that a container needs.
func (c *container) prepare() error {
	if err := os.RemoveAll(c.lcDir()); err != nil {
		return err
	}
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

// lcDir is where libcontainer keeps its own files.
func (c *container) lcDir() string { return filepath.Join(c.dir, "lc") }

// request completes the spec: what is lepto-create's, and the orders of the
// container's first process.
func (c *container) request() (supervise.CreateRequest, []byte, error) {
	root := c.root.path()
	none := supervise.CreateRequest{}
	id, err := identify(root, c.spec.User)
	if err != nil {
		return none, nil, err
	}
	cwd, err := checkWorkDir(root, c.spec.Cwd)
	if err != nil {
		return none, nil, err
	}
	all, err := available()
	if err != nil {
		return none, nil, err
	}
	names, bits, err := bounding(c.spec, all)
	if err != nil {
		return none, nil, err
	}
	request := supervise.CreateRequest{
		Spec:      c.spec,
		StateDir:  c.lcDir(),
		Root:      root,
		Binds:     c.binds(),
		Args:      append([]string{initPath(c.spec), initMode(c.spec), "3", "4", "5"}, c.spec.Args...),
		Available: slices.Sorted(maps.Keys(all)),
		Console:   c.console(),
	}
	program, err := c.filterFor(names, bits)
	if err != nil {
		slog.Warn("no system call filter to be had in advance", "err", err)
		request.FilterFor = names
	}
	c.mu.Lock()
	c.program = program
	c.mu.Unlock()
	var e encoder
	e.list(environment(c.spec, id, c.spec.TTY))
	return request, confinement{make: true, bounding: bits, identity: id, cwd: cwd, filter: program}.append(e), nil
}

// console reports whether the terminal is this process's to hold: the init does
// it, and so the terminal outlives the supervisor, but for a container that has
// none.
func (c *container) console() bool { return c.spec.TTY && c.spec.NoInit }

// binds lists the host paths that are mounted in the container.
func (c *container) binds() []supervise.Bind {
	var out []supervise.Bind
	for _, f := range etcFiles(c.spec) {
		out = append(out, supervise.Bind{Source: filepath.Join(c.dir, f.name), Target: f.target})
	}
	for i, m := range c.spec.Mounts {
		source := m.Bind
		if len(m.Lower) > 0 {
			source = c.root.volume(i)
		}
		out = append(out, supervise.Bind{Source: source, Target: m.Path, ReadOnly: m.ReadOnly})
	}
	return append(out, supervise.Bind{Source: c.programs.sealedInit, Target: initPath(c.spec), ReadOnly: true})
}

// initPath is where the init is in the container: in its /dev, a file system
// that is always ours, unless the spec puts another one there.
func initPath(spec supervise.Spec) string {
	for _, m := range spec.Mounts {
		if path.Clean(m.Path) == "/dev" {
			return "/.lepto-init"
		}
	}
	return "/dev/.lepto-init"
}

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
	case spec.NoInit:
		return "exec"
	case spec.TTY:
		return "tty"
	}
	return "init"
}

// run has the container made and waits until it has executed the command.
func (c *container) run(request supervise.CreateRequest, orders []byte) error {
	stdio, err := c.output.writers()
	if err != nil {
		return err
	}
	defer stdio.close()
	status, statusW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer status.Close()
	defer statusW.Close()
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
	pid, err := c.create(request, stdio.in, stdio.out, stdio.err, statusW, exit, told)
	if err != nil {
		return err
	}
	process := newChild(c.dir, pid, c.children)
	c.mu.Lock()
	c.process = process
	c.mu.Unlock()
	statusW.Close()
	if errno, stage, err := readFailure(status); err != nil || errno != 0 {
		process.wait()
		if err == nil {
			err = c.notRun(errno, stage)
		}
		return err
	}
	return c.running(pid)
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

// create runs lepto-create. files are the container's descriptors, in the order
// of supervise.CreateStdin and so on.
func (c *container) create(request supervise.CreateRequest, files ...*os.File) (int, error) {
	var theirs []*os.File // closed in this process once it runs
	defer func() {
		for _, f := range theirs {
			f.Close()
		}
	}()
	answer, answerW, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer answer.Close()
	theirs = append(theirs, answerW)
	body, err := json.Marshal(request)
	if err != nil {
		return 0, err
	}
	in, err := memoryFile("request", body)
	if err != nil {
		return 0, err
	}
	theirs = append(theirs, in)
	var console *os.File
	if request.Console {
		ours, socket, err := socketPair()
		if err != nil {
			return 0, err
		}
		console = ours
		defer ours.Close()
		theirs = append(theirs, socket)
		files = append(files, socket)
	}
	files = append([]*os.File{in, answerW, os.Stderr}, files...)
	runtime.LockOSThread() // see children.start
	defer runtime.UnlockOSThread()
	pid, err := c.children.start(c.programs.create, []string{"lepto-create"}, files...)
	if err != nil {
		return 0, err
	}
	answerW.Close()
	var created supervise.Created
	err = json.NewDecoder(answer).Decode(&created)
	c.children.wait(pid)
	if err != nil {
		return 0, fault.New(supervise.CodeRuntime, "lepto-create ended without an answer: %w", err)
	}
	if created.Error == nil && console != nil {
		err = c.output.takeConsole(console)
	}
	return created.PID, errors.Join(created.Error.Err(), err)
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

// readFailure waits for the init's report: it ends with nothing said once the
// command has been executed.
func readFailure(status io.Reader) (unix.Errno, stage, error) {
	data, err := io.ReadAll(io.LimitReader(status, 8))
	if err != nil {
		return 0, 0, fmt.Errorf("read the init's report: %w", err)
	}
	if len(data) < 8 {
		return 0, 0, nil
	}
	return unix.Errno(binary.NativeEndian.Uint32(data)), stage(binary.NativeEndian.Uint32(data[4:])), nil
}

// notRun explains a first process that did not come to execute the command.
func (c *container) notRun(errno unix.Errno, at stage) error {
	switch {
	case at == stageExecute:
		return commandFault(c.root.path(), c.spec, errno)
	case at == stageDirectory && errno == unix.EACCES:
		return fault.New(supervise.CodeWorkDir, "working directory %q: permission denied for the user", c.spec.Cwd)
	case at == stageDirectory:
		return fault.New(supervise.CodeWorkDir, "working directory %q: %w", c.spec.Cwd, errno)
	}
	return fault.New(supervise.CodeRuntime, "start container: %s: %w", at, errno)
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
