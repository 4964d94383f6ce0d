package backend

import (
	"context"
	"io"
	"time"

	"github.com/lepto-dev/lepto/internal/link"
)

// This file defines the optional abilities of backends. Each is found by type
// assertion on the Backend or Enclave named in its comment.

// An ImagePuller (a Backend) makes images available to Start.
type ImagePuller interface {
	// EnsureImage makes the image available and tells what it is. Idempotent;
	// concurrent calls for one reference share the work.
	EnsureImage(context.Context, ImageRequest, ProgressFunc) (ImageInfo, error)
}

// An ImageBuilder (a Backend) builds images from a Dockerfile.
type ImageBuilder interface {
	// BuildImage builds and tags the image, reusing cached layers.
	BuildImage(context.Context, BuildSpec, ProgressFunc) (ImageInfo, error)
}

// An ImageStore (a Backend) holds images of its own.
type ImageStore interface {
	Images(context.Context) ([]ImageInfo, error)
	// LoadImages reads a docker-archive or an OCI layout, as a tar.
	LoadImages(ctx context.Context, tar io.Reader) ([]ImageInfo, error)
	// RemoveImage removes a reference, and its layers where nothing else uses
	// them. ErrNotFound if unknown.
	RemoveImage(ctx context.Context, ref string) error
}

// A Pauser (an Enclave) freezes services.
type Pauser interface {
	Pause(context.Context, ServiceName) error
	Unpause(context.Context, ServiceName) error
}

// A Suspender (an Enclave) stops and starts a whole enclave, keeping its
// services' files, addresses and specs.
type Suspender interface {
	Suspend(ctx context.Context, grace time.Duration) error
	Resume(context.Context) error
}

// An Attacher (an Enclave) gives a terminal or pipes in a running service.
type Attacher interface {
	// Attach starts the command and returns while it runs. With spec.TTY, Resize
	// works and stderr is part of stdout.
	Attach(context.Context, ServiceName, ExecSpec) (Process, error)
}

// A LogTaker (an Enclave) takes output into a service's log that no process of
// its own has written, such as that of a command run by Exec.
type LogTaker interface {
	// LogTo gives a writer whose lines are stored as the service's. Writing
	// never waits long: what the log does not take in time is dropped.
	LogTo(context.Context, ServiceName, Stream) (io.WriteCloser, error)
}

// A Process is a command that runs in a service.
type Process interface {
	// Resize sets the size of its terminal, in character cells.
	Resize(cols, rows uint16) error
	// Signal sends it a signal, by number.
	Signal(signal int) error
	// Wait gives its exit code once it has ended and all output is delivered.
	Wait() (int, error)
}

// ProgressFunc is told how far a long operation has come. done and total count
// bytes or steps; total is 0 while unknown. It may be nil, and must not block.
type ProgressFunc func(what string, done, total int64)

// A Clearer (an Enclave) makes room for a service that takes the place of
// another. Without it the place is made by Remove, and the address may change.
type Clearer interface {
	// Clear ends a service and deletes it with its files and logs, as Remove
	// does, but keeps its reservation. Idempotent.
	Clear(context.Context, ServiceName) error
}

// A Warmer (an Enclave) lets services that hold (ServiceSpec.Hold), of which many
// follow one another, use what was made for an earlier one.
type Warmer interface {
	// KeepWarm has the enclave keep, until release, the place of a service that
	// holds and is removed, for the next. A service never meets anything of another
	// that it could not have met without: files, processes, sockets, environment,
	// limits are its own. Nothing that is kept is listed. Until the next Start, or
	// release, the name of a removed service may still be known to others; and what
	// holds has its address from Start, not from Reserve, unless Reserve came first.
	// After a crash, whoever opens the enclave removes what was kept.
	//
	// release removes what is kept, and is called once. Several callers may want it
	// kept warm: the last release counts.
	KeepWarm() (release func(context.Context) error)
}

// A Shaper (an Enclave) makes the network between services as bad as asked for.
type Shaper interface {
	// Shape puts a table into force, in place of the one before, and returns
	// once it holds for every member. Members are service names; each has an
	// address reserved, whether it runs or not. For one that does not run yet the
	// rules hold from the first packet of its process on, over restarts too,
	// until Remove. A rule of one pair changes at once: no packet is treated by
	// neither the old nor the new one. Links that a change leaves as they were
	// are not disturbed. On an error, what holds is the old table, the new one or
	// some of both, and calling again with either puts that in force.
	//
	// Rules are for packets between members alone. What reaches a service from
	// outside the enclave's services (Dial, published ports, names) is never
	// affected.
	Shape(context.Context, link.Table) error
	// LinkStats counts the packets of each direction of each link with a rule,
	// since the rule came into force. Sorted by from and to.
	LinkStats(context.Context) ([]link.Stats, error)
}
