package enclave

import (
	"path/filepath"
	"testing"

	"github.com/lepto-dev/lepto/internal/backend/memory"
)

// BenchmarkAddService is what this package adds to a service's start: its
// writes, with the disk awaited.
func BenchmarkAddService(b *testing.B) {
	store, err := OpenStore(filepath.Join(b.TempDir(), "engine.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	m, err := NewManager(store, private{memory.New(memory.Options{})}, Deps{})
	if err != nil {
		b.Fatal(err)
	}
	e, err := m.Create(b.Context(), CreateSpec{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		mustAdd(b, e, "db", idle())
		if err := e.RemoveService(b.Context(), "db"); err != nil {
			b.Fatal(err)
		}
	}
}
