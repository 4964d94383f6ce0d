package lang

import (
	"fmt"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
)

// This file adds named values of a dialect to the kurtosis module.

// KindConstants is a member of the kurtosis module that holds named values.
const KindConstants Kind = "constants"

// Constants declares a member of the kurtosis module: name.KEY for each key of
// values, which must be immutable. It goes into the list of types.
func Constants(name string, values map[string]starlark.Value) Builtin {
	module := &starlarkstruct.Module{Name: "kurtosis." + name, Members: values}
	module.Freeze()
	return Builtin{kind: KindConstants, name: name, constants: module}
}

// split parts the constants from a list of builtins.
func split(list []Builtin) (others []Builtin, constants starlark.StringDict) {
	constants = starlark.StringDict{}
	for _, b := range list {
		if b.kind == KindConstants {
			constants[b.name] = b.constants
			continue
		}
		others = append(others, b)
	}
	return others, constants
}

// addConstants puts the dialect's constants into the kurtosis module, which has
// the enclave's variables: those win, and whoever wonders is told.
func (in *interpretation) addConstants(kurtosis *starlarkstruct.Module) *listedModule {
	members, own := starlark.StringDict{}, map[string]bool{}
	for name, value := range in.host.constants {
		members[name], own[name] = value, true
	}
	for name, value := range kurtosis.Members {
		if members.Has(name) {
			in.warn(fmt.Sprintf("the enclave has a variable named %q, so kurtosis.%s is that and not the dialect's own", name, name))
		}
		members[name], own[name] = value, false
	}
	return &listedModule{&starlarkstruct.Module{Name: kurtosis.Name, Members: members}, own}
}
