package engine

import (
	"os"
	"path/filepath"
	"testing"
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
