package instruction

import (
	"fmt"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/lang/types"
	"github.com/lepto-dev/lepto/internal/plan"
)

// runShArgs are the parameters of plan.run_sh.
type runShArgs struct {
	_             struct{}            `doc:"Runs a shell script in a container of its own and waits for it to end. Gives a struct of its exit code, its output (stdout and stderr as they came) and the names of the files artifacts that were kept."`
	Name          string              `star:"name,?" doc:"its name; task-<a new UUID> if not given"`
	Run           string              `star:"run,repr" doc:"the script, run by the image's /bin/sh"`
	Image         types.Image         `star:"image,?,repr" doc:"the image to run it in; badouralix/curl-jq if not given"`
	Files         map[string]string   `star:"files,?,repr" doc:"names of files artifacts, by mount path"`
	Store         []types.Stored      `star:"store,?,repr" doc:"paths to keep as files artifacts once it has ended well"`
	Env           map[string]string   `star:"env_vars,?,repr" doc:"variables of its environment"`
	Wait          types.TaskWait      `star:"wait,?,repr" doc:"how long the script may take; 180s if not given; None: as long as it likes"`
	Codes         []int64             `star:"acceptable_codes,?" doc:"exit codes that are no failure; [0] if not given"`
	SkipCheck     bool                `star:"skip_code_check,?" doc:"accept any exit code"`
	NodeSelectors map[string]string   `star:"node_selectors,?,repr" doc:"labels of the Kubernetes nodes that it may run on"`
	Tolerations   []*types.Toleration `star:"tolerations,?,repr" doc:"taints of Kubernetes nodes that it tolerates"`
	Privileged    bool                `star:"privileged,?" doc:"whether it runs without isolation; the run must allow it"`
	HostPID       bool                `star:"host_pid_namespace,?" doc:"whether it sees the host's processes; the run must allow it"`
	BindMounts    types.BindMounts    `star:"bind_mounts,?" doc:"paths of the host to paths inside; the run must allow it"`
}

// defaultShImage is the image of run_sh where none is given.
const defaultShImage = "badouralix/curl-jq"

// shownScript is how long a script is, in bytes, that the description shows.
const shownScript = 80

func buildRunSh(c *lang.Call, a *runShArgs) (plan.Step, starlark.Value, error) {
	description := "Running sh script"
	if len(a.Run) < shownScript {
		description = fmt.Sprintf("Running sh script: `%s`", a.Run)
	}
	if !a.Image.Given() {
		a.Image.Ref = defaultShImage
	}
	return newTask(c, taskArgs{
		kind: plan.TaskSh, name: a.Name, run: a.Run, description: description,
		store: a.Store, wait: a.Wait, codes: a.Codes, skipCheck: a.SkipCheck,
		config: types.ServiceConfig{
			Image: a.Image, Files: artifactsAt(a.Files), EnvVars: a.Env,
			NodeSelectors: a.NodeSelectors, Tolerations: a.Tolerations,
			Privileged: a.Privileged, HostPID: a.HostPID, BindMounts: a.BindMounts,
		},
	})
}
