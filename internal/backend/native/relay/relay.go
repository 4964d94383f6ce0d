// Package relay is the link relay of an enclave: where the kernel can't delay and
// lose packets by itself (netem), it does.
//
// [Main] is the process (lepto-supervisor link DIR), a companion of the enclave's
// network. It holds a TAP device that is a port of the enclave's bridge. Package
// shape has the kernel redirect there what goes from one service to another over
// a connection that does something; the relay decides on each packet (package
// link) and writes it back when its time has come. The bridge then delivers it.
// What no rule is for never comes here, and keeps the kernel's full speed.
//
// The device outlives the process. While nobody reads it, the kernel drops what
// is redirected to it: without the relay, links with rules are cut, not open.
//
//	eth0 of a ── port of a ──(u32, mirred)──▶ relay0 ──▶ wheel ──▶ relay0 ──▶ br0 ──▶ port of b
//
// One thread reads, decides, waits and writes. Packets that wait lie in memory
// that is set aside for them (arena) and in order of time (wheel), so that the
// process needs the same few megabytes whatever passes, and no collector stops it.
package relay

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/lepto-dev/lepto/internal/backend/native/companion"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/link"
)

// Device is the TAP device in the enclave's namespace.
const Device = "relay0"

const tableFile = "table.json"

var kind = companion.Kind{Verb: Verb, Name: "link relay", Table: tableFile, Socket: "relay.sock", Log: "relay.log"}

// Verb is the first argument of the process.
const Verb = "link"

// Table is all that the relay is told.
type Table struct {
	NetNS string     `json:"netns"` // path of the enclave's network namespace
	Links link.Table `json:"links"`
	// Addresses are those of the members.
	Addresses map[string]netip.Addr `json:"addresses"`
	// Hardware are their link addresses.
	Hardware map[string][]byte `json:"hardware,omitempty"`
	// Mechanism is package shape's note of how the rules are kept.
	Mechanism string `json:"mechanism,omitempty"`
}

// The requests of the engine.
const (
	requestReload = "reload"
	requestStats  = "stats"
	requestSign   = "sign" // of life
)

// signPatience bounds the wait for a sign of life: far more than a relay takes on a
// machine with too much to do.
const signPatience = 1500 * time.Millisecond

// answer is the answer to each.
type answer struct {
	Stats []link.Stats `json:"stats,omitempty"`
}

// WriteTable puts the table in place, atomically, for the relay of the folder dir.
// Reload makes it take effect.
func WriteTable(dir string, t Table) error {
	return companion.WriteJSON(filepath.Join(dir, tableFile), t)
}

// ReadTable gives the table in place; fs.ErrNotExist if there is none.
func ReadTable(dir string) (t Table, err error) {
	err = companion.ReadJSON(filepath.Join(dir, tableFile), &t)
	return t, err
}

// Reload has the relay of dir work by the table in place. fault.ErrNotRunning if
// there is none.
func Reload(ctx context.Context, dir string) error {
	return kind.Ask(ctx, dir, requestReload, &answer{})
}

// Stats gives the counters of all links with rules. fault.ErrNotRunning if no
// relay runs.
func Stats(ctx context.Context, dir string) ([]link.Stats, error) {
	var a answer
	err := kind.Ask(ctx, dir, requestStats, &a)
	return a.Stats, err
}

// Sign waits for a sign of life of the relay of dir: that it answers, and that its
// packets' thread moves. fault.ErrTimeout if there is none, fault.ErrNotRunning if
// no relay runs.
func Sign(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, signPatience, fmt.Errorf("sign of life of the link relay: %w", fault.ErrTimeout))
	defer cancel()
	return kind.Ask(ctx, dir, requestSign, &answer{})
}

// Launch starts a relay for dir, which must hold a table, and returns once it
// works.
func Launch(ctx context.Context, program, dir string) error {
	return kind.Launch(ctx, program, dir, func(ctx context.Context) error { return Reload(ctx, dir) })
}

// Stop takes the table away and waits until no relay is there for dir.
// Idempotent, also without any folder.
func Stop(ctx context.Context, dir string) error { return kind.Stop(ctx, dir) }
