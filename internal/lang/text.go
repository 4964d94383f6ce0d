package lang

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	startime "go.starlark.net/lib/time"
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"

	"github.com/lepto-dev/lepto/internal/plan"
)

// This file renders values as canonical text (starlark spec §1.6.8), and copies
// them.

const (
	// maxText bounds the text of one value, in bytes: shared lists inside lists
	// can make a small value's text larger than any memory.
	maxText = 16 << 20
	// maxString bounds a single string in it, quoted, in bytes.
	maxString = 64 << 20
	// maxDepth bounds how deep values may be nested in one another.
	maxDepth = 1000
)

var (
	errTooLarge   = fmt.Errorf("is too large: its text has more than %d MiB", maxText>>20)
	errLongString = fmt.Errorf("has a string of more than %d MiB", maxString>>20)
	errTooDeep    = fmt.Errorf("is nested more than %d deep", maxDepth)
)

// Text gives a value's canonical text: dict entries sorted as text, objects as
// the call that makes them.
func Text(v starlark.Value) (string, error) {
	w := textWriter{}
	if err := w.write(v, 0); err != nil {
		return "", err
	}
	return w.b.String(), nil
}

// textWriter writes a value's text. Secrets are masked if it is told so, and
// noticed in any case.
type textWriter struct {
	b       strings.Builder
	mask    bool
	secrets bool
}

// maskedSecret stands for a secret in what is shown.
const maskedSecret = `"***"`

func (w *textWriter) write(v starlark.Value, depth int) error {
	if depth > maxDepth {
		return errTooDeep
	}
	if w.b.Len() > maxText {
		return errTooLarge
	}
	switch v := v.(type) {
	case starlark.String:
		if len(v) >= smallBytes && len(v)+escapes(string(v)) > maxString {
			return errLongString
		}
		w.b.WriteString(v.String())
	case *starlark.List:
		return w.sequence("[", v.Index, v.Len(), "]", depth)
	case starlark.Tuple:
		return w.sequence("(", v.Index, len(v), ")", depth)
	case *starlark.Dict:
		return w.dict(v, depth)
	case *starlarkstruct.Struct:
		return w.structure(v, depth)
	case *Object:
		return w.call(v.typ.name, v.typ.schema.params, v.args, depth)
	case startime.Time:
		fmt.Fprintf(&w.b, "time.from_timestamp(%d)", time.Time(v).Unix())
	case startime.Duration:
		fmt.Fprintf(&w.b, "time.parse_duration(%s)", v)
	default:
		w.b.WriteString(v.String())
	}
	return nil
}

func (w *textWriter) sequence(open string, at func(int) starlark.Value, n int, closing string, depth int) error {
	w.b.WriteString(open)
	for i := range n {
		if i > 0 {
			w.b.WriteString(", ")
		}
		if err := w.write(at(i), depth+1); err != nil {
			return err
		}
	}
	w.b.WriteString(closing)
	return nil
}

func (w *textWriter) dict(dict *starlark.Dict, depth int) error {
	all := textWriter{mask: w.mask} // of all entries, one after the other
	ends := make([]int, 0, dict.Len())
	for _, item := range dict.Items() {
		if err := all.write(item[0], depth+1); err != nil {
			return err
		}
		all.b.WriteString(": ")
		if err := all.write(item[1], depth+1); err != nil {
			return err
		}
		if w.b.Len()+all.b.Len() > maxText {
			return errTooLarge
		}
		ends = append(ends, all.b.Len())
	}
	entries := make([]string, len(ends))
	start := 0
	for i, end := range ends {
		entries[i], start = all.b.String()[start:end], end
	}
	slices.Sort(entries)
	w.secrets = w.secrets || all.secrets
	w.b.WriteByte('{')
	for i, entry := range entries {
		if i > 0 {
			w.b.WriteString(", ")
		}
		w.b.WriteString(entry)
	}
	w.b.WriteByte('}')
	return nil
}

func (w *textWriter) structure(s *starlarkstruct.Struct, depth int) error {
	w.b.WriteString("struct(")
	for i, name := range s.AttrNames() { // sorted
		if i > 0 {
			w.b.WriteString(", ")
		}
		value, err := s.Attr(name)
		if err != nil {
			return err
		}
		w.b.WriteString(name + "=")
		if err := w.write(value, depth+1); err != nil {
			return err
		}
	}
	w.b.WriteString(")")
	return nil
}

// call writes name(arg=…, …) for the arguments given.
func (w *textWriter) call(name string, params []Param, bound []starlark.Value, depth int) error {
	w.b.WriteString(name + "(")
	first := true
	for i, p := range params {
		if bound[i] == nil {
			continue
		}
		if !first {
			w.b.WriteString(", ")
		}
		first = false
		w.b.WriteString(p.Name)
		w.b.WriteByte('=')
		w.secrets = w.secrets || p.secret
		if p.secret && w.mask {
			w.b.WriteString(maskedSecret)
			continue
		}
		if err := w.write(bound[i], depth+1); err != nil {
			return err
		}
	}
	w.b.WriteString(")")
	return nil
}

