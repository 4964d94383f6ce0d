package lang

import (
	"maps"
	"slices"
	"strings"

	startime "go.starlark.net/lib/time"
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file makes the predeclared names (starlark spec §1.5).

func predeclared(builtins []Builtin) starlark.StringDict {
	names := starlark.StringDict{
		"struct": starlark.NewBuiltin("struct", starlarkstruct.Make),
		"json":   jsonModule(),
		"time":   timeModule(),
		"print":  refuse("print", "E0210", "print is not available: it could not show values of later instructions", "plan.print(...)"),
	}
	maps.Copy(names, boundedBuiltins())
	names[productName] = starlark.NewBuiltin(productName, makeFactor)
	maps.Copy(names, boundedTexts())
	maps.Copy(names, boundedComparisons())
	maps.Copy(names, boundedSums())
	for _, b := range builtins {
		names[b.name] = b.value()
	}
	return names
}

// refuse makes a function that always fails.
func refuse(name, code, summary, hint string) *starlark.Builtin {
	return starlark.NewBuiltin(name, func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
		return nil, fault.New(code, "%s", summary).WithHint("%s", hint)
	})
}

// timeModule is the library's, but for the present time: a plan must come out
// the same whenever it is made.
func timeModule() *starlarkstruct.Module {
	members := maps.Clone(startime.Module.Members)
	members["now"] = refuse("now", "E0211", "time.now is not available: a plan must not depend on when it is made",
		`read the time in an instruction: plan.exec with ExecRecipe(command = ["date"])`)
	return &starlarkstruct.Module{Name: "time", Members: members}
}

// userFolderKey is a variable that names a folder for all enclaves of a user; a
// script gets the part of it that is its enclave's.
const userFolderKey = "aws_bucket_user_folder"

// EnclaveVarsVariable is the environment variable that has the variables of
// enclaves, where nothing else says what they are.
const EnclaveVarsVariable = "LEPTO_ENCLAVE_VARS"

// CheckEnclaveVars tells what is wrong with the variables of enclaves.
func CheckEnclaveVars(vars string) error {
	_, err := kurtosisModule(vars, "")
	return err
}

// kurtosisModule gives the enclave's variables as attributes in lower case
// (starlark spec §1.9).
func kurtosisModule(envVars, enclaveUUID string) (*starlarkstruct.Module, error) {
	module := &starlarkstruct.Module{Name: "kurtosis", Members: starlark.StringDict{}}
	if strings.TrimSpace(envVars) == "" {
		return module, nil
	}
	value, err := decodeJSON(envVars)
	if err != nil {
		return nil, fault.New("E0212", "the enclave's variables are no JSON: %w", err)
	}
	dict, ok := value.(*starlark.Dict)
	if !ok {
		return nil, fault.New("E0212", "the enclave's variables must be a JSON object, not %s", Describe(value))
	}
	// Sorted, so that of FOO and foo it is always the same one that counts.
	values := map[string]starlark.Value{}
	for _, item := range dict.Items() {
		key, _ := starlark.AsString(item[0])
		values[key] = item[1]
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		module.Members[strings.ToLower(key)] = values[key]
	}
	if value, ok := module.Members[userFolderKey]; ok {
		folder, isText := starlark.AsString(value)
		if !isText {
			return nil, fault.New("E0212", "the enclave's variable %s must be a string, not %s", userFolderKey, Describe(value))
		}
		module.Members[userFolderKey] = starlark.String(strings.Trim(folder, "/") + "/" + enclaveUUID)
	}
	module.Freeze()
	return module, nil
}
