// Command cmd is the probe as a real process; see package probe.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/lepto-dev/lepto/internal/backend/backendtest/probe"
)

func main() {
	dir, _ := os.Getwd()
	host, _ := os.Hostname()
	os.Exit(probe.Run(context.Background(), probe.Machine{
		Args: os.Args, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Getenv: os.Getenv, Dir: dir, Hostname: host,
		User:     fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid()),
		ReadFile: os.ReadFile,
		WriteFile: func(name string, data []byte) error {
			return os.WriteFile(name, data, 0o644)
		},
		Notify: notify, Serve: serve, Ask: ask, Eat: eat, Burn: burn,
	}))
}

func notify(numbers ...int) <-chan int {
	raw, out := make(chan os.Signal, 1), make(chan int, 1)
	for _, n := range numbers {
		signal.Notify(raw, syscall.Signal(n))
	}
	go func() {
		for s := range raw {
			out <- int(s.(syscall.Signal))
		}
	}()
	return out
}

func serve(ctx context.Context, proto string, port uint16, answer func(string) string) error {
	at := net.JoinHostPort("", strconv.Itoa(int(port)))
	if proto == "udp" {
		return serveUDP(at, answer)
	}
	l, err := net.Listen("tcp", at)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for in := bufio.NewScanner(c); in.Scan(); {
					fmt.Fprintln(c, answer(in.Text()))
				}
			}()
		}
	}()
	return nil
}

func serveUDP(at string, answer func(string) string) error {
	c, err := net.ListenPacket("udp", at)
	if err != nil {
		return err
	}
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			c.WriteTo([]byte(answer(string(buf[:n]))), from)
		}
	}()
	return nil
}

func ask(ctx context.Context, proto, host string, port uint16, message string) (string, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, proto, net.JoinHostPort(host, strconv.Itoa(int(port))))
	if err != nil {
		return "", err
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		c.SetDeadline(deadline)
	}
	return probe.Exchange(c, proto, message)
}

func eat(megabytes int) {
	var kept [][]byte
	for range megabytes {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		kept = append(kept, b)
	}
	fmt.Fprintln(io.Discard, len(kept))
}

func burn(wall time.Duration) time.Duration {
	end := time.Now().Add(wall)
	for x := uint64(1); time.Now().Before(end); {
		for range 1 << 16 {
			x = x*6364136223846793005 + 1
		}
	}
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
