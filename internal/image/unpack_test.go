package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestUnpack(t *testing.T) {
	tests := []struct {
		name    string
		entries []tarEntry
		want    []string // listing
		err     string   // or this
	}{
		{name: "owner and mode are kept, setuid too",
			entries: []tarEntry{file("bin/su", "x").with(func(h *tar.Header) { h.Mode, h.Uid, h.Gid = 0o4755, 12, 34 })},
			want:    []string{"drwxr-xr-x 0:0 bin", `urwxr-xr-x 12:34 bin/su "x"`}},
		{name: "leading slash and dot are the root",
			entries: []tarEntry{dir("./"), file("/a", "1"), file("./b", "2")},
			want:    []string{`-rw-r--r-- 0:0 a "1"`, `-rw-r--r-- 0:0 b "2"`}},
		{name: "whiteout becomes a 0/0 device",
			entries: []tarEntry{dir("d"), file("d/.wh.gone", "")},
			want:    []string{"drwxr-xr-x 0:0 d", "Dc--------- 0:0 d/gone dev 0/0"}},
		{name: "opaque mark becomes an attribute",
			entries: []tarEntry{dir("d"), file("d/.wh..wh..opq", ""), file("d/new", "n")},
			want:    []string{"drwxr-xr-x 0:0 d opaque=y", `-rw-r--r-- 0:0 d/new "n"`}},
		{name: "whiteout and then a directory hides the lower one",
			entries: []tarEntry{file(".wh.d", ""), dir("d"), file("d/x", "1")},
			want:    []string{"drwxr-xr-x 0:0 d opaque=y", `-rw-r--r-- 0:0 d/x "1"`}},
		{name: "directory and then a whiteout hides the lower one",
			entries: []tarEntry{dir("d"), file("d/x", "1"), file(".wh.d", "")},
			want:    []string{"drwxr-xr-x 0:0 d opaque=y", `-rw-r--r-- 0:0 d/x "1"`}},
		{name: "whiteout of a file of the same layer is void",
			entries: []tarEntry{file("f", "1"), file(".wh.f", ""), symlink("l", "f"), file(".wh.l", "")},
			want:    []string{`-rw-r--r-- 0:0 f "1"`, "Lrwxrwxrwx 0:0 l -> f"}},
		{name: "whiteout and then a file is the file",
			entries: []tarEntry{file(".wh.f", ""), file("f", "1")},
			want:    []string{`-rw-r--r-- 0:0 f "1"`}},
		{name: "aufs bookkeeping is left out",
			entries: []tarEntry{file(".wh..wh.aufs", ""), file(".wh..wh.orph", "")}},
		{name: "file replaces directory",
			entries: []tarEntry{dir("a"), file("a/b", "1"), file("a", "2")},
			want:    []string{`-rw-r--r-- 0:0 a "2"`}},
		{name: "directory keeps what is in it",
			entries: []tarEntry{file("a/b", "1"), dir("a").with(func(h *tar.Header) { h.Mode = 0o1777 })},
			want:    []string{"dtrwxrwxrwx 0:0 a", `-rw-r--r-- 0:0 a/b "1"`}},
		{name: "hard link",
			entries: []tarEntry{file("a/one", "1"), hardlink("b/two", "a/one"), hardlink("three", "/a/one")},
			want: []string{"drwxr-xr-x 0:0 a", `-rw-r--r-- 0:0 a/one "1"`, "drwxr-xr-x 0:0 b", `-rw-r--r-- 0:0 b/two "1"`,
				`-rw-r--r-- 0:0 three "1"`}},
		{name: "devices and pipes",
			entries: []tarEntry{
				entry(tar.TypeChar, "null", "").with(func(h *tar.Header) { h.Devmajor, h.Devminor, h.Mode = 1, 3, 0o666 }),
				entry(tar.TypeFifo, "pipe", "")},
			want: []string{"Dcrw-rw-rw- 0:0 null dev 1/3", "prw-r--r-- 0:0 pipe"}},
		{name: "symlink inside is followed as a parent",
			entries: []tarEntry{dir("usr/lib"), symlink("lib", "usr/lib"), file("lib/x", "1")},
			want:    []string{"Lrwxrwxrwx 0:0 lib -> usr/lib", "drwxr-xr-x 0:0 usr", "drwxr-xr-x 0:0 usr/lib", `-rw-r--r-- 0:0 usr/lib/x "1"`}},
		{name: "absolute symlink means the layer's root",
			entries: []tarEntry{dir("run"), symlink("var/run", "/run"), file("var/run/x", "1")},
			want:    []string{"drwxr-xr-x 0:0 run", `-rw-r--r-- 0:0 run/x "1"`, "drwxr-xr-x 0:0 var", "Lrwxrwxrwx 0:0 var/run -> /run"}},
		{name: "symlink to what only a lower layer has",
			entries: []tarEntry{symlink("var/run", "../run"), file("var/run/x", "1")},
			want:    []string{"drwxr-xr-x 0:0 run", `-rw-r--r-- 0:0 run/x "1"`, "drwxr-xr-x 0:0 var", "Lrwxrwxrwx 0:0 var/run -> ../run"}},
		{name: "symlink that climbs stays in the root",
			entries: []tarEntry{symlink("out", "../../../../../../tmp"), file("out/lepto-escape", "1")},
			want:    []string{"Lrwxrwxrwx 0:0 out -> ../../../../../../tmp", "drwxr-xr-x 0:0 tmp", `-rw-r--r-- 0:0 tmp/lepto-escape "1"`}},
		{name: "file written through a symlink replaces the symlink",
			entries: []tarEntry{symlink("passwd", "/etc/passwd"), file("passwd", "mine")},
			want:    []string{`-rw-r--r-- 0:0 passwd "mine"`}},
		{name: "hard link to a symlink does not follow it",
			entries: []tarEntry{symlink("l", "/etc/passwd"), hardlink("m", "l")},
			want:    []string{"Lrwxrwxrwx 0:0 l -> /etc/passwd", "Lrwxrwxrwx 0:0 m -> /etc/passwd"}},

		{name: "dot-dot is refused", entries: []tarEntry{file("a/../../b", "1")}, err: "leads out"},
		{name: "dot-dot in a hard link is refused", entries: []tarEntry{hardlink("a", "../b")}, err: "leads out"},
		{name: "hard link to nothing", entries: []tarEntry{hardlink("a", "etc/passwd")}, err: "no such file"},
		{name: "hard link to a directory", entries: []tarEntry{dir("d"), hardlink("a", "d")}, err: "not permitted"},
		{name: "hard link through a symlink stays inside", entries: []tarEntry{symlink("e", "/etc"), hardlink("a", "e/passwd")}, err: "no such file"},
		{name: "whiteout of the parent", entries: []tarEntry{file("a/.wh...", "")}, err: "whiteout of nothing"},
		{name: "loop of symlinks", entries: []tarEntry{symlink("a", "b"), symlink("b", "a"), file("a/x", "")}, err: "symbolic links"},
		{name: "file as a parent", entries: []tarEntry{file("a", ""), file("a/x", "")}, err: "not a directory"},
		{name: "root that is a file", entries: []tarEntry{file("./", "").with(func(h *tar.Header) { h.Name = "." })}, err: "root is no directory"},
		{name: "too many bytes", entries: []tarEntry{file("a", strings.Repeat("x", 700)), file("b", strings.Repeat("x", 700))}, err: "more than 1024 bytes"},
		{name: "too many entries", entries: manyFiles(101), err: "more than 100 entries"},
		{name: "too many implied directories", entries: []tarEntry{file(strings.Repeat("d/", 101)+"x", ""), file("y", "")}, err: "more than 100 entries"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			_, err := unpack(t.Context(), root, bytes.NewReader(tarOf(t, test.entries...)), Limits{LayerBytes: 1024, LayerEntries: 100})
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) || !errors.Is(err, errCorrupt) {
					t.Fatalf("error is %v, want a damaged image: %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			sameLines(t, listing(t, root), test.want)
		})
	}
	if _, err := os.Lstat("/tmp/lepto-escape"); err == nil {
		t.Error("an entry left its layer")
	}
}

