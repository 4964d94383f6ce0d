package backendtest

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/backendtest/bounds"
	"github.com/lepto-dev/lepto/internal/backend/backendtest/probe"
)

// This file holds what rules have in common and needs no test's state.

// collect reads a log to its end.
func collect(lines iter.Seq2[backend.LogLine, error]) ([]backend.LogLine, error) {
	var out []backend.LogLine
	for line, err := range lines {
		if err != nil {
			return out, err
		}
		out = append(out, line)
	}
	return out, nil
}

// dialAndAsk does one exchange with a serving probe.
func dialAndAsk(ctx context.Context, e backend.Enclave, name backend.ServiceName, proto backend.Transport, port uint16, message string) (string, error) {
	c, err := e.Dial(ctx, name, proto, port)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(bounds.Wide(10 * time.Second))); err != nil {
		return "", err
	}
	return probe.Exchange(c, string(proto), message)
}

// pack makes a tar of files.
func pack(files map[string]string) io.Reader {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name])), Typeflag: tar.TypeReg})
		io.WriteString(w, files[name])
	}
	w.Close()
	return &buf
}

// packLink makes a tar with a symlink, and a file that goes through it.
func packLink(name, target, through string) io.Reader {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	w.WriteHeader(&tar.Header{Name: name, Linkname: target, Mode: 0o777, Typeflag: tar.TypeSymlink})
	w.WriteHeader(&tar.Header{Name: through, Mode: 0o644, Size: 1, Typeflag: tar.TypeReg})
	io.WriteString(w, "x")
	w.Close()
	return &buf
}

// unpack reads a tar: a file's content, "dir" for a directory, "-> target" for
// a symlink. Trailing slashes and a leading "./" are not part of a name.
func unpack(r io.ReadCloser) (map[string]string, error) {
	defer r.Close()
	out := map[string]string{}
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		name := trimName(h.Name)
		switch h.Typeflag {
		case tar.TypeDir:
			if name != "" {
				out[name] = "dir"
			}
		case tar.TypeSymlink:
			out[name] = "-> " + h.Linkname
		default:
			data, err := io.ReadAll(t)
			if err != nil {
				return nil, err
			}
			out[name] = string(data)
		}
	}
}

func trimName(name string) string {
	for len(name) > 1 && name[:2] == "./" {
		name = name[2:]
	}
	if name == "." {
		return ""
	}
	for len(name) > 0 && name[len(name)-1] == '/' {
		name = name[:len(name)-1]
	}
	return name
}

// numbered gives a service name.
func numbered(i int) backend.ServiceName { return backend.ServiceName(fmt.Sprintf("svc-%d", i)) }
