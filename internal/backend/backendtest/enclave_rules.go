package backendtest

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

var enclaveRules = []rule{
	{"create is idempotent by id", nil, func(w *world) {
		w.start("db", "wait")
		again, err := w.Backend.CreateEnclave(w.ctx, backend.EnclaveSpec{ID: w.id, Name: "suite-" + w.id.Short()})
		w.must(err)
		names, err := again.Services(w.ctx)
		w.must(err)
		if !slices.Equal(names, []backend.ServiceName{"db"}) || !w.inspect("db").Running() {
			w.Errorf("services are %v", names)
		}
	}},
	{"open an unknown enclave is ErrNotFound", nil, func(w *world) {
		_, err := w.Backend.OpenEnclave(w.ctx, newID())
		w.wantErr(err, fault.ErrNotFound)
	}},
	{"open gives a handle on the same enclave", nil, func(w *world) {
		w.start("db", "wait")
		e, err := w.Backend.OpenEnclave(w.ctx, w.id)
		w.must(err)
		status, err := e.Inspect(w.ctx, "db")
		w.must(err)
		if !status.Running() {
			w.Errorf("state is %q", status.State)
		}
	}},
	{"list names every enclave, sorted", nil, func(w *world) {
		other, _ := w.another()
		ids, err := w.Backend.Enclaves(w.ctx)
		w.must(err)
		if !slices.Contains(ids, w.id) || !slices.Contains(ids, other) || !slices.IsSorted(ids) {
			w.Errorf("enclaves are %v", ids)
		}
	}},
	{"a cancelled create leaves nothing and returns the cause", nil, func(w *world) {
		cause := errors.New("changed my mind")
		ctx, cancel := context.WithCancelCause(w.ctx)
		cancel(cause)
		id := newID()
		_, err := w.Backend.CreateEnclave(ctx, backend.EnclaveSpec{ID: id, Name: "never"})
		w.wantErr(err, cause)
		w.gone(w.Backend, id)
	}},
	{"concurrent creates of one id make one enclave", nil, func(w *world) {
		id := newID()
		var work sync.WaitGroup
		for range 5 {
			work.Go(func() {
				e, err := w.Backend.CreateEnclave(w.ctx, backend.EnclaveSpec{ID: id, Name: "five"})
				if err != nil {
					w.Error(err)
					return
				}
				if _, err := e.Reserve(w.ctx, "db"); err != nil {
					w.Error(err)
				}
			})
		}
		work.Wait()
		e, err := w.Backend.OpenEnclave(w.ctx, id)
		w.must(err)
		w.must(e.Destroy(w.ctx))
		w.gone(w.Backend, id)
	}},
	{"capabilities name every ability and the architecture", nil, func(w *world) {
		c := w.Backend.Capabilities()
		if c.Backend != w.Backend.Name() || c.Architecture == "" {
			w.Errorf("backend %q, architecture %q", c.Backend, c.Architecture)
		}
		for _, a := range abilities {
			if able, listed := c.Abilities[a]; !listed || !able && c.Missing[a] == "" {
				w.Errorf("ability %s: listed %t, able %t, missing because %q", a, listed, able, c.Missing[a])
			}
		}
	}},
}

var abilities = []backend.Ability{
	backend.AbilityPullImages, backend.AbilityBuildImages, backend.AbilityImageStore, backend.AbilityPause,
	backend.AbilityPublishTCP, backend.AbilityPublishUDP, backend.AbilityTTY, backend.AbilityMemoryLimit,
	backend.AbilityCPULimit, backend.AbilityDevices, backend.AbilityGPU, backend.AbilityPrivileged,
	backend.AbilityPersistent, backend.AbilityShapeLinks, backend.AbilitySnapshot, backend.AbilityHostPublicPort,
}

// gone checks that nothing is left of an enclave.
func (w *world) gone(b backend.Backend, id backend.EnclaveID) {
	w.Helper()
	ids, err := b.Enclaves(w.ctx)
	w.must(err)
	if slices.Contains(ids, id) {
		w.Errorf("enclave %s is still listed", id.Short())
	}
	if _, err := b.OpenEnclave(w.ctx, id); !errors.Is(err, fault.ErrNotFound) {
		w.Errorf("open after destroy: %v", err)
	}
	if w.Footprint == nil {
		return
	}
	if left := w.Footprint(w.T, id); len(left) > 0 {
		w.Errorf("left on the host: %q", left)
	}
}

var reserveRules = []rule{
	{"an address is stable until remove", nil, func(w *world) {
		first, err := w.enclave.Reserve(w.ctx, "db")
		w.must(err)
		again, err := w.enclave.Reserve(w.ctx, "db")
		w.must(err)
		if first != again {
			w.Errorf("got %v, then %v", first, again)
		}
		w.start("db", "wait")
		if got := w.inspect("db").Address; got != first {
			w.Errorf("runs at %v, reserved %v", got, first)
		}
		if !first.Subnet.Contains(first.IP) || !first.Subnet.Contains(first.Gateway) || first.IP == first.Gateway {
			w.Errorf("address makes no sense: %+v", first)
		}
	}},
	{"addresses are distinct, also when reserved at once", nil, func(w *world) {
		const n = 30
		var mu sync.Mutex
		var work sync.WaitGroup
		seen := map[string]backend.ServiceName{}
		for i := range n {
			work.Go(func() {
				a, err := w.enclave.Reserve(w.ctx, numbered(i))
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					w.Error(err)
				} else if other, taken := seen[a.IP.String()]; taken {
					w.Errorf("%s and %s are both at %s", other, numbered(i), a.IP)
				} else {
					seen[a.IP.String()] = numbered(i)
				}
			})
		}
		work.Wait()
	}},
	{"a reserved name is no service", nil, func(w *world) {
		_, err := w.enclave.Reserve(w.ctx, "db")
		w.must(err)
		_, err = w.enclave.Inspect(w.ctx, "db")
		w.wantErr(err, fault.ErrNotFound)
		names, err := w.enclave.Services(w.ctx)
		w.must(err)
		if len(names) > 0 {
			w.Errorf("services are %v", names)
		}
	}},
	{"the address survives stop and restart", nil, func(w *world) {
		w.start("db", "wait")
		before := w.inspect("db").Address
		_, err := w.enclave.Stop(w.ctx, "db", soon)
		w.must(err)
		w.must(w.enclave.Restart(w.ctx, "db"))
		if after := w.inspect("db").Address; after != before {
			w.Errorf("was at %v, is at %v", before, after)
		}
	}},
}
