// Package build makes images from Dockerfiles.
//
// [Build] reads a Dockerfile and its context, runs what it says and puts the
// image into an image store. COPY and ADD make layers by themselves, without a
// mount and without privileges of their own; RUN goes to a [Runner], which is the
// backend's business. Every step that changes files is remembered under a key
// made of all that goes into it, so that a build of unchanged input only reads
// the context.
//
// The package must not know enclaves, services or how a process is confined.
package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/image"
)

// Runner runs one RUN step. A command that ends with another code than 0 is an
// [ExitError]. The step has the host's network unless Step.NoNetwork.
type Runner interface {
	RunStep(context.Context, Step) error
}

// Step is a command to run in a root file system that layers make.
type Step struct {
	// Dir is a folder for the step. Dir/upper is there, empty, and takes what
	// the command writes, in overlayfs form; Dir/work is there for the overlay.
	// The caller removes the folder.
	Dir    string
	Layers []string // lower directories, lowest first; may be empty
	Mounts []Mount

	Args    []string
	Env     []string // all but HOME, which the runner adds for the user
	WorkDir string   // absolute; the runner makes it if it is missing
	User    string   // "", uid[:gid] or name[:group], as the root file system knows them

	NoNetwork bool
	Stdout    io.Writer
	Stderr    io.Writer
}

// Mount puts a directory or file of the host, or merged directories, into a
// step. Mount points that are missing are made by the runner.
type Mount struct {
	Target   string   // absolute, in the step
	Source   string   // on the host; or
	Layers   []string // directories to merge, lowest first, always read-only
	ReadOnly bool
}

// ExitError says that a step's command ran and ended badly.
type ExitError struct {
	Code int  // 128+n where signal n killed it
	OOM  bool // for memory
}

// Error implements error.
func (e *ExitError) Error() string {
	if e.OOM {
		return "out of memory"
	}
	return fmt.Sprintf("exit code %d", e.Code)
}

// Build builds the image and tags it. progress counts steps, and its text ends
// with the last line of output where a step runs. Faults: E0415 the Dockerfile is
// not valid, E0416 a step failed, E0417 a file to copy is missing.
func Build(ctx context.Context, store *image.Store, run Runner, spec backend.BuildSpec, progress backend.ProgressFunc) (backend.ImageInfo, error) {
	if progress == nil {
		progress = func(string, int64, int64) {}
	}
	if err := image.CheckName(spec.Tag); err != nil {
		return backend.ImageInfo{}, err
	}
	release, err := store.Hold(ctx)
	if err != nil {
		return backend.ImageInfo{}, err
	}
	defer release()
	running, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	b := &builder{store: store, run: run, spec: spec, tell: progress, fail: fail}
	info, err := b.build(running)
	switch {
	case err == nil:
		return info, nil
	case ctx.Err() != nil:
		return info, fmt.Errorf("build image %q: %w", spec.Tag, context.Cause(ctx))
	case running.Err() != nil: // err may be but the echo of what failed first
		return info, context.Cause(running)
	}
	return info, err
}

// builder is one build.
type builder struct {
	store *image.Store
	run   Runner
	spec  backend.BuildSpec
	tell  backend.ProgressFunc
	fail  context.CancelCauseFunc

	files  *buildContext
	docker *dockerfile
	stages []*future

	steps int64 // in the stages that are needed
	done  atomic.Int64
}

func (b *builder) build(ctx context.Context) (backend.ImageInfo, error) {
	var none backend.ImageInfo
	files, err := openContext(b.spec.ContextDir)
	if err != nil {
		return none, err
	}
	defer files.root.Close()
	b.files = files
	if b.docker, err = readDockerfile(files, b.spec); err != nil {
		return none, err
	}
	if err := files.ignore(b.docker.name); err != nil {
		return none, err
	}
	target, err := b.docker.target(b.spec.Target)
	if err != nil {
		return none, err
	}
	b.plan(target)
	made, err := b.stages[target].get(ctx)
	if err != nil {
		return none, err
	}
	img, err := b.store.Commit(ctx, b.spec.Tag, made.layers, made.config)
	if err != nil {
		return none, err
	}
	info := img.Info(backend.SourceBuilt)
	info.Warning = strings.Join(append(b.docker.warnings(), nonEmpty(info.Warning)...), "; ")
	return info, nil
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// at puts the place in the Dockerfile before an error, which keeps its fault's
// code or gets the given one.
func (d *dockerfile) at(line int, text, code string, err error) error {
	if err == nil {
		return nil
	}
	place := fmt.Sprintf("%s:%d: %s", d.name, line, text)
	var f *fault.Fault
	if errors.As(err, &f) {
		placed := *f
		placed.Summary = fmt.Sprintf("%s: %s", place, f.Summary)
		return &placed
	}
	return &fault.Fault{Code: code, Summary: fmt.Sprintf("%s: %s", place, err), Cause: err}
}
