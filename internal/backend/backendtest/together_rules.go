package backendtest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

var togetherRules = []rule{
	{"twenty services start, answer and go in parallel", nil, func(w *world) {
		const n = 20
		var work sync.WaitGroup
		for i := range n {
			work.Go(func() {
				spec := w.spec(numbered(i), "serve tcp/8080 then wait")
				if err := w.enclave.Start(w.ctx, spec); err != nil {
					w.Errorf("%s: %v", numbered(i), err)
				}
			})
		}
		work.Wait()
		names, err := w.enclave.Services(w.ctx)
		w.must(err)
		if len(names) != n || !slices.IsSorted(names) {
			w.Errorf("services are %v", names)
		}
		for i := range n {
			if got, want := w.ask(w.enclave, numbered(i), backend.TCP, 8080, "x"), string(numbered(i))+" got x"; got != want {
				w.Errorf("got %q, want %q", got, want)
			}
		}
		for i := range n {
			work.Go(func() {
				if err := w.enclave.Remove(w.ctx, numbered(i)); err != nil {
					w.Errorf("%s: %v", numbered(i), err)
				}
			})
		}
		work.Wait()
		if names, err = w.enclave.Services(w.ctx); err != nil || len(names) > 0 {
			w.Errorf("services are %v, %v", names, err)
		}
	}},
	{"calls on one service take turns", nil, func(w *world) {
		const n = 5
		var work sync.WaitGroup
		results := make([]error, n)
		for i := range n {
			work.Go(func() { results[i] = w.enclave.Start(w.ctx, w.spec("db", "wait")) })
		}
		work.Wait()
		started := 0
		for _, err := range results {
			switch {
			case err == nil:
				started++
			case !errors.Is(err, fault.ErrExists):
				w.Error(err)
			}
		}
		if started != 1 {
			w.Errorf("%d starts of one service succeeded", started)
		}
	}},
	{"a slow call on one service holds up no other", nil, func(w *world) {
		w.start("slow", "stubborn")
		w.waitLine("slow", "ready")
		ctx, cancel := context.WithCancelCause(w.ctx)
		var work sync.WaitGroup
		work.Go(func() { w.enclave.Stop(ctx, "slow", time.Hour) })
		w.start("quick", "wait")
		w.inspect("slow")
		cancel(errors.New("seen enough"))
		work.Wait()
	}},
	{"start, stop and remove of the same services at random leave a sound state", nil, func(w *world) {
		var work sync.WaitGroup
		for i := range 3 {
			name := numbered(i)
			for range 2 {
				work.Go(func() {
					for range 3 {
						if err := w.enclave.Start(w.ctx, w.spec(name, "wait")); err != nil && !errors.Is(err, fault.ErrExists) {
							w.Errorf("start %s: %v", name, err)
						}
						if _, err := w.enclave.Stop(w.ctx, name, 0); err != nil && !errors.Is(err, fault.ErrNotFound) {
							w.Errorf("stop %s: %v", name, err)
						}
						if err := w.enclave.Remove(w.ctx, name); err != nil {
							w.Errorf("remove %s: %v", name, err)
						}
					}
				})
			}
		}
		work.Wait()
		if names, err := w.enclave.Services(w.ctx); err != nil || len(names) > 0 {
			w.Errorf("services are %v, %v", names, err)
		}
	}},
}

var reopenRules = []rule{
	{"another process finds running services with logs, files and published ports", nil, func(w *world) {
		w.start("db", "out up then serve tcp/8080 then write /work/note kept then out open then wait")
		w.waitLine("db", "open")
		before := w.inspect("db")
		w.enclave = w.reopened()
		after := w.inspect("db")
		if !after.Running() || after.Address != before.Address || after.PID != before.PID || !after.StartedAt.Equal(before.StartedAt) {
			w.Errorf("was %+v, is %+v", before, after)
		}
		if got := w.ask(w.enclave, "db", backend.TCP, 8080, "x"); got != "db got x" {
			w.Errorf("got %q", got)
		}
		if got := w.logged("db"); !slices.Equal(got, []string{"up", "open"}) {
			w.Errorf("logged %q", got)
		}
		if code, out, _ := w.run("db", "read /work/note"); code != 0 || out != "kept" {
			w.Errorf("code %d, file %q", code, out)
		}
		exit, err := w.enclave.Stop(w.ctx, "db", bound)
		w.must(err)
		if exit.Code != 0 || !slices.Contains(w.logged("db"), "bye") {
			w.Errorf("exit %+v, logged %q", exit, w.logged("db"))
		}
		w.must(w.enclave.Restart(w.ctx, "db"))
	}},
	{"another process finds exit codes of what ended", nil, func(w *world) {
		w.start("db", "out last words then exit 9")
		w.exited("db")
		w.enclave = w.reopened()
		if s := w.inspect("db"); s.State != backend.StateExited || s.Exit.Code != 9 {
			w.Errorf("status is %+v", s)
		}
		if len(w.logged("db")) != 1 {
			w.Errorf("logged %q", w.logged("db"))
		}
	}},
	{"another process keeps reservations and gives no address twice", nil, func(w *world) {
		one, err := w.enclave.Reserve(w.ctx, "one")
		w.must(err)
		w.enclave = w.reopened()
		again, err := w.enclave.Reserve(w.ctx, "one")
		w.must(err)
		two, err := w.enclave.Reserve(w.ctx, "two")
		w.must(err)
		if again != one || two.IP == one.IP {
			w.Errorf("had %v, has %v, and %v", one, again, two)
		}
	}},
}

