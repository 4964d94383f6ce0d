package build

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"golang.org/x/sync/errgroup"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/image"
)

// This file runs the stages that are needed, each once, side by side where
// neither needs the other.

// made is what a stage or a base image is: files and config.
type made struct {
	layers []image.Layer
	config v1.ConfigFile
}

// future is a stage that is built when first asked for.
type future struct {
	once  sync.Once
	build func(context.Context) (made, error)
	value made
	err   error
}

func (f *future) get(ctx context.Context) (made, error) {
	f.once.Do(func() { f.value, f.err = f.build(ctx) })
	return f.value, f.err
}

// plan makes the futures, and counts the steps of the stages that target needs.
func (b *builder) plan(target int) {
	b.stages = make([]*future, len(b.docker.stages))
	for i := range b.stages {
		b.stages[i] = &future{build: func(ctx context.Context) (made, error) {
			value, err := b.stage(ctx, i)
			if err != nil {
				b.fail(err) // the other stages need not go on
			}
			return value, err
		}}
	}
	needed := map[int]bool{}
	var visit func(int)
	visit = func(i int) {
		if needed[i] {
			return
		}
		needed[i] = true
		b.steps += int64(len(b.docker.stages[i].Commands)) + 1
		for _, d := range b.needs(i) {
			visit(d)
		}
	}
	visit(target)
}

// needs gives the earlier stages that a stage uses.
func (b *builder) needs(i int) []int {
	var out []int
	if s := b.docker.bases[i].stage; s >= 0 {
		out = append(out, s)
	}
	for _, cmd := range b.docker.stages[i].Commands {
		for _, name := range sourcesOf(cmd) {
			if s, ok := b.docker.stage(i, name); ok {
				out = append(out, s)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// sourcesOf gives what a command takes files from, beside the context.
func sourcesOf(cmd instructions.Command) []string {
	var out []string
	switch cmd := cmd.(type) {
	case *instructions.CopyCommand:
		out = nonEmpty(cmd.From)
	case *instructions.RunCommand:
		for _, m := range instructions.GetMounts(cmd) {
			out = append(out, nonEmpty(m.From)...)
		}
	}
	return out
}

// stage builds one stage, what it needs first.
func (b *builder) stage(ctx context.Context, i int) (made, error) {
	var group errgroup.Group
	for _, d := range b.needs(i) {
		group.Go(func() error {
			_, err := b.stages[d].get(ctx)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return made{}, err
	}
	stage := b.docker.stages[i]
	from, err := b.from(ctx, b.docker.bases[i])
	if err != nil {
		return made{}, b.docker.at(stage.Location[0].Start.Line, stage.SourceCode, "E0416", err)
	}
	b.stepDone(stage.SourceCode)
	s := &stageBuild{builder: b, index: i, made: from}
	s.layers = slices.Clone(from.layers)
	s.config = *from.config.DeepCopy()
	if err := s.triggers(ctx); err != nil {
		return made{}, err
	}
	for _, cmd := range stage.Commands {
		if err := s.step(ctx, cmd); err != nil {
			return made{}, err
		}
	}
	s.config.Created = v1.Time{Time: b.docker.time.UTC()}
	return s.made, nil
}

// defaultPath is what a base image without a PATH gets, as Docker has it.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// from gives what a stage starts from.
func (b *builder) from(ctx context.Context, from base) (made, error) {
	switch {
	case from.stage >= 0:
		return b.stages[from.stage].get(ctx)
	case from.image == "scratch":
		return made{config: v1.ConfigFile{Architecture: runtime.GOARCH, OS: "linux",
			Config: v1.Config{Env: []string{"PATH=" + defaultPath}}}}, nil
	}
	return b.image(ctx, from.image)
}

// image gives an image of the store, pulled if need be.
func (b *builder) image(ctx context.Context, ref string) (made, error) {
	progress := func(what string, done, total int64) {
		b.tell(fmt.Sprintf("pull %s: %d of %d bytes", what, done, total), b.done.Load(), b.steps)
	}
	info, err := b.store.Ensure(ctx, backend.ImageRequest{Ref: ref, Policy: backend.PullMissing}, progress)
	if err != nil {
		return made{}, err
	}
	if err := image.CheckPlatform(info); err != nil {
		return made{}, err
	}
	img, err := b.store.Resolve(ref)
	if err != nil {
		return made{}, err
	}
	return made{layers: img.Layers, config: img.Config}, nil
}

// source gives the files of an earlier stage, or of an image.
func (b *builder) source(ctx context.Context, before int, name string) (made, error) {
	if i, ok := b.docker.stage(before, name); ok {
		return b.stages[i].get(ctx)
	}
	return b.image(ctx, name)
}

// stepDone tells of progress.
func (b *builder) stepDone(text string) {
	done := b.done.Add(1)
	b.tell(firstLine(text), done, max(done, b.steps)) // triggers of a base are not counted before
}

// firstLine gives an instruction in one line.
func firstLine(text string) string {
	line, _, more := strings.Cut(strings.TrimSpace(text), "\n")
	line = strings.Join(strings.Fields(line), " ")
	if more {
		line += " …"
	}
	return line
}
