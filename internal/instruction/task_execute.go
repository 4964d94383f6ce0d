package instruction

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/plan"
	"github.com/lepto-dev/lepto/internal/recipe"
)

// This file executes tasks. The container of a task only waits (see
// backend.ServiceSpec.Hold); the script is a command that is run in it. So what
// it gives is its own exit code and its own output, to the byte, and a task that
// has failed is there to be looked into.

// Execute runs the script.
func (t *task) Execute(ctx context.Context, x *plan.Execution) (plan.Outcome, error) {
	r := &taskRun{task: t, x: x}
	if err := r.fill(); err != nil {
		return plan.Outcome{}, err
	}
	config := t.what.Config
	config.Env = r.env
	config.Entrypoint = r.command(python) // what it is about, for those who look at it
	service, err := x.Enclave.AddService(ctx, t.what.Name, config, enclave.AddOptions{Progress: x.Progress, Passing: !x.KeepTasks})
	if err != nil {
		return plan.Outcome{}, err
	}
	r.service = service.Name
	result, err := r.run(ctx)
	if err != nil {
		return plan.Outcome{}, r.failed(ctx, err)
	}
	if !x.KeepTasks {
		finish, err := x.Enclave.BeginRemoval(ctx, r.service)
		if err != nil {
			return plan.Outcome{}, err
		}
		x.Later(fmt.Sprintf("the container of task %q could not be removed", t.what.Name), finish)
	}
	return plan.Outcome{Text: result.Text}, nil
}

// taskRun is one execution of a task.
type taskRun struct {
	*task
	x       *plan.Execution
	script  string // references filled in, as all below
	args    []string
	env     map[string]string
	service string // name of its container
	log     io.Writer
}

// fill replaces the references in the script, the arguments and the environment.
func (r *taskRun) fill() (err error) {
	if r.script, err = r.x.Values.Text(r.what.Run); err != nil {
		return fmt.Errorf("script of task %q: %w", r.what.Name, err)
	}
	if r.args, err = r.x.Values.Texts(r.what.Args); err != nil {
		return fmt.Errorf("arguments of task %q: %w", r.what.Name, err)
	}
	r.env = make(map[string]string, len(r.what.Config.Env))
	for key, text := range r.what.Config.Env {
		if r.env[key], err = r.x.Values.Text(text); err != nil {
			return fmt.Errorf("variable %q of task %q: %w", key, r.what.Name, err)
		}
	}
	return nil
}

const (
	python  = "python"
	python3 = "python3" // its name in images that have no other, such as Debian's

	// longScript is from where on a script, in bytes, is a file: the kernel takes
	// no argument of more than 128 KiB (execve(2)).
	longScript = 120 << 10
	scriptDir  = "/.lepto-task"
	scriptFile = scriptDir + "/script"
)

// command is what runs the script. A long one is read from its file in a way in
// which it sees the same as a short one: its arguments, its working directory.
func (r *taskRun) command(interpreter string) []string {
	long := len(r.script) > longScript
	if r.what.Kind == plan.TaskSh {
		if long {
			return []string{"/bin/sh", "-c", ". " + scriptFile}
		}
		return []string{"/bin/sh", "-c", r.script}
	}
	script := r.script
	if long {
		script = fmt.Sprintf("exec(compile(open(%q, encoding='utf-8').read(), '<string>', 'exec'))", scriptFile)
	}
	return append([]string{interpreter, "-u", "-c", script}, r.args...)
}

// run does all that is done in the container. The value is set before the code
// is judged.
func (r *taskRun) run(ctx context.Context) (recipe.Result, error) {
	log, err := r.x.Enclave.LogTo(ctx, r.service, backend.Stdout)
	if err != nil {
		return recipe.Result{}, err
	}
	defer log.Close()
	r.log = log
	if len(r.script) > longScript {
		if err := r.copyScript(ctx); err != nil {
			return recipe.Result{}, err
		}
	}
	interpreter := ""
	if r.what.Kind == plan.TaskPython {
		if interpreter, err = r.interpreter(ctx); err != nil {
			return recipe.Result{}, err
		}
		if err := r.install(ctx, interpreter); err != nil {
			return recipe.Result{}, err
		}
	}
	result, err := r.limited(ctx, interpreter)
	if err != nil {
		return recipe.Result{}, err
	}
	if err := r.x.Values.Set(r.valueID, map[string]starlark.Value{
		fieldCode: result.Fields[fieldCode], fieldOutput: result.Fields[fieldOutput],
	}); err != nil {
		return recipe.Result{}, err
	}
	if codes := r.what.Codes; codes != nil && !slices.Contains(codes, int64(result.Code())) {
		return recipe.Result{}, r.unacceptable(result)
	}
	return result, r.store(ctx)
}

