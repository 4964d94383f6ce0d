package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"sync"
)

// This file remembers the port of each enclave's API, so that an address given
// to an SDK is still good after a restart of the engine.

// portTable maps enclaves to loopback ports, durably.
type portTable struct {
	mu    sync.Mutex
	path  string
	ports map[string]uint16 // by enclave uuid
}

// openPorts reads the table. A damaged one is as good as none: ports are chosen
// anew.
func openPorts(path string) (*portTable, error) {
	t := &portTable{path: path, ports: map[string]uint16{}}
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return t, nil
	}
	if err != nil {
		return nil, fmt.Errorf("enclave ports: %w", err)
	}
	if json.Unmarshal(text, &t.ports) != nil || t.ports == nil {
		t.ports = map[string]uint16{}
	}
	return t, nil
}

// get gives the port an enclave had, or 0.
func (t *portTable) get(uuid string) uint16 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ports[uuid]
}

// set remembers a port, or with 0 forgets it.
func (t *portTable) set(uuid string, port uint16) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ports[uuid] == port {
		return nil
	}
	if port == 0 {
		delete(t.ports, uuid)
	} else {
		t.ports[uuid] = port
	}
	return t.write()
}

// keepOnly forgets enclaves that are gone.
func (t *portTable) keepOnly(alive map[string]bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := len(t.ports)
	maps.DeleteFunc(t.ports, func(uuid string, _ uint16) bool { return !alive[uuid] })
	if len(t.ports) == before {
		return nil
	}
	return t.write()
}

// write replaces the file in one step. It is not synced: after a power cut old
// or no ports are nothing worse than new ones.
func (t *portTable) write() error {
	text, err := json.Marshal(t.ports)
	if err != nil {
		return err
	}
	if err := os.WriteFile(t.path+".new", text, 0o600); err != nil {
		return fmt.Errorf("enclave ports: %w", err)
	}
	if err := os.Rename(t.path+".new", t.path); err != nil {
		return fmt.Errorf("enclave ports: %w", err)
	}
	return nil
}
