package instruction

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// This file gives values of instructions to templates. Where a template prints
// one, packages count on Starlark's text of it, which is all that Kurtosis fills
// in. So a value prints as that text, and is of its own type for everything else:
// a list can be ranged over, False is false.
type (
	shownBool bool
	shownList []any
	shownDict map[string]any
)

// shownValue gives a value as a template sees it.
func shownValue(value starlark.Value) any {
	switch v := value.(type) {
	case starlark.String:
		return string(v)
	case starlark.Int, starlark.Float:
		return json.Number(v.String())
	case starlark.Bool:
		return shownBool(v)
	case *starlark.List:
		list := make(shownList, v.Len())
		for i := range list {
			list[i] = shownValue(v.Index(i))
		}
		return list
	case *starlark.Dict:
		dict := make(shownDict, v.Len())
		for _, item := range v.Items() {
			key, ok := starlark.AsString(item[0])
			if !ok {
				return v.String()
			}
			dict[key] = shownValue(item[1])
		}
		return dict
	}
	return value.String()
}

// String gives True or False.
func (b shownBool) String() string { return starlark.Bool(b).String() }

// String gives the list in Starlark.
func (l shownList) String() string {
	texts := make([]string, len(l))
	for i, item := range l {
		texts[i] = shownText(item)
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

// String gives the dict in Starlark.
func (d shownDict) String() string {
	texts := make([]string, 0, len(d))
	for _, key := range slices.Sorted(maps.Keys(d)) {
		texts = append(texts, shownText(key)+": "+shownText(d[key]))
	}
	return "{" + strings.Join(texts, ", ") + "}"
}

// shownText gives what is within a list or dict in Starlark.
func shownText(item any) string {
	if text, ok := item.(string); ok {
		return syntax.Quote(text, false)
	}
	return item.(fmt.Stringer).String() // as all others are
}