func manyFiles(n int) []tarEntry {
	var out []tarEntry
	for i := range n {
		out = append(out, file(strings.Repeat("f", i+1), ""))
	}
	return out
}

func TestUnpackTimesAndAttributes(t *testing.T) {
	root := t.TempDir()
	capability := string([]byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}) // cap_net_bind_service=ep
	content := tarOf(t,
		dir("d"),
		file("d/ping", "x").with(func(h *tar.Header) {
			h.Uid = 7
			h.PAXRecords = map[string]string{
				"SCHILY.xattr.security.capability":      capability,
				"SCHILY.xattr.user.note":                "kept",
				"SCHILY.xattr.trusted.overlay.redirect": "/elsewhere",
				"SCHILY.xattr.user.overlay.opaque":      "y",
			}
		}),
		symlink("l", "d"))
	if _, err := unpack(t.Context(), root, bytes.NewReader(content), Limits{}.orDefault()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"d", "d/ping", "l"} {
		info, err := os.Lstat(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if !info.ModTime().Equal(stamp) {
			t.Errorf("%s: time is %s, want %s", name, info.ModTime(), stamp)
		}
	}
	for attr, want := range map[string]string{
		"security.capability": capability, "user.note": "kept", "trusted.overlay.redirect": "", "user.overlay.opaque": "",
	} {
		value := make([]byte, 64)
		n, err := unix.Lgetxattr(filepath.Join(root, "d/ping"), attr, value)
		if got := string(value[:max(n, 0)]); got != want {
			t.Errorf("%s is %q (%v), want %q", attr, got, err, want)
		}
	}
}

func TestUnpackEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("the user left")
	cancel(gone)
	if _, err := unpack(ctx, t.TempDir(), bytes.NewReader(tarOf(t, file("a", "1"))), Limits{}.orDefault()); !errors.Is(err, gone) {
		t.Errorf("error is %v, want the context's cause", err)
	}
}

func TestAddLayerRefusesABomb(t *testing.T) {
	s := testStore(t, Options{Limits: Limits{LayerBytes: 1 << 20}})
	var squeezed bytes.Buffer
	z := gzip.NewWriter(&squeezed)
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: "zeros", Size: 64 << 20, Mode: 0o644, Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(w, zeros{}, 64<<20); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	plain, err := decompress(&squeezed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.AddLayer(t.Context(), plain); !errors.Is(err, errCorrupt) {
		t.Errorf("error is %v, want a damaged image", err)
	}
	noLeftovers(t, s)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// noLeftovers checks that nothing is in the store's work folder.
func noLeftovers(t testing.TB, s *Store) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.dir, "tmp"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("left over: tmp/%s", e.Name())
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(tarOf(f, dir("d"), file("d/.wh.x", ""), symlink("s", "/d"), file("s/y", "1"), hardlink("h", "s/y")))
	f.Add(tarOf(f, symlink("a", ".."), file("a/b", "1"), file(".wh..wh..opq", "")))
	f.Add(tarOf(f, file("a/../b", "1")))
	f.Fuzz(func(t *testing.T, content []byte) {
		base := t.TempDir()
		root := filepath.Join(base, "root")
		if err := os.Mkdir(root, 0o755); err != nil {
			t.Fatal(err)
		}
		_, err := unpack(t.Context(), root, bytes.NewReader(content), Limits{LayerBytes: 1 << 20, LayerEntries: 200})
		if err != nil && !errors.Is(err, errCorrupt) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("unclassified error: %v", err)
		}
		if entries, _ := os.ReadDir(base); len(entries) != 1 {
			t.Error("something left the root")
		}
	})
}
