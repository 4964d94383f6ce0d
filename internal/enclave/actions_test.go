package enclave

import (
	"context"
	"fmt"
	"maps"
)

// This file is the model that the crash tests compare with: what a user knows,
// and what each operation, finished or not, may make of it.

// known is what a user knows of a service after an operation returned.
type known struct {
	uuid, ip, image string
	running         bool
}

// model is what a user knows of the world, all of it acknowledged. doubt names
// what the operation under way at the crash was about: it may be as before, or
// as intended, but nothing else.
type model struct {
	enclaves map[string]map[string]known // by enclave name, by service name
	stopped  map[string]bool
}

func newModel() *model {
	return &model{enclaves: map[string]map[string]known{}, stopped: map[string]bool{}}
}

func (m *model) clone() *model {
	c := newModel()
	for name, services := range m.enclaves {
		c.enclaves[name] = maps.Clone(services)
	}
	c.stopped = maps.Clone(m.stopped)
	return c
}

// action is one operation: it works on the manager and says, in the model, what
// it achieved. alternatives are worlds that a crash in it may leave besides the
// one before and the one after.
type action struct {
	name         string
	do           func(ctx context.Context, m *Manager, w *model) error
	alternatives func(before *model) []*model
}

func knownOf(s *Service) known {
	return known{uuid: s.UUID, ip: s.IP, image: s.Config.Image.Ref, running: s.Status == ServiceRunning}
}

func create(name string) action {
	return action{name: "create " + name, do: func(ctx context.Context, m *Manager, w *model) error {
		_, err := m.Create(ctx, CreateSpec{Name: name})
		if err == nil {
			w.enclaves[name] = map[string]known{}
		}
		return err
	}}
}

func destroy(name string) action {
	return action{
		name: "destroy " + name,
		do: func(ctx context.Context, m *Manager, w *model) error {
			err := m.Destroy(ctx, name)
			if err == nil {
				delete(w.enclaves, name)
				delete(w.stopped, name)
			}
			return err
		},
		alternatives: func(before *model) []*model {
			after := before.clone()
			delete(after.enclaves, name)
			delete(after.stopped, name)
			return []*model{after}
		},
	}
}

// add adds one service, or replaces it.
func add(in, name, image string) action {
	return action{
		name: "add " + name,
		do: func(ctx context.Context, m *Manager, w *model) error {
			e, err := m.Get(in)
			if err != nil {
				return err
			}
			s, err := e.AddService(ctx, name, ServiceConfig{Image: Image{Ref: image}}, AddOptions{})
			if err == nil {
				w.enclaves[in][name] = knownOf(s)
			}
			return err
		},
		alternatives: func(before *model) []*model {
			// A replacement ends the old service before the new one is there.
			gone := before.clone()
			delete(gone.enclaves[in], name)
			return []*model{gone, withWild(before, in, image, name)}
		},
	}
}

// wild stands for what a test can't know, having no answer: an identity.
const wild = "?"

// withWild gives the world with services done whose answer never arrived.
func withWild(before *model, in, image string, names ...string) *model {
	after := before.clone()
	if after.enclaves[in] == nil {
		return after
	}
	for _, name := range names {
		k := known{uuid: wild, ip: wild, image: image, running: true}
		if old, ok := before.enclaves[in][name]; ok {
			k.uuid, k.ip = old.uuid, old.ip // kept in a replacement
		}
		after.enclaves[in][name] = k
	}
	return after
}

// batch adds services, all or none. Those names that exist are replaced first.
func batch(in string, names ...string) action {
	return action{
		name: fmt.Sprintf("batch %v", names),
		do: func(ctx context.Context, m *Manager, w *model) error {
			e, err := m.Get(in)
			if err != nil {
				return err
			}
			var configs []NamedConfig
			for _, name := range names {
				configs = append(configs, NamedConfig{name, ServiceConfig{Image: Image{Ref: "batched"}}})
			}
			added, err := e.AddServices(ctx, configs, AddOptions{Parallelism: 2})
			for _, s := range added {
				w.enclaves[in][s.Name] = knownOf(s)
			}
			return err
		},
		alternatives: func(before *model) []*model {
			// Old ones may each be untouched or ended; new ones are not there.
			out := []*model{withWild(before, in, "batched", names...)}
			var old []string
			for _, name := range names {
				if _, ok := before.enclaves[in][name]; ok {
					old = append(old, name)
				}
			}
			for bits := range 1 << len(old) {
				w := before.clone()
				for i, name := range old {
					if bits>>i&1 == 1 {
						delete(w.enclaves[in], name)
					}
				}
				out = append(out, w)
			}
			return out
		},
	}
}

// service changes one service by a method of Enclave.
func service(verb, in, name string, method func(*Enclave, context.Context, string) error, after func(k known) (known, bool)) action {
	effect := func(w *model) {
		if k, ok := after(w.enclaves[in][name]); ok {
			w.enclaves[in][name] = k
		} else {
			delete(w.enclaves[in], name)
		}
	}
	return action{
		name: verb + " " + name,
		do: func(ctx context.Context, m *Manager, w *model) error {
			e, err := m.Get(in)
			if err != nil {
				return err
			}
			if err := method(e, ctx, name); err != nil {
				return err
			}
			effect(w)
			return nil
		},
		alternatives: func(before *model) []*model {
			w := before.clone()
			if _, ok := w.enclaves[in][name]; ok {
				effect(w)
			}
			return []*model{w}
		},
	}
}

func remove(in, name string) action {
	return service("remove", in, name, (*Enclave).RemoveService, func(known) (known, bool) { return known{}, false })
}

func stop(in, name string) action {
	return service("stop", in, name, (*Enclave).StopService, func(k known) (known, bool) { k.running = false; return k, true })
}

func start(in, name string) action {
	return service("start", in, name, (*Enclave).StartService, func(k known) (known, bool) { k.running = true; return k, true })
}

// turn stops or starts an enclave. A model keeps "running" as it is to be.
func turn(name string, stopped bool) action {
	effect := func(w *model) { w.stopped[name] = stopped }
	return action{
		name: fmt.Sprintf("turn %s, stopped %v", name, stopped),
		do: func(ctx context.Context, m *Manager, w *model) error {
			method := m.Start
			if stopped {
				method = m.Stop
			}
			if err := method(ctx, name); err != nil {
				return err
			}
			effect(w)
			return nil
		},
		alternatives: func(before *model) []*model {
			w := before.clone()
			if w.enclaves[name] != nil {
				effect(w)
			}
			return []*model{w}
		},
	}
}
