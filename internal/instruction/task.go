package instruction

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"

	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/lang/types"
	"github.com/lepto-dev/lepto/internal/plan"
)

// This file is what run_sh and run_python share: the step of a task. How it is
// executed is in task_execute.go.

// taskArgs are the arguments of a task, of either kind.
type taskArgs struct {
	kind           plan.TaskKind
	name, run      string
	description    string
	args, packages []string
	store          []types.Stored
	wait           types.TaskWait
	codes          []int64
	skipCheck      bool
	config         types.ServiceConfig
}

// The fields of a task's value slot, and of the struct that the script gets.
const (
	fieldCode      = "code"
	fieldOutput    = "output"
	fieldArtifacts = "files_artifacts"
)

func newTask(c *lang.Call, a taskArgs) (plan.Step, starlark.Value, error) {
	config, err := a.config.Resolve(c)
	if err != nil {
		return nil, nil, err
	}
	config.Task = true
	t := &task{
		called:  called{c.Plan("%s", a.description)},
		valueID: c.NewID(),
		what: plan.Task{
			Kind: a.kind, Name: a.name, Run: a.run, Args: a.args, Packages: a.packages,
			Config: config, Codes: a.codes,
		},
	}
	if t.what.Name == "" {
		t.what.Name = "task-" + hyphenated(c.NewID())
	}
	if t.what.Codes == nil {
		t.what.Codes = []int64{0}
	}
	if a.skipCheck {
		t.what.Codes = nil
	}
	t.bound, t.bounded = a.wait.Bound()
	names := starlark.NewList(nil)
	for _, stored := range a.store {
		name := c.ArtifactName(stored.Name)
		t.what.Store = append(t.what.Store, plan.StoredPath{Src: stored.Src, Name: name})
		if err := names.Append(starlark.String(name)); err != nil {
			return nil, nil, err
		}
	}
	return t, starlarkstruct.FromStringDict(starlarkstruct.Default, starlark.StringDict{
		fieldCode:      starlark.String(plan.Reference(t.valueID, fieldCode)),
		fieldOutput:    starlark.String(plan.Reference(t.valueID, fieldOutput)),
		fieldArtifacts: names,
	}), nil
}

// artifactsAt gives what is mounted where each path has one files artifact.
func artifactsAt(files map[string]string) map[string]types.Files {
	out := make(map[string]types.Files, len(files))
	for path, name := range files {
		out[path] = types.ArtifactAt(name)
	}
	return out
}

// hyphenated writes an id of 32 hex digits the way UUIDs are written.
func hyphenated(id string) string {
	return fmt.Sprintf("%s-%s-%s-%s-%s", id[:8], id[8:12], id[12:16], id[16:20], id[20:])
}

// task runs a script to its end in a container of its own.
type task struct {
	called
	what    plan.Task
	valueID string
	bound   time.Duration // of the script, where bounded
	bounded bool
}

// Task describes the task.
func (t *task) Task() plan.Task { return t.what }

// Outline shows the task and the artifacts that it makes. The document of the
// wire API names bash among the packages of each Python task, and no codes.
func (t *task) Outline(o *plan.Outline) {
	shown := plan.OutlineTask{
		Name: t.call.Description, Type: string(t.what.Kind), ValueID: t.valueID,
		Command: []string{t.what.Run}, Image: t.what.Config.Image.Ref,
		Files: t.what.Config.Files, Env: t.what.Config.Env, Args: t.what.Args,
	}
	if t.what.Kind == plan.TaskPython {
		shown.Packages = append([]string{"bash"}, t.what.Packages...)
	}
	for _, stored := range t.what.Store {
		shown.Store = append(shown.Store, plan.OutlineStored{Name: stored.Name, Path: stored.Src})
	}
	o.AddTask(shown)
}

// texts lists the texts in which references are filled in.
func (t *task) texts() []string {
	return slices.Concat([]string{t.what.Run}, t.what.Args, slices.Sorted(maps.Values(t.what.Config.Env)))
}

// Effects: a script uses the services that it names, as far as that can be known;
// what it gives is known.
func (t *task) Effects() plan.Effects {
	e := plan.Effects{
		Reads:  plan.ReferenceKeys(t.texts()...),
		Writes: []plan.Key{plan.ValueKey(t.valueID)},
		Texts:  t.texts(),
		Acts:   true,
		Script: true,
	}
	if ref := t.what.Config.Image.Ref; ref != "" {
		e.Reads = append(e.Reads, plan.ImageKey(ref))
	}
	for _, mount := range t.what.Config.Files {
		for _, artifact := range mount.Artifacts {
			e.Reads = append(e.Reads, plan.ArtifactKey(artifact))
		}
	}
	for _, stored := range t.what.Store {
		e.Writes = append(e.Writes, plan.ArtifactKey(stored.Name))
	}
	return e
}

// Validate checks the task.
func (t *task) Validate(f *plan.Forecast) []error { return f.RunTask(t.what) }
