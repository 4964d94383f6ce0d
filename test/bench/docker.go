package main

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"
)

// docker does the same things with a Docker Engine, through its own client.
type docker struct {
	there bool
	lab   *lab
	image string
}

// newDocker finds a Docker Engine and gives it the lab's image. One that isn't
// there, or can't run the image, leaves the rival's columns empty.
func newDocker(ctx context.Context, lab *lab) *docker {
	d := &docker{lab: lab, image: "lepto-bench:lab"}
	if exec.CommandContext(ctx, "docker", "info").Run() != nil {
		return d
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for name, path := range map[string]string{"lab": lab.program, "bin/sh": shell} {
		program, err := os.ReadFile(path)
		if err != nil {
			return d
		}
		_ = w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(program))})
		_, _ = w.Write(program)
	}
	_ = w.Close()
	imported := exec.CommandContext(ctx, "docker", "import", "--change", `ENTRYPOINT ["/lab"]`, "-", d.image)
	imported.Stdin = &archive
	if output, err := imported.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "docker import: %v: %s\n", err, output)
		return d
	}
	d.there = true
	return d
}

func (d *docker) close() {
	if d.there {
		_ = exec.Command("docker", "rmi", "-f", d.image).Run()
	}
}

func (d *docker) docker(ctx context.Context, args ...string) (string, error) {
	output, err := exec.CommandContext(ctx, "docker", args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("docker %s: %w: %s", args[0], err, output)
	}
	return strings.TrimSpace(string(output)), nil
}

// start runs one container and waits until its published port answers.
func (d *docker) start(ctx context.Context) (string, error) {
	id, err := d.docker(ctx, "run", "-d", "-p", "127.0.0.1::8080", d.image, "serve", "8080")
	if err != nil {
		return "", err
	}
	published, err := d.docker(ctx, "port", id, "8080/tcp")
	if err != nil {
		return id, err
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if d.answers(published) {
			return id, nil
		}
	}
	return id, fmt.Errorf("port %s never opened", published)
}

// answers asks over HTTP: Docker's proxy accepts connections before the service does.
func (d *docker) answers(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	_, _ = conn.Write([]byte("GET /name HTTP/1.0\r\n\r\n"))
	reply := make([]byte, 12)
	n, _ := conn.Read(reply)
	return strings.HasPrefix(string(reply[:n]), "HTTP/1")
}

func (d *docker) runOne(ctx context.Context) (time.Duration, error) {
	begin := time.Now()
	id, err := d.start(ctx)
	took := time.Since(begin)
	return took, first(err, d.rm(ctx, id))
}

func (d *docker) startTen(ctx context.Context) ([]string, error) {
	var ids []string
	for range 10 {
		id, err := d.start(ctx)
		if id != "" {
			ids = append(ids, id)
		}
		if err != nil {
			return ids, err
		}
	}
	return ids, nil
}

func (d *docker) runTen(ctx context.Context) (time.Duration, error) {
	begin := time.Now()
	ids, err := d.startTen(ctx)
	took := time.Since(begin)
	return took, first(err, d.rm(ctx, ids...))
}

// runTwenty runs twenty commands, each in a container of its own.
func (d *docker) runTwenty(ctx context.Context) (time.Duration, error) {
	begin := time.Now()
	for i := range 20 {
		if _, err := d.docker(ctx, "run", "--rm", "--entrypoint", "/bin/sh", d.image, "-c", fmt.Sprintf("echo %d", i)); err != nil {
			return 0, err
		}
	}
	return time.Since(begin), nil
}

func (d *docker) exec(ctx context.Context) (time.Duration, error) {
	id, err := d.start(ctx)
	if err != nil {
		return 0, first(err, d.rm(ctx, id))
	}
	begin := time.Now()
	_, err = d.docker(ctx, "exec", id, "/lab", "dial", "127.0.0.1:8080")
	took := time.Since(begin)
	return took, first(err, d.rm(ctx, id))
}

func (d *docker) remove(ctx context.Context) (time.Duration, error) {
	ids, err := d.startTen(ctx)
	if err != nil {
		return 0, first(err, d.rm(ctx, ids...))
	}
	begin := time.Now()
	err = d.rm(ctx, ids...)
	return time.Since(begin), err
}

func (d *docker) rm(ctx context.Context, ids ...string) error {
	if len(ids) == 0 || ids[0] == "" {
		return nil
	}
	_, err := d.docker(ctx, append([]string{"rm", "-f"}, ids...)...)
	return err
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
