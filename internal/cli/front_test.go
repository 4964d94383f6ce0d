package cli

import (
	"os/exec"
	"strings"
	"testing"
)

// TestFrontBuilds: a file of this package that needs what the front leaves out has
// the tag !front, and its command is handed over.
func TestFrontBuilds(t *testing.T) {
	if out, err := exec.Command("go", "vet", "-tags", "front grpcnotrace", ".").CombinedOutput(); err != nil && !strings.Contains(string(out), "whole.go") {
		t.Errorf("lepto's front does not build: %v\n%s\ngive files that need more than a client the tag !front, and name their commands in front.go", err, out)
	}
}

// TestFrontIsSmall keeps the engine's rooms, and what they need, out of the
// program that every command starts: see front.go.
func TestFrontIsSmall(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-tags", "front grpcnotrace", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	const ours = "github.com/lepto-dev/lepto/internal/"
	for _, heavy := range []string{
		ours + "engine", ours + "backend/native", ours + "backend/native/network", ours + "image", ours + "instruction", ours + "recipe", ours + "api",
		"github.com/itchyny/gojq", "github.com/google/go-containerregistry/pkg/name", "github.com/moby/buildkit/frontend/dockerfile/parser",
		"github.com/vishvananda/netlink", "github.com/google/nftables",
	} {
		for dep := range strings.Lines(string(out)) {
			if strings.TrimSpace(dep) == heavy {
				t.Errorf("lepto's front links %s: a file of this package imports it, or a room that does; give that file the tag !front and hand its command over", heavy)
			}
		}
	}
}
