package lang

import (
	"fmt"
	"slices"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"

	"github.com/lepto-dev/lepto/internal/fault"
)

// listedModule is a module that has more members than it lists: dir shows those
// of the current dialect. It is used by pointer: values of scripts are compared,
// and a struct with a map can't be.
type listedModule struct {
	*starlarkstruct.Module
	unlisted map[string]bool
}

var _ starlark.HasAttrs = (*listedModule)(nil)

// AttrNames gives the names that are listed, sorted.
func (m *listedModule) AttrNames() []string {
	return slices.DeleteFunc(m.Module.AttrNames(), func(name string) bool { return m.unlisted[name] })
}

// planObject is what scripts get as plan: a module whose members are the
// instructions.
type planObject struct{ *listedModule }

// newPlan makes plan of instructions.
func newPlan(instructions []Builtin) planObject {
	p := planObject{&listedModule{&starlarkstruct.Module{Name: planParam, Members: starlark.StringDict{}}, map[string]bool{}}}
	for _, b := range instructions {
		p.Members[b.name], p.unlisted[b.name] = b.value(), b.unlisted
	}
	p.Freeze()
	return p
}

// Attr gives an instruction.
func (p planObject) Attr(name string) (starlark.Value, error) {
	if v, ok := p.Members[name]; ok {
		return v, nil
	}
	text := fmt.Sprintf("there is no instruction plan.%s", name)
	// The library adds which one may have been meant, of those that are listed.
	if near := fault.Nearest(name, p.Members.Keys()); p.unlisted[near] {
		text += fmt.Sprintf(" (did you mean .%s?)", near)
	}
	return nil, starlark.NoSuchAttrError(text)
}
