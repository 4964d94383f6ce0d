//go:build !front

package cli

import (
	"context"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/memory"
	"github.com/lepto-dev/lepto/internal/backend/native"
	"github.com/lepto-dev/lepto/internal/engine"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file is the list of backends: the one place that names them all.

// CodeNoBackend is the fault of a backend that there is none of.
const CodeNoBackend = "E0810"

// chooseBackend fills in what an engine's config says about its backend, by the
// environment variable LEPTO_BACKEND.
func (d *deps) chooseBackend(config *engine.Config) error {
	switch name := d.getenv("LEPTO_BACKEND"); name {
	case "", "native":
		config.NeedsRoot = true
		config.Backend = func(ctx context.Context) (backend.Backend, error) {
			return native.Open(ctx, native.Config{Home: config.Home, Apart: true})
		}
	case "memory":
		config.Backend = func(context.Context) (backend.Backend, error) {
			return memory.New(memory.Options{}), nil
		}
	default:
		return fault.New(CodeNoBackend, "LEPTO_BACKEND: there is no backend %q", name).
			WithHint("the backends are native, which is the default, and memory, which runs nothing")
	}
	return nil
}