// callText gives a call with its texts: the canonical one, the one without
// secrets where it has any, and those of the given arguments.
func callText(name string, params []Param, bound []starlark.Value) (plan.Call, error) {
	w := textWriter{}
	call, err := w.callText(name, params, bound)
	if err != nil || !w.secrets {
		return call, err
	}
	masked := textWriter{mask: true}
	public, err := masked.callText(name, params, bound)
	call.Masked, call.Args = public.Text, public.Args
	return call, err
}

// callText is call with the arguments' texts, which are parts of the whole.
func (w *textWriter) callText(name string, params []Param, bound []starlark.Value) (plan.Call, error) {
	call := plan.Call{Name: name}
	type part struct{ param, start, end int }
	parts := make([]part, 0, len(params))
	const usual = 512 // bytes: most calls are shorter
	w.b.Grow(usual)
	w.b.WriteString(name)
	w.b.WriteByte('(')
	for i, p := range params {
		if bound[i] == nil {
			continue
		}
		if len(parts) > 0 {
			w.b.WriteString(", ")
		}
		w.b.WriteString(p.Name + "=")
		start := w.b.Len()
		if err := w.write(bound[i], 0); err != nil {
			return call, &ArgsError{Builtin: name, Problems: []Problem{{Arg: p.Name, Text: err.Error()}}}
		}
		parts = append(parts, part{i, start, w.b.Len()})
	}
	w.b.WriteByte(')')
	call.Text = w.b.String()
	call.Args = make([]plan.Arg, len(parts))
	for i, p := range parts {
		call.Args[i] = plan.Arg{Name: params[p.param].Name, Text: call.Text[p.start:p.end], Representative: params[p.param].repr}
	}
	return call, nil
}

// Copy gives a deep copy of a value: lists, dicts, sets, tuples, structs and
// objects are new, with what is shared in v shared in the copy. Values that
// contain themselves, or are nested more than 1000 deep, are an error.
func Copy(v starlark.Value) (starlark.Value, error) {
	c := copier{done: map[starlark.Value]starlark.Value{}}
	return c.copy(v, 0)
}

// copier remembers what it has copied; nil marks what it is copying now.
type copier struct {
	done  map[starlark.Value]starlark.Value
	count int
}

// maxCopy bounds the values in one copy: tuples are copied once per use.
const maxCopy = 10_000_000

func (c *copier) copy(v starlark.Value, depth int) (starlark.Value, error) {
	if depth > maxDepth {
		return nil, errTooDeep
	}
	if c.count++; c.count > maxCopy {
		return nil, fmt.Errorf("is too large: it has more than %d values", maxCopy)
	}
	switch v.(type) {
	case *starlark.List, *starlark.Dict, *starlark.Set, *starlarkstruct.Struct, *Object:
	case starlark.Tuple:
		return c.fresh(v, depth) // a slice: no identity to remember it by
	default:
		return v, nil
	}
	if known, ok := c.done[v]; ok {
		if known == nil {
			return nil, errors.New("contains itself")
		}
		return known, nil
	}
	c.done[v] = nil
	out, err := c.fresh(v, depth)
	c.done[v] = out
	return out, err
}

func (c *copier) fresh(v starlark.Value, depth int) (starlark.Value, error) {
	switch v := v.(type) {
	case *starlark.List:
		items, err := c.items(v, depth)
		return starlark.NewList(items), err
	case starlark.Tuple:
		items, err := c.items(v, depth)
		return starlark.Tuple(items), err
	case *starlark.Set:
		out := starlark.NewSet(v.Len())
		for item := range v.Elements() {
			if err := out.Insert(item); err != nil { // hashable: needs no copy
				return nil, err
			}
		}
		return out, nil
	case *starlark.Dict:
		return c.dict(v, depth)
	case *starlarkstruct.Struct:
		return c.structure(v, depth)
	case *Object:
		out := &Object{typ: v.typ, args: make([]starlark.Value, len(v.args)), made: v.made}
		for i, arg := range v.args {
			if arg == nil {
				continue
			}
			var err error
			if out.args[i], err = c.copy(arg, depth+1); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return v, nil
}

func (c *copier) items(seq starlark.Indexable, depth int) ([]starlark.Value, error) {
	items := make([]starlark.Value, seq.Len())
	for i := range items {
		var err error
		if items[i], err = c.copy(seq.Index(i), depth+1); err != nil {
			return nil, err
		}
	}
	return items, nil
}

func (c *copier) dict(dict *starlark.Dict, depth int) (starlark.Value, error) {
	out := starlark.NewDict(dict.Len())
	for _, item := range dict.Items() {
		value, err := c.copy(item[1], depth+1)
		if err != nil {
			return nil, err
		}
		if err := out.SetKey(item[0], value); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (c *copier) structure(s *starlarkstruct.Struct, depth int) (starlark.Value, error) {
	fields := starlark.StringDict{}
	for _, name := range s.AttrNames() {
		value, err := s.Attr(name)
		if err != nil {
			return nil, err
		}
		if fields[name], err = c.copy(value, depth+1); err != nil {
			return nil, err
		}
	}
	return starlarkstruct.FromStringDict(s.Constructor(), fields), nil
}
