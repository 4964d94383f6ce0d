package plan

import (
	"slices"

	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file holds what is known of tasks: scripts that run to their end in a
// container of their own.

// TaskKind says what runs a task's script.
type TaskKind string

// The kinds of tasks.
const (
	TaskSh     TaskKind = "sh"
	TaskPython TaskKind = "python"
)

// A Task is a task as a plan has it, references unresolved.
type Task struct {
	Kind     TaskKind
	Name     string // of its container
	Run      string // the script
	Args     []string
	Packages []string // to be installed before; Python's alone
	Config   enclave.ServiceConfig
	Store    []StoredPath
	Codes    []int64 // acceptable ones; nil: all
}

// StoredPath is a path of a task that is kept as a files artifact.
type StoredPath struct {
	Src  string
	Name string // of the artifact
}

// A Tasker is a step that runs a task.
type Tasker interface{ Task() Task }

// checkTaskName refuses a name that no container can have. Neither dialect asks
// more of it: it is the name of no service.
func checkTaskName(name string) []error {
	if taskName().MatchString(name) {
		return nil
	}
	return []error{fault.New("E0301", "task name %q is not allowed", name).
		WithHint("a task name has letters, digits, '-', '_' and '.', which is not first, at most 63")}
}

// RunTask checks a task and, whatever it finds, records what it makes. A task
// that an earlier run left behind is replaced; a service is not.
func (f *Forecast) RunTask(task Task) []error {
	errs := checkTaskName(task.Name)
	if _, taken := f.services[task.Name]; taken && !f.tasks[task.Name] {
		errs = append(errs, fault.New("E0320", "the task %q has the name of a service", task.Name).
			WithHint("give the task another name, or none"))
	}
	errs = append(errs, f.checkArtifacts("task", task.Name, task.Config.Files)...)
	errs = append(errs, f.checkAbilities("task", task.Name, task.Config)...)
	for i, stored := range task.Store {
		same := func(other StoredPath) bool { return other.Src == stored.Src }
		if slices.ContainsFunc(task.Store[:i], same) {
			errs = append(errs, fault.New("E0321", "the task %q stores the path %q twice", task.Name, stored.Src).
				WithHint("name each path of store once"))
		}
		// A name that is made twice is none of its business: the last one holds.
		f.made[stored.Name], f.artifacts[stored.Name] = true, true
	}
	if f.in.KeepTasks {
		f.services[task.Name], f.tasks[task.Name] = nil, true
	}
	f.AddImage(task.Config.Image)
	return errs
}
