package memory_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"path"
	"slices"
	"testing"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/backendtest"
	"github.com/lepto-dev/lepto/internal/backend/backendtest/probe"
	"github.com/lepto-dev/lepto/internal/backend/memory"
)

func TestContract(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backendtest.Fixture {
		image := memory.Image{
			Cmd: backendtest.ProbeCommand, Env: backendtest.ProbeEnv, WorkDir: backendtest.ProbeWorkDir,
			Files: backendtest.ProbeFiles, Links: backendtest.ProbeLinks,
		}
		foreign := image
		foreign.Architecture = "foreign"
		b := memory.New(memory.Options{
			Images:   map[string]memory.Image{backendtest.ProbeRef: image, backendtest.ForeignRef: foreign},
			Commands: map[string]memory.Program{"probe": runProbe},
			Missing:  []string{"missing.test/nothing:1"},
		})
		return backendtest.Fixture{
			Backend: b,
			Reopen:  func(*testing.T) backend.Backend { return b.Reopen() },
			Image:   backendtest.ProbeRef, Foreign: backendtest.ForeignRef,
		}
	})
}

// runProbe is the suite's program on a memory process.
func runProbe(ctx context.Context, p *memory.Proc) int {
	user := p.User
	if user == "" {
		user = "0:0"
	}
	abs := func(name string) string {
		if path.IsAbs(name) {
			return name
		}
		return path.Join(p.Dir, name)
	}
	return probe.Run(ctx, probe.Machine{
		Args: p.Args, Stdin: p.Stdin, Stdout: p.Stdout, Stderr: p.Stderr, Dir: p.Dir, User: user, Hostname: p.Hostname,
		Getenv:   func(name string) string { return p.Env[name] },
		ReadFile: func(name string) ([]byte, error) { return p.Files.ReadFile(abs(name)) },
		WriteFile: func(name string, data []byte) error {
			return p.Files.WriteFile(abs(name), data, 0o644)
		},
		Notify: p.Notify,
		Serve: func(_ context.Context, proto string, port uint16, answer func(string) string) error {
			return serve(p, proto, port, answer)
		},
		Ask: func(ctx context.Context, proto, host string, port uint16, message string) (string, error) {
			c, err := p.Dial(ctx, backend.Transport(proto), host, port)
			if err != nil {
				return "", err
			}
			defer c.Close()
			return probe.Exchange(c, proto, message)
		},
	})
}

// serve answers until the process, and with it the listener, ends.
func serve(p *memory.Proc, proto string, port uint16, answer func(string) string) error {
	listen := p.Listen
	if proto == "udp" {
		listen = p.ListenUDP
	}
	l, err := listen(port)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go answerAll(c, proto, answer)
		}
	}()
	return nil
}

func answerAll(c net.Conn, proto string, answer func(string) string) {
	defer c.Close()
	if proto == "udp" {
		buf := make([]byte, 64<<10)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			c.Write([]byte(answer(string(buf[:n]))))
		}
	}
	for in := bufio.NewScanner(c); in.Scan(); {
		fmt.Fprintln(c, answer(in.Text()))
	}
}

func TestImagesOfEveryBackend(t *testing.T) {
	ctx := t.Context()
	b := memory.New(memory.Options{Missing: []string{"gone:1"}})
	e, err := b.CreateEnclave(ctx, backend.EnclaveSpec{ID: "0123456789abcdef0123456789abcdef"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		image   string
		cmd     []string
		running bool
		code    int
	}{
		{"pause", nil, true, 0},
		{"never-opens", nil, true, 0},
		{"exit:3", nil, false, 3},
		{"crash", nil, false, 1},
		{"postgres:16", nil, true, 0},
		{"postgres:16", []string{"postgres", "-c", "x=y"}, true, 0},
		{"postgres:16", []string{"sh", "-c", "exit 4"}, false, 4},
	} {
		name := backend.ServiceName("svc")
		if err := e.Start(ctx, backend.ServiceSpec{Name: name, Image: c.image, Cmd: c.cmd}); err != nil {
			t.Fatalf("%s: %v", c.image, err)
		}
		if !c.running {
			if exit, err := e.Wait(ctx, name); err != nil || exit.Code != c.code {
				t.Errorf("%s: exit %+v, %v", c.image, exit, err)
			}
		} else if s, err := e.Inspect(ctx, name); err != nil || s.State != backend.StateRunning {
			t.Errorf("%s: %+v, %v", c.image, s, err)
		}
		if err := e.Remove(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.EnsureImage(ctx, backend.ImageRequest{Ref: "gone:1"}, nil); err == nil {
		t.Error("a missing image was found")
	}
}

func TestEchoServerAndShell(t *testing.T) {
	ctx := t.Context()
	b := memory.New(memory.Options{})
	e, err := b.CreateEnclave(ctx, backend.EnclaveSpec{ID: "0123456789abcdef0123456789abcdef"})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Destroy(ctx)
	spec := backend.ServiceSpec{Name: "db", Image: "echo-server", Env: map[string]string{"PORTS": "8080,9000/udp"}}
	if err := e.Start(ctx, spec); err != nil {
		t.Fatal(err)
	}
	for line, err := range e.Logs(ctx, "db", backend.LogQuery{Tail: -1, Follow: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if line.Text == "listening on 9000/udp" {
			break
		}
	}
	for _, proto := range []backend.Transport{backend.TCP, backend.UDP} {
		port := map[backend.Transport]uint16{backend.TCP: 8080, backend.UDP: 9000}[proto]
		c, err := e.Dial(ctx, "db", proto, port)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := probe.Exchange(c, string(proto), "hi"); err != nil || got != "hi" {
			t.Errorf("%s: %q, %v", proto, got, err)
		}
		c.Close()
	}
	for script, want := range map[string]string{
		`echo one; echo two`:                        "0 one\ntwo\n|",
		`false && echo no || echo yes`:              "0 yes\n|",
		`true || echo no; echo "a  $PORTS" 'b $X'`:  "0 a  8080,9000/udp b $X\n|",
		`echo oops >&2; exit 3; echo never`:         "3 |oops\n",
		`echo text > /tmp/f && cat /tmp/f`:          "0 text\n|",
		`echo a>/tmp/g; echo b >>/tmp/g;cat /tmp/g`: "0 a\nb\n|",
		`echo "2 > 1"`:                              "0 2 > 1\n|",
		`nothing-here`:                              "127 |sh: nothing-here: not found\n",
		`echo 'open`:                                "2 |sh: unterminated quote\n",
	} {
		if got := sh(t, e, script); got != want {
			t.Errorf("%s: got %q, want %q", script, got, want)
		}
	}
}

func sh(t *testing.T, e backend.Enclave, script string) string {
	t.Helper()
	var out, errs writer
	code, err := e.Exec(t.Context(), "db", backend.ExecSpec{Args: []string{"sh", "-c", script}, Stdout: &out, Stderr: &errs})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s|%s", code, out, errs)
}

type writer []byte

func (w *writer) Write(p []byte) (int, error) {
	*w = slices.Concat(*w, p)
	return len(p), nil
}