// limited runs the script, for as long as it may take.
func (r *taskRun) limited(ctx context.Context, interpreter string) (recipe.Result, error) {
	if !r.bounded {
		return r.exec(ctx, r.command(interpreter))
	}
	over := fault.New("E0513", "the task %q did not end within %s", r.what.Name, r.bound).
		WithHint("give it longer with wait, or wait = None for no bound")
	over.Cause = fault.ErrTimeout
	limited, cancel := context.WithTimeoutCause(ctx, r.bound, over)
	defer cancel()
	result, err := r.exec(limited, r.command(interpreter))
	if err != nil && errors.Is(err, over) {
		return result, over.WithEvidence("its last output", r.x.Enclave.LastLines(ctx, r.service)...)
	}
	return result, err
}

// exec runs a command in the container; its output goes to the container's log
// as well.
func (r *taskRun) exec(ctx context.Context, command []string) (recipe.Result, error) {
	asItIs := func(s string) (string, error) { return s, nil }
	return recipe.Exec{Command: command}.Run(ctx, logged{r.x.Enclave, r.log}, r.service, asItIs)
}

// logged is an enclave in which a command's output goes to a log as well.
type logged struct {
	*enclave.Enclave
	log io.Writer
}

// Exec runs a command.
func (l logged) Exec(ctx context.Context, service string, spec backend.ExecSpec) (int, error) {
	both := io.MultiWriter(spec.Stdout, l.log)
	spec.Stdout, spec.Stderr = both, both // one writer keeps the order
	return l.Enclave.Exec(ctx, service, spec)
}

// interpreter gives the name of Python in the image.
func (r *taskRun) interpreter(ctx context.Context) (string, error) {
	for _, name := range []string{python, python3} {
		code, err := r.x.Enclave.Exec(ctx, r.service, backend.ExecSpec{Args: []string{name, "-V"}})
		if err != nil || code != notFound {
			return name, err
		}
	}
	return "", fault.New("E0514", "the image %q of the task %q has no Python", r.what.Config.Image.Ref, r.what.Name).
		WithHint("run_python needs a command python or python3 in the image")
}

// notFound is the code of a command that is not there.
const notFound = 127

// install installs the packages; without any, pip is not run.
func (r *taskRun) install(ctx context.Context, interpreter string) error {
	packages := r.what.Packages
	if len(packages) == 0 {
		return nil
	}
	if r.x.Progress != nil {
		r.x.Progress("installing " + strings.Join(packages, ", "))
	}
	quiet := []string{"--disable-pip-version-check", "--no-input"}
	result, err := r.exec(ctx, slices.Concat([]string{interpreter, "-m", "pip", "install"}, quiet, packages))
	if err != nil {
		return err
	}
	if result.Code() != 0 {
		return fault.New("E0515", "the packages of the task %q could not be installed: pip ended with exit code %d", r.what.Name, result.Code()).
			WithEvidence("its output", lastLines(result)...)
	}
	return nil
}

// failed leaves the container for those who want to look at it, with the reason
// why. Of a task that was cancelled nothing is left.
func (r *taskRun) failed(ctx context.Context, why error) error {
	clean, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), cleanTime, fault.ErrTimeout)
	defer cancel()
	if ctx.Err() != nil {
		return errors.Join(why, r.x.Enclave.RemoveService(clean, r.service))
	}
	return errors.Join(why, r.x.Enclave.Blame(clean, r.service, why))
}

// cleanTime bounds what is done after a task's end has come another way.
const cleanTime = 30 * time.Second

func (r *taskRun) unacceptable(result recipe.Result) error {
	task := r.what
	accepted := make([]string, len(task.Codes))
	for i, code := range task.Codes {
		accepted[i] = fmt.Sprint(code)
	}
	f := fault.New("E0512", "the task %q ended with exit code %d; acceptable is %s", task.Name, result.Code(), strings.Join(accepted, ", "))
	if len(accepted) == 0 {
		f = fault.New("E0512", "the task %q ended with exit code %d; acceptable_codes is empty", task.Name, result.Code())
	}
	f = f.WithEvidence("its output", lastLines(result)...)
	if result.OOM {
		return outOfMemory(r.x, r.service, fault.New("E0512", "the task %q ended with exit code %d", task.Name, result.Code()), f)
	}
	return f.WithHint("acceptable_codes lists the codes that are no failure")
}

// lastLines gives the end of a command's output.
func lastLines(result recipe.Result) []string {
	text, _ := starlark.AsString(result.Fields[fieldOutput])
	return recipe.Tail(text)
}

// copyScript puts the script into the container as a file.
func (r *taskRun) copyScript(ctx context.Context) error {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	header := &tar.Header{Name: path.Base(scriptFile), Mode: 0o644, Size: int64(len(r.script)), Typeflag: tar.TypeReg}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	if _, err := io.WriteString(w, r.script); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return r.x.Enclave.CopyIn(ctx, r.service, scriptDir, &archive)
}

// store keeps the paths that the script asked for.
func (r *taskRun) store(ctx context.Context) error {
	for _, stored := range r.what.Store {
		opts := enclave.StoreOptions{Progress: r.x.Progress}
		if _, _, err := r.x.Enclave.StoreServiceFiles(ctx, r.service, stored.Src, stored.Name, opts); err != nil {
			return err
		}
	}
	return nil
}
