package types

import (
	"errors"
	"fmt"
	"time"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/lang"
)

// This file defines what only tasks (run_sh, run_python) are told.

// DefaultTaskWait bounds a task where it names no other time.
const DefaultTaskWait = 180 * time.Second

// TaskWait bounds a task: a duration, or None for no bound. Its zero value is
// the default.
type TaskWait struct{ optionalDuration }

// Bound gives the time, and false where there is no bound.
func (w TaskWait) Bound() (time.Duration, bool) {
	switch {
	case w.Never:
		return 0, false
	case w.set != nil:
		return max(*w.set, 0), true
	}
	return DefaultTaskWait, true
}

// Stored is a path of a task to keep: a StoreSpec, or the path alone.
type Stored struct{ StoreSpec }

// Wants names what is taken.
func (*Stored) Wants() string { return "path or StoreSpec" }

// UnpackStar reads it.
func (s *Stored) UnpackStar(v starlark.Value) error {
	if path, ok := starlark.AsString(v); ok {
		if path == "" {
			return errors.New("must not be an empty path")
		}
		s.Src = path
		return nil
	}
	if !lang.Is[StoreSpec](v) {
		return fmt.Errorf("must be a path or a StoreSpec, not %s", lang.Describe(v))
	}
	spec, err := lang.As[StoreSpec](v)
	if err != nil {
		return err
	}
	s.StoreSpec = *spec
	return nil
}

// Given reports whether an image was given at all.
func (i Image) Given() bool { return i.Ref != "" || i.Spec != nil || i.Build != nil || i.Nix != nil }

// ArtifactAt gives what is mounted where a path has one files artifact.
func ArtifactAt(name string) Files { return Files{Directory{ArtifactNames: []string{name}}} }
