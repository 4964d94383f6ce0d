package engine

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file tests what the engine writes to its home.

func TestLogFileIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "engine.log")
	log, err := openLog(path, 100, false)
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if _, err := log.Write([]byte("0123456789\n")); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, path + ".1"} {
		text, err := os.ReadFile(name)
		if err != nil || len(text) > 100 || len(text) == 0 || len(text)%11 != 0 {
			t.Errorf("%s: %d bytes, %v", name, len(text), err)
		}
	}
}

func TestPortTable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ports.json")
	ports, err := openPorts(path)
	if err != nil {
		t.Fatal(err)
	}
	for uuid, port := range map[string]uint16{"a": 1001, "b": 1002, "c": 1003} {
		if err := ports.set(uuid, port); err != nil {
			t.Fatal(err)
		}
	}
	if err := ports.set("b", 0); err != nil {
		t.Fatal(err)
	}
	if err := ports.keepOnly(map[string]bool{"a": true, "b": true}); err != nil {
		t.Fatal(err)
	}
	again, err := openPorts(path)
	if err != nil || again.get("a") != 1001 || again.get("b") != 0 || again.get("c") != 0 {
		t.Errorf("%+v, %v", again, err)
	}
	if err := os.WriteFile(path, []byte("{broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if damaged, err := openPorts(path); err != nil || damaged.get("a") != 0 {
		t.Errorf("damaged: %+v, %v", damaged, err)
	}
}

func packed(t *testing.T, zip bool, headers ...tar.Header) []byte {
	t.Helper()
	var out, zipped bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range headers {
		content := "content of " + h.Name
		if h.Typeflag != tar.TypeReg {
			content = ""
		}
		h.Size, h.Mode = int64(len(content)), 0o755
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if !zip {
		return out.Bytes()
	}
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write(out.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return zipped.Bytes()
}

func TestUnpack(t *testing.T) {
	good := []tar.Header{
		{Name: "main.star", Typeflag: tar.TypeReg}, {Name: "lib/", Typeflag: tar.TypeDir},
		{Name: "lib/x.star", Typeflag: tar.TypeReg}, {Name: "deep/er/y.star", Typeflag: tar.TypeReg},
		{Name: "out", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}, {Name: "null", Typeflag: tar.TypeChar},
	}
	for _, zip := range []bool{true, false} {
		dir := t.TempDir()
		if err := unpack(t.Context(), bytes.NewReader(packed(t, zip, good...)), dir); err != nil {
			t.Fatal(err)
		}
		var got []string
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				got = append(got, strings.TrimPrefix(path, dir+"/"))
			}
			return err
		})
		if err != nil || !slices.Equal(got, []string{"deep/er/y.star", "lib/x.star", "main.star"}) {
			t.Errorf("zip %v: %q, %v", zip, got, err)
		}
	}
}

func TestUnpackStaysInside(t *testing.T) {
	outer := t.TempDir()
	dir := filepath.Join(outer, "dir")
	for name, archive := range map[string][]byte{
		"parent":   packed(t, true, tar.Header{Name: "../escaped", Typeflag: tar.TypeReg}),
		"deeper":   packed(t, true, tar.Header{Name: "a/../../escaped", Typeflag: tar.TypeReg}),
		"nonsense": []byte("\x1f\x8bno archive"),
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := unpack(t.Context(), bytes.NewReader(archive), dir); err == nil {
				t.Error("taken")
			} else if name == "nonsense" && !errors.Is(err, fault.ErrInvalid) {
				t.Error(err)
			}
			if _, err := os.Stat(filepath.Join(outer, "escaped")); err == nil {
				t.Error("escaped")
			}
		})
	}
	absolute := packed(t, false, tar.Header{Name: "/escaped-to-root", Typeflag: tar.TypeReg})
	if err := unpack(t.Context(), bytes.NewReader(absolute), dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "escaped-to-root")); err != nil {
		t.Error(err)
	}
}
