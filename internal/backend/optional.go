package backend

import (
	"context"
	"io"
	"time"
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
