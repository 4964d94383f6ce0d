package gateway

import (
	"context"

	"github.com/lepto-dev/lepto/internal/backend/native/companion"
)

// This file defines how the engine announces a new table, and how it starts and
// ends the process.

const requestReload = "reload"

// reply answers a reload.
type reply struct {
	Published []Published `json:"published,omitempty"`
}

// answer handles a request of the engine.
func (s *server) answer(request string) (any, error) {
	if request != requestReload {
		return nil, companion.Unknown(request)
	}
	published, err := s.reload()
	return reply{published}, err
}

// Reload has the gateway process of dir serve the table in place, and gives the
// host ports of its rules, in their order. A port that can't be had is a
// *fault.Fault; then the process goes on with the table it had.
// fault.ErrNotRunning if there is no process, or it ended before it answered.
func Reload(ctx context.Context, dir string) ([]Published, error) {
	var r reply
	err := kind.Ask(ctx, dir, requestReload, &r)
	return r.Published, err
}

// Launch starts a gateway process for dir, which must hold a table, as
// `program net DIR`: in a session of its own, so that it outlives this one. It
// returns the answer to a first Reload.
func Launch(ctx context.Context, program, dir string) (published []Published, err error) {
	err = kind.Launch(ctx, program, dir, func(ctx context.Context) (err error) {
		published, err = Reload(ctx, dir)
		return err
	})
	return published, err
}

// Stop takes the table away and waits until no gateway process is there for
// dir: by itself it ends within milliseconds; one that does not is killed.
// Idempotent, also without any folder.
func Stop(ctx context.Context, dir string) error { return kind.Stop(ctx, dir) }
