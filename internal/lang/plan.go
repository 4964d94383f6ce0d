package lang

import (
	"fmt"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"

	"github.com/lepto-dev/lepto/internal/fault"
)

// planObject is what scripts get as plan: a module whose members are the
// instructions.
type planObject struct{ *starlarkstruct.Module }

var _ starlark.HasAttrs = planObject{}

// Attr gives an instruction.
func (p planObject) Attr(name string) (starlark.Value, error) {
	if v, ok := p.Members[name]; ok {
		return v, nil
	}
	text := fmt.Sprintf("there is no instruction plan.%s", name)
	if near := fault.Nearest(name, p.AttrNames()); near != "" {
		text += fmt.Sprintf(" (did you mean plan.%s?)", near)
	}
	return nil, starlark.NoSuchAttrError(text)
}
