package embedded

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// compressed packs contents as the build does.
func compressed(t *testing.T, content map[string][]byte) map[string][]byte {
	t.Helper()
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer encoder.Close()
	out := map[string][]byte{}
	for name, data := range content {
		out[name] = encoder.EncodeAll(data, nil)
	}
	return out
}

func TestExtractOnceUnderConcurrency(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "programs")
	content := map[string][]byte{supervisor: []byte("#!/bin/true\n"), initName: []byte("init")}
	packed := compressed(t, content)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			in, err := extract(dir, packed)
			if err != nil {
				t.Error(err)
				return
			}
			for name, data := range content {
				if got, err := os.ReadFile(filepath.Join(in, name)); err != nil || string(got) != string(data) {
					t.Errorf("%s holds %q, %v", name, got, err)
				}
			}
		})
	}
	wg.Wait()
	entries, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil || len(entries) != 2 {
		t.Fatalf("extracted: %v, %v", entries, err)
	}
	hidden, err := filepath.Glob(filepath.Join(dir, "*", ".*"))
	if err != nil || len(hidden) != 0 {
		t.Errorf("left over: %v, %v", hidden, err)
	}
	for _, e := range entries {
		info, err := os.Stat(e)
		if want := mode(filepath.Base(e)); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", e, info.Mode(), err)
		}
	}
}

func TestExtractReplacesHalfWrittenFile(t *testing.T) {
	dir := t.TempDir()
	content := compressed(t, map[string][]byte{initName: []byte("whole content")})
	in, err := extract(dir, content)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(in, initName)
	if err := os.WriteFile(path, []byte("who"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := extract(dir, content); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); string(got) != "whole content" {
		t.Errorf("content = %q", got)
	}
}

func TestDifferentContentHasDifferentName(t *testing.T) {
	dir := t.TempDir()
	a, err := extract(dir, compressed(t, map[string][]byte{initName: []byte("a")}))
	if err != nil {
		t.Fatal(err)
	}
	b, err := extract(dir, compressed(t, map[string][]byte{initName: []byte("b")}))
	if err != nil || a == b {
		t.Errorf("%s, %s, %v", a, b, err)
	}
}

func TestExtractRefusesDamage(t *testing.T) {
	packed := compressed(t, map[string][]byte{initName: []byte("a program")})
	data := packed[initName]
	for name, damaged := range map[string][]byte{"cut": data[:len(data)-3], "empty": {}, "not compressed": []byte("a program")} {
		dir := t.TempDir()
		if in, err := extract(dir, map[string][]byte{initName: damaged}); err == nil {
			t.Errorf("%s: extracted to %s", name, in)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*", "*")); len(left) != 0 {
			t.Errorf("%s: left %v", name, left)
		}
	}
}
