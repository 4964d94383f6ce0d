package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// This file drives lepto on a terminal: a pseudo terminal (pty(7)), whose other
// side types and reads.

// terminal is that other side.
type terminal struct {
	t      *testing.T
	master *os.File

	mu   sync.Mutex
	seen strings.Builder
}

// onTerminal starts a command on a new terminal of its own.
func onTerminal(t *testing.T, command *exec.Cmd) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	must(t, err)
	t.Cleanup(func() { master.Close() })
	must(t, control(master, func(fd int) error {
		if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
			return err
		}
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: 100, Row: 30})
	}))
	number := 0
	must(t, control(master, func(fd int) (err error) {
		number, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
		return err
	}))
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	defer slave.Close()
	command.Stdin, command.Stdout, command.Stderr = slave, slave, slave
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	must(t, command.Start())
	terminal := &terminal{t: t, master: master}
	go terminal.read()
	return terminal
}

func control(file *os.File, f func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// read keeps what is shown until the last one on the other side has gone.
func (s *terminal) read() {
	buffer := make([]byte, 4096)
	for {
		n, err := s.master.Read(buffer)
		s.mu.Lock()
		s.seen.Write(buffer[:n])
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (s *terminal) shown() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen.String()
}

// awaits waits until a text is shown.
func (s *terminal) awaits(text string) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%q is shown", text), func() bool { return strings.Contains(s.shown(), text) })
}

func (s *terminal) types(text string) {
	s.t.Helper()
	_, err := s.master.WriteString(text)
	must(s.t, err)
}

func TestOnFailureShell(t *testing.T) {
	w := newWorld(t)
	w.box()
	command := w.command("run", w.script("def run(plan):\n    plan.run_sh(name = \"bad\", image = \"box\", run = \"echo kept > /tmp/f; exit 3\")\n"),
		"--enclave", "e", "--on-failure", "shell")
	s := onTerminal(t, command)
	s.awaits("# ") // the shell's prompt
	if shown := s.shown(); !strings.Contains(shown, "ended with exit code 3") {
		t.Errorf("the failure is not shown before: %q", shown)
	}
	s.types("echo it was $(cat /tmp/f) on $(stty size)\r")
	s.awaits("it was kept on 30 100")
	s.types("sleep 1000\r")
	eventually(t, "the command runs", func() bool { return strings.Contains(w.run("service", "exec", "e", "bad", "ps").stdout, "sleep 1000") })
	s.types("\x03")            // Ctrl-C is the shell's, not lepto's
	s.types("echo $((6*7))\r") // and the shell goes on
	s.awaits("\r\n42\r\n")
	s.types("exit\r")
	_ = command.Wait() // its code is checked below
	if code := command.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit %d\n%s", code, s.shown())
	}
	if got := w.ok("service", "exec", "e", "bad", "cat /tmp/f"); got != "kept\n" {
		t.Errorf("the task is not kept: %q", got)
	}
}

func TestTerminalIsResized(t *testing.T) {
	w := newWorld(t)
	w.box()
	w.ok("run", w.script("def run(plan):\n    plan.add_service(\"s\", ServiceConfig(\"box\", cmd = [\"/lab\", \"sleep\"]))\n"), "--enclave", "e")
	command := w.command("service", "shell", "e", "s")
	s := onTerminal(t, command)
	s.awaits("# ")
	s.types("echo at first $(stty size)\r")
	s.awaits("at first 30 100")
	must(t, control(s.master, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: 132, Row: 43})
	}))
	eventually(t, "the new size arrives", func() bool {
		s.types("echo now $(stty size)\r")
		return strings.Contains(s.shown(), "now 43 132")
	})
	s.types("exit 7\r")
	_ = command.Wait() // its code is checked below
	if code := command.ProcessState.ExitCode(); code != 7 {
		t.Errorf("exit %d\n%s", code, s.shown())
	}
}

// TestSecondInterrupt has an engine that does nothing: a second Ctrl-C must not
// wait for it.
func TestSecondInterrupt(t *testing.T) {
	w := newWorld(t)
	w.box()
	command := w.command("run", w.script("def run(plan):\n    plan.run_sh(name = \"long\", image = \"box\", run = \"echo begun; sleep 1000\")\n"), "--enclave", "e")
	s := onTerminal(t, command)
	eventually(t, "the step has begun", func() bool { return strings.Contains(w.run("service", "logs", "e", "long").stdout, "begun") })
	engine := w.enginePID()
	must(t, unix.Kill(engine, unix.SIGSTOP))
	goOn := sync.OnceFunc(func() { must(t, unix.Kill(engine, unix.SIGCONT)) })
	t.Cleanup(goOn) // before the world is closed
	s.types("\x03")
	s.awaits("Ctrl-C again")
	s.types("\x03")
	_ = command.Wait() // its code is checked below
	if code := command.ProcessState.ExitCode(); code != 130 || !strings.Contains(s.shown(), "the run goes on in the engine") {
		t.Errorf("exit %d\n%s", code, s.shown())
	}
	goOn() // what becomes of a request that was withdrawn is chance
}
