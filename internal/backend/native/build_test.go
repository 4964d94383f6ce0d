package native

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/lepto-dev/lepto/internal/backend/native/network/netspace"
)

// A build step without a network died with the process that ran it: the next
// start takes its namespace away.
func TestBuildNetworksOfTheDeadAreRemoved(t *testing.T) {
	home := t.TempDir()
	b := &Backend{cfg: Config{Home: home}}
	if err := os.MkdirAll(b.buildSpaces(), 0o700); err != nil {
		t.Fatal(err)
	}
	space := filepath.Join(b.buildSpaces(), "build-0123456789ab")
	if err := netspace.Create(space, loopbackUp); err != nil {
		t.Fatal(err)
	}
	if !netspace.Bound(space) {
		t.Fatal("the namespace is not bound")
	}
	if err := b.endBuildSteps(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(space); !os.IsNotExist(err) {
		t.Errorf("the namespace's file is left: %v", err)
	}
}