// reopened opens the enclave as another process would.
func (w *world) reopened() backend.Enclave {
	w.Helper()
	e, err := w.Reopen(w.T).OpenEnclave(w.ctx, w.id)
	w.must(err)
	return e
}

var imageRules = []rule{
	{"ensuring an image that is there tells what it is", []backend.Ability{backend.AbilityPullImages}, func(w *world) {
		puller := w.Backend.(backend.ImagePuller)
		for range 2 {
			info, err := puller.EnsureImage(w.ctx, backend.ImageRequest{Ref: w.Image, Policy: backend.PullMissing}, nil)
			w.must(err)
			if info.Ref != w.Image || info.Digest == "" || info.Architecture != w.Backend.Capabilities().Architecture {
				w.Errorf("image is %+v", info)
			}
		}
	}},
	{"the store lists its images and refuses an unknown one", []backend.Ability{backend.AbilityImageStore}, func(w *world) {
		store := w.Backend.(backend.ImageStore)
		images, err := store.Images(w.ctx)
		w.must(err)
		if !slices.ContainsFunc(images, func(i backend.ImageInfo) bool { return i.Ref == w.Image }) {
			w.Errorf("images are %+v", images)
		}
		w.wantErr(store.RemoveImage(w.ctx, "missing.test/nothing:1"), fault.ErrNotFound)
	}},
}

var destroyRules = []rule{
	{"destroy leaves nothing and is idempotent", nil, func(w *world) {
		id, e := w.another()
		dir := w.tree(map[string]string{"a": "1"})
		for i, steps := range []string{"wait", "stubborn", "exit 3", "tick 50"} {
			spec := w.spec(numbered(i), steps)
			spec.Mounts = []backend.Mount{{Path: "/data", Trees: []string{dir}}}
			if w.Backend.Capabilities().Has(backend.AbilityPersistent) {
				spec.Mounts = append(spec.Mounts, backend.Mount{Path: "/keep", PersistentKey: "k"})
			}
			w.must(e.Start(w.ctx, spec))
		}
		_, err := e.Reserve(w.ctx, "reserved")
		w.must(err)
		w.must(e.Destroy(w.ctx))
		w.must(e.Destroy(w.ctx))
		w.gone(w.Backend, id)
		w.wantFile(dir+"/a", "1")
	}},
	{"after destroy the enclave's calls are ErrNotFound", nil, func(w *world) {
		_, e := w.another()
		w.must(e.Start(w.ctx, w.spec("db", "wait")))
		w.must(e.Destroy(w.ctx))
		_, err := e.Inspect(w.ctx, "db")
		w.wantErr(err, fault.ErrNotFound)
		_, err = e.Reserve(w.ctx, "db")
		w.wantErr(err, fault.ErrNotFound)
		w.wantErr(e.Start(w.ctx, w.spec("db", "wait")), fault.ErrNotFound)
	}},
	{"destroy while services start leaves nothing", nil, func(w *world) {
		id, e := w.another()
		var work sync.WaitGroup
		for i := range 6 {
			work.Go(func() { e.Start(w.ctx, w.spec(numbered(i), "wait")) })
		}
		time.Sleep(10 * time.Millisecond) // somewhere in the middle
		w.must(e.Destroy(w.ctx))
		work.Wait()
		w.gone(w.Backend, id)
	}},
	{"destroy touches no other enclave", nil, func(w *world) {
		w.start("db", "serve tcp/8080 then wait")
		_, e := w.another()
		w.must(e.Start(w.ctx, w.spec("db", "serve tcp/8080 then wait")))
		w.must(e.Destroy(w.ctx))
		if got := w.ask(w.enclave, "db", backend.TCP, 8080, "x"); got != "db got x" {
			w.Errorf("got %q", got)
		}
	}},
	{"destroy keeps the trees that were mounted", nil, func(w *world) {
		_, e := w.another()
		dir := w.tree(map[string]string{"a": "1"})
		spec := w.spec("db", "wait")
		spec.Mounts = []backend.Mount{{Path: "/data", Trees: []string{dir}}}
		w.must(e.Start(w.ctx, spec))
		w.must(e.Destroy(w.ctx))
		w.wantFile(dir+"/a", "1")
	}},
}
