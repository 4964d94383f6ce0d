package native

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
)

// TestHomeWithAnyName: what is in a home is found, whatever the home is called.
// Otherwise two enclaves would get one subnet, and an image could be removed under
// its service.
func TestHomeWithAnyName(t *testing.T) {
	b := &Backend{cfg: Config{Home: filepath.Join(t.TempDir(), "a[1]*?")}}
	subnet := netip.MustParsePrefix("172.16.0.0/22")
	dir := b.dir("one")
	for file, doc := range map[string]any{
		filepath.Join(dir, enclaveFile):                           enclaveDoc{Spec: backend.EnclaveSpec{ID: "one"}, Subnet: subnet},
		filepath.Join(dir, containersDir, "db", serviceFile):      serviceDoc{Image: "sha256:1"},
		filepath.Join(dir, containersDir, "db", "of-no-interest"): serviceDoc{Image: "sha256:2"},
	} {
		write(t, file, doc)
	}
	if got := b.takenSubnets("two"); len(got) != 1 || got[0] != subnet {
		t.Errorf("subnets taken: %v, want %v", got, subnet)
	}
	if used := b.usedImages(); len(used) != 1 || !used["sha256:1"] {
		t.Errorf("images used: %v", used)
	}
}

func write(t *testing.T, file string, doc any) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := supervise.WriteJSON(file, doc); err != nil {
		t.Fatal(err)
	}
}
