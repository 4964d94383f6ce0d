package plan

import (
	"go.starlark.net/starlark"
)

// This file finds and fills in references at any depth of a value.

// Value fills in the references of a value: those of a string as Typed does, and
// so those in lists, tuples and dicts, whose copies are given. Keys of dicts are
// filled in as text.
func (v *Values) Value(value starlark.Value) (starlark.Value, error) {
	if len(TextsIn(value)) == 0 {
		return value, nil
	}
	switch value := value.(type) {
	case starlark.String:
		return v.Typed(string(value))
	case *starlark.List:
		items, err := v.items(value)
		return starlark.NewList(items), err
	case starlark.Tuple:
		items, err := v.items(value)
		return starlark.Tuple(items), err
	case *starlark.Dict:
		return v.dict(value)
	}
	return value, nil
}

func (v *Values) items(list starlark.Indexable) ([]starlark.Value, error) {
	items := make([]starlark.Value, list.Len())
	for i := range items {
		var err error
		if items[i], err = v.Value(list.Index(i)); err != nil {
			return nil, err
		}
	}
	return items, nil
}

func (v *Values) dict(dict *starlark.Dict) (starlark.Value, error) {
	out := starlark.NewDict(dict.Len())
	for _, item := range dict.Items() {
		key := item[0]
		if text, ok := starlark.AsString(key); ok {
			filled, err := v.Text(text)
			if err != nil {
				return nil, err
			}
			key = starlark.String(filled)
		}
		value, err := v.Value(item[1])
		if err != nil {
			return nil, err
		}
		if err := out.SetKey(key, value); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// TextsIn lists the strings within a value that hold references.
func TextsIn(value starlark.Value) []string {
	var texts []string
	switch value := value.(type) {
	case starlark.String:
		if len(References(string(value))) > 0 {
			texts = append(texts, string(value))
		}
	case *starlark.List:
		for i := range value.Len() {
			texts = append(texts, TextsIn(value.Index(i))...)
		}
	case starlark.Tuple:
		for _, item := range value {
			texts = append(texts, TextsIn(item)...)
		}
	case *starlark.Dict:
		for _, item := range value.Items() {
			texts = append(append(texts, TextsIn(item[0])...), TextsIn(item[1])...)
		}
	}
	return texts
}
