package supervise

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// What a command has spliced into its output arrives whole, although it is more
// than the pipe's size: io.Copy from a socket does that.
func TestSplicedOutputArrives(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Write(make([]byte, 1<<20))
	}()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	socket, err := conn.(*net.TCPConn).File() // in blocking mode
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	from, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	filled := 0
	for {
		n, err := unix.Splice(int(socket.Fd()), nil, int(to.Fd()), nil, 1<<20, unix.SPLICE_F_NONBLOCK)
		if errors.Is(err, unix.EAGAIN) && filled > 0 {
			break
		}
		if err != nil && !errors.Is(err, unix.EAGAIN) {
			t.Fatal(err)
		}
		filled += int(n)
	}
	var got bytes.Buffer
	c := startCopier(from, io.Writer(&got))
	if err := c.finish(); err != nil {
		t.Fatal(err)
	}
	if got.Len() != filled {
		t.Errorf("of %d bytes in the pipe, %d arrived", filled, got.Len())
	}
}
