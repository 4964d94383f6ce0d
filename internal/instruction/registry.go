// Package instruction holds the instructions of a plan, one file each.
//
// A file declares the parameters, builds the step and gives it its three verbs:
// what it reads and writes, how it is checked against a forecast, and how it is
// executed. [All] is the list that makes them members of plan.
//
// The package must not know which backend runs the enclave, nor who watches.
package instruction

import (
	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/plan"
)

// All lists the instructions. Adding one is adding a file and a line here.
func All() []lang.Builtin {
	return []lang.Builtin{
		lang.Instruction("add_service", buildAddService),
		lang.Instruction("add_services", buildAddServices),
		lang.Instruction("assert", buildAssert).Unlisted(),
		lang.Instruction("exec", buildExec),
		lang.Instruction("get_cluster_type", buildGetClusterType),
		lang.Instruction("get_files_artifact", buildGetFilesArtifact),
		lang.Instruction("get_service", buildGetService),
		lang.Instruction("get_services", buildGetServices),
		lang.Instruction("print", buildPrint),
		lang.Instruction("remove_connection", buildRemoveConnection).Unlisted(),
		lang.Instruction("remove_service", buildRemoveService),
		lang.Instruction("render_templates", buildRenderTemplates),
		lang.Instruction("request", buildRequest),
		lang.Instruction("run_python", buildRunPython),
		lang.Instruction("run_sh", buildRunSh),
		lang.Instruction("schedule_faults", buildScheduleFaults).Unlisted(),
		lang.Instruction("set_connection", buildSetConnection).Unlisted(),
		lang.Instruction("set_service", buildSetService),
		lang.Instruction("start_service", buildStartService),
		lang.Instruction("stop_service", buildStopService),
		lang.Instruction("store_service_files", buildStoreServiceFiles),
		lang.Instruction("update_service", buildUpdateService).Unlisted(),
		lang.Instruction("upload_files", buildUploadFiles),
		lang.Instruction("verify", buildVerify),
		lang.Instruction("wait", buildWait),
	}
}

// called is the part of a step that all have.
type called struct{ call plan.Call }

// Call tells what the script said.
func (c called) Call() plan.Call { return c.call }

// one makes the list of at most one problem that Validate gives.
func one(err error) []error {
	if err == nil {
		return nil
	}
	return []error{err}
}

// references makes the frozen dict that a script gets for a recipe's result: a
// future reference for each field of the value slot.
func references(id string, fields []string) starlark.Value {
	dict := starlark.NewDict(len(fields))
	for _, field := range fields {
		if err := dict.SetKey(starlark.String(field), starlark.String(plan.Reference(id, field))); err != nil {
			panic(err) // a string key of a new dict can't fail
		}
	}
	dict.Freeze()
	return dict
}
