package embedded

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestExtractOnceUnderConcurrency(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "programs")
	content := map[string][]byte{supervisor: []byte("#!/bin/true\n"), initName: []byte("init")}
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			in, err := extract(dir, content)
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
	content := map[string][]byte{initName: []byte("whole content")}
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
	a, err := extract(dir, map[string][]byte{initName: []byte("a")})
	if err != nil {
		t.Fatal(err)
	}
	b, err := extract(dir, map[string][]byte{initName: []byte("b")})
	if err != nil || a == b {
		t.Errorf("%s, %s, %v", a, b, err)
	}
}
