// Package composer runs lepto-compose, which turns a Docker Compose file into
// Starlark, and carries it, compressed. It is a program apart because the library
// that knows Compose costs each start of what links it 4 ms, and because a file
// that keeps it busy can be stopped.
package composer

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/lepto-dev/lepto/internal/fault"
)

//go:embed bin
var files embed.FS

const (
	name = "lepto-compose"
	// timeout bounds a conversion. It takes some 10 ms; aliases of YAML can ask
	// for any amount of work.
	timeout = 20 * time.Second
	// maxText bounds a program, in bytes.
	maxText = 16 << 20
)

// Program is the program's path; empty for the one that lepto carries. For tests.
var Program string

// Starlark gives the program of a compose file: its path in the tree of a
// directory, slash-separated; and what the user should know of it. What is wrong
// with the file is an E0118.
func Starlark(ctx context.Context, dir, file string) (text string, remarks []string, err error) {
	program, remove, err := open()
	if err != nil {
		return "", nil, fault.New("E0118", "compose file %s: %w", file, err)
	}
	defer remove()
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("it took longer than %s to read: %w", timeout, fault.ErrTimeout))
	defer cancel()
	cmd := exec.CommandContext(ctx, program, dir, file)
	cmd.Env = []string{"GOMEMLIMIT=256MiB"}
	cmd.WaitDelay = time.Second
	var stdout, stderr limited
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	var exited *exec.ExitError
	switch {
	case context.Cause(ctx) != nil:
		return "", nil, fault.New("E0118", "compose file %s: %w", file, context.Cause(ctx))
	case errors.As(err, &exited) && exited.ExitCode() == 1:
		return "", nil, refused(file, stderr.String())
	case err != nil:
		return "", nil, fault.New("E0118", "compose file %s: %s: %w", file, name, err)
	}
	for line := range strings.Lines(stderr.String()) {
		remarks = append(remarks, strings.TrimSpace(line))
	}
	return stdout.String(), remarks, nil
}

// refused is the fault of what is wrong with a file; each line is a mistake.
func refused(file, said string) error {
	lines := strings.Split(strings.TrimSpace(said), "\n")
	at := spot().FindStringSubmatchIndex(lines[0])
	if at == nil {
		return fault.New("E0118", "compose file %s: %s", file, lines[0]).WithEvidence("also", lines[1:]...)
	}
	first := lines[0]
	line, _ := strconv.Atoi(first[at[4]:at[5]])
	f := fault.New("E0118", "compose file %s: %s", file, first[:at[0]]+first[at[1]:])
	f.WithFrames(fault.Frame{File: first[at[2]:at[3]], Line: line, Col: 1})
	return f.WithEvidence("also", lines[1:]...)
}

// spot finds where in a file a mistake is, as the program says it.
var spot = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\b([^\s:"]+):(\d+): `) })

// limited is a buffer that keeps so much and no more.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > maxText {
		return 0, errors.New("too much text")
	}
	return l.Buffer.Write(p)
}

// open gives the program's path, and what takes it away again.
func open() (path string, remove func(), err error) {
	if Program != "" {
		return Program, func() {}, nil
	}
	compressed, err := files.ReadFile("bin/" + name + ".zst")
	if errors.Is(err, fs.ErrNotExist) {
		path, err = beside()
		return path, func() {}, err
	}
	if err != nil {
		return "", nil, err
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return "", nil, err
	}
	defer decoder.Close()
	data, err := decoder.DecodeAll(compressed, nil)
	if err != nil {
		return "", nil, err
	}
	return place(data)
}

// beside finds the program in the directory of lepto's own executable.
func beside() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(self), name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("lepto was built without %s, and it is not in %s: %w", name, filepath.Dir(path), fault.ErrNotFound)
	}
	return path, nil
}
