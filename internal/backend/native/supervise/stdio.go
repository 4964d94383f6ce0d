package supervise

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// This file connects a command's three descriptors with readers and writers.

// descriptorSet are the descriptors to send, and the files to close after.
type descriptorSet struct {
	send  []int
	close []*os.File
}

// stdio gives the descriptors for a command without a terminal: files are
// passed as they are, everything else through a pipe.
func (p *process) stdio() (descriptorSet, error) {
	var set descriptorSet
	if p.spec.TTY {
		return set, nil
	}
	in, err := p.input(&set)
	if err != nil {
		return set, err
	}
	out, err := p.output(&set, p.spec.Stdout)
	if err != nil {
		return set, err
	}
	errOut := out
	if !same(p.spec.Stdout, p.spec.Stderr) {
		if errOut, err = p.output(&set, p.spec.Stderr); err != nil {
			return set, err
		}
	}
	set.send = []int{in, out, errOut}
	return set, nil
}

// same reports whether two writers are one; values that can't be compared
// aren't.
func same(a, b io.Writer) (equal bool) {
	defer func() { _ = recover() }()
	return a != nil && a == b
}

func (p *process) input(set *descriptorSet) (int, error) {
	if f, ok := p.spec.Stdin.(*os.File); ok {
		return fd(f), nil
	}
	if p.spec.Stdin == nil {
		return devNull(set, os.O_RDONLY)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	set.close = append(set.close, r)
	// Nobody can wait for this one: a reader such as a terminal's may not come
	// back for hours. It ends with its reader, or with the first write to a
	// command that is gone.
	go func() {
		_, _ = io.Copy(w, p.spec.Stdin)
		w.Close()
	}()
	return fd(r), nil
}

func (p *process) output(set *descriptorSet, to io.Writer) (int, error) {
	if f, ok := to.(*os.File); ok {
		return fd(f), nil
	}
	if to == nil {
		return devNull(set, os.O_WRONLY)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	set.close = append(set.close, w)
	p.copies = append(p.copies, startCopier(r, to))
	return fd(w), nil
}

func devNull(set *descriptorSet, mode int) (int, error) {
	f, err := os.OpenFile(os.DevNull, mode, 0)
	if err != nil {
		return 0, err
	}
	set.close = append(set.close, f)
	return fd(f), nil
}

// fd gives a file's descriptor for another process. Go's files are in
// non-blocking mode, which belongs to the open file and so would be the
// command's too: most programs lose output then.
func fd(f *os.File) int { return int(f.Fd()) }

// feedTerminal types what comes. At its end it types Ctrl-D, which is how a
// terminal says so.
func feedTerminal(terminal io.Writer, from io.Reader) {
	if _, err := io.Copy(terminal, from); err == nil {
		_, _ = terminal.Write([]byte{4})
	}
}

// A copier hands on what comes out of a pipe or terminal.
type copier struct {
	from *os.File
	to   io.Writer
	done chan error
}

func startCopier(from *os.File, to io.Writer) *copier {
	if to == nil {
		to = io.Discard
	}
	c := &copier{from: from, to: to, done: make(chan error, 1)}
	go func() { c.done <- c.run() }()
	return c
}

// run copies until the other side is closed, or finish says that the command
// has ended: then what it has written is there to read, and whoever else holds
// the other side is not waited for. Output that its writer doesn't take is
// dropped, since the command would hang.
func (c *copier) run() error {
	buf := make([]byte, 32<<10)
	var failed error
	write := func(n int) {
		if failed == nil && n > 0 {
			_, failed = c.to.Write(buf[:n])
		}
	}
	for {
		n, err := c.from.Read(buf)
		write(n)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			return failed
		}
	}
	raw, err := c.from.SyscallConn()
	if err != nil {
		return err
	}
	raw.Control(func(d uintptr) {
		// No more than there is now, whatever a process in the background adds.
		for left := waiting(int(d)); left > 0; {
			n, err := unix.Read(int(d), buf)
			if err == unix.EINTR {
				continue
			}
			if n <= 0 || err != nil {
				return
			}
			write(n)
			left -= n
		}
	})
	return failed
}

// waiting gives how many bytes there are to read. That may be more than the size
// of a pipe: what was spliced into it lies there in larger pieces.
func waiting(fd int) int {
	const pipe = 64 << 10 // what most pipes hold, where the kernel can't tell
	n, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
	if err != nil {
		return pipe
	}
	return n
}

// finish waits for the copying to end; the command has ended.
func (c *copier) finish() error {
	c.from.SetReadDeadline(unixEpoch)
	err := <-c.done
	c.from.Close()
	return err
}
