package instruction

import (
	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/lang/types"
	"github.com/lepto-dev/lepto/internal/plan"
)

// runPythonArgs are the parameters of plan.run_python.
type runPythonArgs struct {
	_             struct{}            `doc:"Runs a Python script in a container of its own and waits for it to end. Gives a struct of its exit code, its output (stdout and stderr as they came) and the names of the files artifacts that were kept."`
	Name          string              `star:"name,?" doc:"its name; task-<a new UUID> if not given"`
	Run           string              `star:"run,repr" doc:"the script"`
	Args          []string            `star:"args,?,repr" doc:"its arguments: sys.argv[1:]"`
	Packages      []string            `star:"packages,?,repr" doc:"packages to install with pip before; without any, pip is not run"`
	Image         types.Image         `star:"image,?,repr" doc:"the image to run it in; python:3.11-alpine if not given"`
	Files         map[string]string   `star:"files,?,repr" doc:"names of files artifacts, by mount path"`
	Store         []types.Stored      `star:"store,?,repr" doc:"paths to keep as files artifacts once it has ended well"`
	Wait          types.TaskWait      `star:"wait,?,repr" doc:"how long the script may take; 180s if not given; None: as long as it likes"`
	Codes         []int64             `star:"acceptable_codes,?" doc:"exit codes that are no failure; [0] if not given"`
	SkipCheck     bool                `star:"skip_code_check,?" doc:"accept any exit code"`
	NodeSelectors map[string]string   `star:"node_selectors,?,repr" doc:"labels of the Kubernetes nodes that it may run on"`
	Tolerations   []*types.Toleration `star:"tolerations,?,repr" doc:"taints of Kubernetes nodes that it tolerates"`
}

// defaultPythonImage is the image of run_python where none is given.
const defaultPythonImage = "python:3.11-alpine"

func buildRunPython(c *lang.Call, a *runPythonArgs) (plan.Step, starlark.Value, error) {
	if !a.Image.Given() {
		a.Image.Ref = defaultPythonImage
	}
	return newTask(c, taskArgs{
		kind: plan.TaskPython, name: a.Name, run: a.Run, description: "Running Python script",
		args: a.Args, packages: a.Packages,
		store: a.Store, wait: a.Wait, codes: a.Codes, skipCheck: a.SkipCheck,
		config: types.ServiceConfig{
			Image: a.Image, Files: artifactsAt(a.Files),
			NodeSelectors: a.NodeSelectors, Tolerations: a.Tolerations,
		},
	})
}
