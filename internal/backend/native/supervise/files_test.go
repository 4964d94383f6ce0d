package supervise_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/fault"
)

// untar gives the entries of a tar: name → content, or → "-> target".
func untar(t *testing.T, r io.ReadCloser, err error) map[string]string {
	t.Helper()
	must(t, err)
	defer r.Close()
	out := map[string]string{}
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			_, err := io.Copy(io.Discard, r)
			must(t, err)
			return out
		}
		must(t, err)
		data, err := io.ReadAll(in)
		must(t, err)
		out[h.Name] = string(data)
		if h.Linkname != "" {
			out[h.Name] = "-> " + h.Linkname
		}
	}
}

func makeTar(t *testing.T, entries ...tar.Header) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		content := "content of " + h.Name
		if h.Typeflag == 0 {
			h.Typeflag, h.Size, h.Mode = tar.TypeReg, int64(len(content)), 0o640
		}
		must(t, w.WriteHeader(&h))
		if h.Typeflag == tar.TypeReg {
			io.WriteString(w, content)
		}
	}
	must(t, w.Close())
	return &b
}

// TestFiles runs the same checks on a container that runs and on one that has
// ended.
func TestFiles(t *testing.T) {
	volume := t.TempDir()
	must(t, os.WriteFile(filepath.Join(volume, "given"), []byte("volume"), 0o644))
	s := spec(t, `mkdir -p /d/sub; echo a > /d/a; ln /d/a /d/hard; ln -s a /d/soft; echo b > /d/sub/b
ln -s /d /rootlink; ln -s ../../../../../../etc/passwd /escape; ln -s /d/sub /d/abs; ln -s / /d/up; echo v > /vol/made; echo ready; sleep 1000`)
	s.Mounts = []supervise.Mount{{Path: "/vol", Lower: []string{volume}}}
	h := start(t, s)
	eventually(t, "ready", func() bool { return text(t, h) == "ready\n" })
	t.Run("running", func(t *testing.T) { checkFiles(t, h) })
	must(t, h.Kill(t.Context()))
	t.Run("stopped", func(t *testing.T) { checkFiles(t, h) })
	if h2, err := launcher.Start(t.Context(), s); err != nil {
		t.Errorf("start after access to the stopped one: %v", err)
	} else {
		must(t, h2.Kill(t.Context()))
	}
}

func checkFiles(t *testing.T, h *supervise.Handle) {
	files := func(path string) map[string]string {
		t.Helper()
		r, err := h.Files(t.Context(), path)
		return untar(t, r, err)
	}
	d := files("/rootlink")
	want := map[string]string{"a": "a\n", "hard": "-> a", "soft": "-> a", "sub/": "", "sub/b": "b\n", "abs": "-> /d/sub", "up": "-> /"}
	for name, content := range want {
		if d[name] != content {
			t.Errorf("%s = %q, want %q", name, d[name], content)
		}
	}
	if got := files("/d/a"); len(got) != 1 || got["a"] != "a\n" {
		t.Errorf("file: %q", got)
	}
	if got := files("escape"); !strings.Contains(got["escape"], "guest") {
		t.Errorf("a link that leaves the root reads %q", got)
	}
	if got := files("/vol"); got["given"] != "volume" || got["made"] != "v\n" {
		t.Errorf("volume: %q", got)
	}
	if _, err := h.Files(t.Context(), "/none"); !errors.Is(err, fault.ErrNotFound) {
		t.Errorf("missing path: %v", err)
	}
	must(t, h.CopyIn(t.Context(), "/new/dir", makeTar(t,
		tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755}, tar.Header{Name: "x/", Typeflag: tar.TypeDir, Mode: 0o750, Uid: 7},
		tar.Header{Name: "x/f", Uid: 1000, Gid: 1001}, tar.Header{Name: "y/z/deep"},
		tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"},
		tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "x/f"})))
	if got := files("/new/dir"); got["h"] != "content of x/f" || got["x/f"] != "-> h" || got["y/z/deep"] == "" || got["l"] != "-> /etc/passwd" {
		t.Errorf("copied in: %q", got)
	}
	for name, entry := range map[string]tar.Header{
		"dots":          {Name: "../out"},
		"absolute":      {Name: "/etc/out"},
		"inner dots":    {Name: "a/../../out"},
		"through link":  {Name: "up/etc/out"},
		"through abs":   {Name: "abs/out"},
		"device":        {Name: "dev", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3},
		"link out":      {Name: "h2", Typeflag: tar.TypeLink, Linkname: "../etc/passwd"},
		"link through":  {Name: "h3", Typeflag: tar.TypeLink, Linkname: "up/etc/passwd"},
		"link to links": {Name: "h4", Typeflag: tar.TypeLink, Linkname: "soft"},
	} {
		if err := h.CopyIn(t.Context(), "/d", makeTar(t, entry)); !errors.Is(err, fault.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := files("/etc"); got["out"] != "" {
		t.Error("an entry left the directory")
	}
	must(t, h.CopyIn(t.Context(), "/d", makeTar(t, tar.Header{Name: "soft"}))) // replaces the link, not its target
	if got := files("/d"); got["a"] != "a\n" || got["soft"] != "content of soft" {
		t.Errorf("replaced: %q", got)
	}
	must(t, h.CopyIn(t.Context(), "/d", makeTar(t, tar.Header{Name: "soft", Typeflag: tar.TypeSymlink, Linkname: "a"})))
	must(t, h.CopyIn(t.Context(), "/vol", makeTar(t, tar.Header{Name: "in"})))
	if got := files("/vol"); got["in"] != "content of in" {
		t.Errorf("volume: %q", got)
	}
}

func TestRunStep(t *testing.T) {
	s := spec(t, "echo out; echo err >&2; echo data > /made; exit 3")
	s.Layers = []string{minimalRoot(t)}
	s.ResolvConf, s.Hosts = "nameserver 127.0.0.1\n", "127.0.0.1 x\n"
	var out, errs bytes.Buffer
	code, err := supervise.RunStep(t.Context(), launcher, s, &out, &errs)
	must(t, err)
	if code != 3 || out.String() != "out\n" || errs.String() != "err\n" {
		t.Errorf("code %d, stdout %q, stderr %q", code, out.String(), errs.String())
	}
	checkGone(t, s)
	entries, err := os.ReadDir(filepath.Join(s.Dir, "upper"))
	must(t, err)
	if len(entries) != 1 || entries[0].Name() != "made" {
		t.Errorf("the step left %v", entries)
	}
}

// minimalRoot is a root without mount points.
func minimalRoot(t *testing.T) string {
	root := t.TempDir()
	must(t, os.Mkdir(filepath.Join(root, "bin"), 0o755))
	data, err := os.ReadFile("/usr/bin/busybox")
	must(t, err)
	must(t, os.WriteFile(filepath.Join(root, "bin/busybox"), data, 0o755))
	must(t, os.Symlink("busybox", filepath.Join(root, "bin/sh")))
	return root
}
