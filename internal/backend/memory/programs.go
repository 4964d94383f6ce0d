package memory

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// This file holds the commands and images that every memory backend has.

// commands are the programs found by name, as if they were in /bin.
func commands() map[string]Program {
	return map[string]Program{
		"pause":       pause,
		"echo-server": echoServer,
		"crash":       crash,
		"exit":        exit,
		"true":        func(context.Context, *Proc) int { return 0 },
		"false":       func(context.Context, *Proc) int { return 1 },
		"echo":        echo,
		"cat":         cat,
		"sleep":       sleep,
		"env":         env,
		"pwd":         func(_ context.Context, p *Proc) int { fmt.Fprintln(p.Stdout, p.Dir); return 0 },
		"hostname":    func(_ context.Context, p *Proc) int { fmt.Fprintln(p.Stdout, p.Hostname); return 0 },
		"whoami":      whoami,
	}
}

// images are the references that mean something; see the package's comment.
func images() map[string]Image {
	return map[string]Image{
		"pause":       {Cmd: []string{"pause"}},
		"never-opens": {Cmd: []string{"pause"}},
		"echo-server": {Cmd: []string{"echo-server"}},
		"crash":       {Cmd: []string{"crash"}},
	}
}

// pause runs until a signal ends it.
func pause(ctx context.Context, p *Proc) int { return hold(ctx, p, make(chan struct{})) }

// hold is pause that tells when it can be asked to end.
func hold(ctx context.Context, p *Proc, holding chan<- struct{}) int {
	term := p.Notify(sigTERM, sigINT)
	close(holding)
	select {
	case <-term:
		return 0
	case <-ctx.Done():
		return 1
	}
}

func crash(_ context.Context, p *Proc) int {
	fmt.Fprintln(p.Stdout, "starting")
	fmt.Fprintln(p.Stderr, "fatal: crashed on purpose")
	return 1
}

func exit(_ context.Context, p *Proc) int {
	if len(p.Args) < 2 {
		return 0
	}
	code, err := strconv.Atoi(p.Args[1])
	if err != nil {
		fmt.Fprintf(p.Stderr, "exit: %s: not a number\n", p.Args[1])
		return 2
	}
	return code
}

// echoServer answers on the ports in $PORTS ("8080,9000/udp") with what it gets.
func echoServer(ctx context.Context, p *Proc) int {
	var work sync.WaitGroup
	defer work.Wait()
	for _, item := range strings.FieldsFunc(p.Env["PORTS"], func(r rune) bool { return r == ',' || r == ' ' }) {
		number, proto, _ := strings.Cut(item, "/")
		port, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			fmt.Fprintf(p.Stderr, "bad port %q in PORTS\n", item)
			return 2
		}
		listen := p.Listen
		if proto == "udp" {
			listen = p.ListenUDP
		}
		l, err := listen(uint16(port))
		if err != nil {
			fmt.Fprintln(p.Stderr, err)
			return 1
		}
		defer l.Close()
		fmt.Fprintf(p.Stdout, "listening on %s\n", item)
		work.Go(func() { echoAll(ctx, l) })
	}
	return pause(ctx, p)
}

func echoAll(ctx context.Context, l net.Listener) {
	var work sync.WaitGroup
	defer work.Wait()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	defer func() {
		mu.Lock()
		defer mu.Unlock()
		for c := range open {
			c.Close()
		}
	}()
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		mu.Lock()
		open[c] = true
		mu.Unlock()
		work.Go(func() {
			_, _ = io.Copy(c, c) // it ends with either side
			c.Close()
			mu.Lock()
			delete(open, c)
			mu.Unlock()
		})
	}
}

func echo(_ context.Context, p *Proc) int {
	fmt.Fprintln(p.Stdout, strings.Join(p.Args[1:], " "))
	return 0
}

// cat prints files, or its input.
func cat(_ context.Context, p *Proc) int {
	if len(p.Args) < 2 {
		if _, err := io.Copy(p.Stdout, p.Stdin); err != nil {
			return 1
		}
		return 0
	}
	for _, name := range p.Args[1:] {
		data, err := p.Files.ReadFile(path.Join(p.Dir, name))
		if path.IsAbs(name) {
			data, err = p.Files.ReadFile(name)
		}
		if err != nil {
			fmt.Fprintf(p.Stderr, "cat: %v\n", err)
			return 1
		}
		if _, err := p.Stdout.Write(data); err != nil {
			return 1
		}
	}
	return 0
}

func sleep(ctx context.Context, p *Proc) int {
	if len(p.Args) < 2 {
		return 2
	}
	seconds, err := strconv.ParseFloat(p.Args[1], 64)
	if err != nil {
		fmt.Fprintf(p.Stderr, "sleep: %s: not a number\n", p.Args[1])
		return 2
	}
	select {
	case <-time.After(time.Duration(seconds * float64(time.Second))):
		return 0
	case <-ctx.Done():
		return 1
	}
}

func env(_ context.Context, p *Proc) int {
	for _, k := range slices.Sorted(maps.Keys(p.Env)) {
		fmt.Fprintf(p.Stdout, "%s=%s\n", k, p.Env[k])
	}
	return 0
}

func whoami(_ context.Context, p *Proc) int {
	user := p.User
	if user == "" {
		user = "root"
	}
	fmt.Fprintln(p.Stdout, user)
	return 0
}
