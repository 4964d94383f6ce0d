package lang

import (
	"fmt"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
	"go.starlark.net/syntax"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file bounds the texts that a single step makes, and how deep values are
// nested that the interpreter follows.

const (
	maxShown  = 4 << 20 // values in a value that becomes text
	maxFrozen = 100_000 // how deep globals are nested
)

var errMuch = tooMuch("the text would be larger than %d MiB", maxBytes>>20)

// boundedTexts are the predeclared functions in place of the universal ones, and
// those that boundTexts puts into code.
func boundedTexts() starlark.StringDict {
	names := starlark.StringDict{
		percentName: starlark.NewBuiltin(percentName, percent),
		"getattr":   replacing("getattr", nil, boundMethod),
	}
	for _, name := range []string{"repr", "fail", "hash"} {
		names[name] = replacing(name, measureAll, nil)
	}
	names["str"] = replacing("str", func(thread *starlark.Thread, args starlark.Tuple) error {
		if len(args) == 1 {
			if _, same := args[0].(starlark.String); same {
				return nil
			}
		}
		return measureAll(thread, args)
	}, nil)
	for method := range boundedMethods {
		names[methodName+method] = starlark.NewBuiltin(methodName+method, func(_ *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			v, err := attribute(args[0], method)
			if err != nil {
				return nil, err
			}
			return boundMethod(v)
		})
	}
	return names
}

// replacing makes a function that is a universal one, with a check of what goes
// in, and a change to what comes out.
func replacing(name string, before func(*starlark.Thread, starlark.Tuple) error, after func(starlark.Value) (starlark.Value, error)) *starlark.Builtin {
	universal := starlark.Universe[name].(*starlark.Builtin)
	return starlark.NewBuiltin(name, func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		if before != nil {
			if err := before(thread, args); err != nil {
				return nil, tooMuch("%s: %w", name, err)
			}
		}
		v, err := universal.CallInternal(thread, args, kwargs)
		if err != nil || after == nil {
			return v, err
		}
		return after(v)
	})
}

func percent(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
	format, ok := args[0].(starlark.String)
	if !ok {
		return starlark.Binary(syntax.PERCENT, args[0], args[1])
	}
	if err := boundPercent(thread, string(format), args[1]); err != nil {
		return nil, err
	}
	if dict, ok := args[1].(*starlark.Dict); ok && !strings.Contains(strings.ReplaceAll(string(format), "%%", ""), "%") {
		// The revision of the library that scripts were written for takes a dict
		// that no directive names for an argument too many, as any other value.
		return starlark.Binary(syntax.PERCENT, format, starlark.Tuple{dict})
	}
	return starlark.Binary(syntax.PERCENT, format, args[1])
}

// boundPercent refuses a text that is too large, or shows too large a value.
func boundPercent(thread *starlark.Thread, format string, y starlark.Value) error {
	args, ok := y.(starlark.Tuple)
	if !ok {
		args = starlark.Tuple{y}
	}
	_, named := y.(*starlark.Dict)
	return boundFormat(thread, strings.Count(format, "%"), !named, args)
}

// boundFormat bounds a text that shows each argument at most so often, or just
// once, and counts the values in it as steps.
func boundFormat(thread *starlark.Thread, times int, once bool, args starlark.Tuple) error {
	largest, total := 0, 0
	for _, arg := range args {
		m := measure{}
		err := m.add(arg, 0)
		if thread.Steps += uint64(m.values); err != nil {
			return err
		}
		largest, total = max(largest, m.bytes), total+m.bytes+m.escapes
	}
	if largest > 0 && times > maxBytes/largest {
		return errMuch
	}
	if once {
		return reserve(thread, growing*total)
	}
	return reserve(thread, growing*times*largest)
}

// boundMethod bounds the methods of strings that need it.
func boundMethod(v starlark.Value) (starlark.Value, error) {
	method, ok := v.(*starlark.Builtin)
	if !ok || !boundedMethods[method.Name()] {
		return v, nil
	}
	receiver := method.Receiver()
	bound := starlark.NewBuiltin(method.Name(), func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		if err := boundCall(thread, method.Name(), receiver, args, kwargs); err != nil {
			return nil, tooMuch("%s: %w", method.Name(), err)
		}
		return method.CallInternal(thread, args, kwargs)
	})
	return bound.BindReceiver(receiver), nil
}

func boundCall(thread *starlark.Thread, method string, receiver starlark.Value, args starlark.Tuple, kwargs []starlark.Tuple) error {
	text, _ := starlark.AsString(receiver)
	switch method {
	case "format":
		for _, kw := range kwargs {
			args = append(args[:len(args):len(args)], kw[1])
		}
		times := strings.Count(text, "{")
		return boundFormat(thread, times, times == strings.Count(text, "{}"), args)
	case "join":
		return boundJoin(thread, text, args)
	case "split", "rsplit", "splitlines", "elems", "elem_ords", "codepoints", "codepoint_ords":
		// A part of a text takes sixteen bytes and more, whatever its length.
		if starlark.Len(receiver) > maxElements {
			return tooMuch("a text of %d bytes is too long; at most %d are taken", starlark.Len(receiver), maxElements)
		}
		if strings.Contains(method, "split") && len(text) >= smallBytes {
			return reserve(thread, partBytes*partsOf(method, text, args))
		}
		return nil
	case "items", "keys", "values":
		each := elementBytes
		if method == "items" {
			each += tupleBytes + 2*elementBytes
		}
		return reserve(thread, each*max(0, starlark.Len(receiver)))
	case "upper", "lower", "title", "capitalize":
		return reserve(thread, growing*len(text))
	case "extend":
		return boundExtend(thread, receiver, args)
	case "update":
		if dict, isDict := receiver.(*starlark.Dict); isDict && len(args) > 0 {
			if err := reserve(thread, inPlaceBytes(dict, args[0])); err != nil {
				return err
			}
		}
		return checkPairs(thread, args)
	case "get", "pop", "setdefault":
		if _, isDict := receiver.(*starlark.Dict); isDict && len(args) > 0 {
			return checkKey(thread, args[0])
		}
		return nil
	case "index", "remove":
		if list, isList := receiver.(*starlark.List); isList && len(args) > 0 {
			return checkMember(thread, args[0], list)
		}
		return nil
	}
	if len(args) < 2 { // replace
		return nil
	}
	old, isText := starlark.AsString(args[0])
	with, _ := starlark.AsString(args[1])
	if isText && len(with) > 0 && strings.Count(text, old) > maxBytes/len(with) {
		return errMuch
	}
	return reserve(thread, len(text)+strings.Count(text, old)*max(0, len(with)-len(old)))
}

func boundJoin(thread *starlark.Thread, separator string, args starlark.Tuple) error {
	if len(args) == 0 {
		return nil
	}
	parts, ok := args[0].(starlark.Iterable)
	if !ok {
		return nil
	}
	size := 0
	for part := range starlark.Elements(parts) {
		thread.Steps++
		text, ok := starlark.AsString(part)
		if !ok {
			return nil // refused by the method itself
		}
		if size += len(text) + len(separator); size > maxBytes {
			return errMuch
		}
	}
	return reserve(thread, growing*size)
}

// boundExtend refuses to make a list longer than lists may be.
func boundExtend(thread *starlark.Thread, receiver starlark.Value, args starlark.Tuple) error {
	list, ok := receiver.(*starlark.List)
	if !ok || len(args) == 0 {
		return nil
	}
	if n := list.Len() + starlark.Len(args[0]); n > maxElements {
		return tooMuch("a list of %d elements would be too long; at most %d are kept", n, maxElements)
	}
	return reserve(thread, inPlaceBytes(list, args[0]))
}

func attribute(v starlark.Value, name string) (starlark.Value, error) {
	if known, ok := v.(starlark.HasAttrs); ok {
		if found, err := known.Attr(name); err == nil && found != nil {
			return found, nil
		}
	}
	getattr := starlark.Universe["getattr"].(*starlark.Builtin)
	found, err := getattr.CallInternal(nil, starlark.Tuple{v, starlark.String(name)}, nil)
	if err != nil {
		return nil, fmt.Errorf("%s", strings.TrimPrefix(err.Error(), "getattr: "))
	}
	return found, nil
}

// measureAll refuses arguments that are too large, or too deep, to become text.
// It counts the values in them as steps: one call may show millions.
func measureAll(thread *starlark.Thread, args starlark.Tuple) error {
	bytes := 0
	for _, arg := range args {
		m := measure{}
		err := m.add(arg, 0)
		bytes += m.bytes + m.escapes
		if thread.Steps += uint64(m.values); err != nil {
			return err
		}
	}
	return reserve(thread, growing*bytes)
}

// growing is how many times its size a text takes while it is written: what it was
// written into before is garbage.
const growing = 3

// textSize gives how many bytes a value's text has at least, or an error where
// it is nested too deep or would be too large: what is shared counts each time.
func textSize(v starlark.Value) (int, error) {
	m := measure{}
	err := m.add(v, 0)
	return m.bytes, err
}

type measure struct {
	values, bytes int
	escapes       int // bytes that quoting adds
}

func (m *measure) add(v starlark.Value, depth int) error {
	if m.values++; m.values > maxShown || m.bytes > maxBytes {
		return tooMuch("the value %w", errTooLarge)
	}
	if depth > maxDepth {
		return tooMuch("the value %w", errTooDeep)
	}
	m.bytes += 2
	switch v := v.(type) {
	case starlark.String:
		m.bytes += len(v)
		m.escapes += escapes(string(v))
	case starlark.Bytes:
		m.bytes += len(v)
	case *starlark.List:
		return m.sequence(v, depth)
	case starlark.Tuple:
		return m.sequence(v, depth)
	case *starlark.Dict:
		for _, item := range v.Items() {
			if err := m.sequence(item, depth); err != nil {
				return err
			}
		}
	case *starlarkstruct.Struct:
		return m.attributes(v, depth)
	case *Object:
		for _, arg := range v.args {
			if arg == nil {
				continue
			}
			if err := m.add(arg, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *measure) sequence(seq starlark.Indexable, depth int) error {
	for i := range seq.Len() {
		if err := m.add(seq.Index(i), depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (m *measure) attributes(s *starlarkstruct.Struct, depth int) error {
	for _, name := range s.AttrNames() {
		value, err := s.Attr(name)
		if err != nil {
			return err
		}
		if err := m.add(value, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// checkDepth refuses values that are nested deeper than the interpreter itself
// could follow. It does not recurse, and looks at each value once.
func checkDepth(globals starlark.StringDict) error {
	type node struct {
		v     starlark.Value
		depth int
	}
	var todo []node
	for _, v := range globals {
		todo = append(todo, node{v, 0})
	}
	seen := map[starlark.Value]bool{}
	count := 0 // of all visits: what tuples share is visited each time, as freezing does
	for len(todo) > 0 {
		n := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if n.depth > maxFrozen {
			return fault.New("E0205", "a global is nested more than %d deep", maxFrozen)
		}
		if count++; count > maxCopy {
			return fault.New("E0205", "the globals have more than %d values", maxCopy)
		}
		if hasIdentity(n.v) {
			if seen[n.v] {
				continue
			}
			seen[n.v] = true
		}
		for _, v := range frozenIn(n.v) {
			if v != nil {
				todo = append(todo, node{v, n.depth + 1})
			}
		}
	}
	return nil
}

// hasIdentity reports a value that is frozen once, however often it is used.
func hasIdentity(v starlark.Value) bool {
	switch v.(type) {
	case *starlark.List, *starlark.Dict, *starlarkstruct.Struct, *Object, *starlark.Function, *starlark.Builtin:
		return true
	}
	return false
}

// frozenIn lists the values that are frozen with one; some may be nil.
func frozenIn(v starlark.Value) (values []starlark.Value) {
	switch v := v.(type) {
	case starlark.Tuple:
		return v
	case *starlark.List:
		for i := range v.Len() {
			values = append(values, v.Index(i))
		}
	case *starlark.Dict:
		for _, item := range v.Items() {
			values = append(values, item...)
		}
	case *starlarkstruct.Struct:
		for _, name := range v.AttrNames() {
			if value, err := v.Attr(name); err == nil {
				values = append(values, value)
			}
		}
	case *Object:
		values = v.args
	case *starlark.Function:
		for i := range v.NumParams() {
			values = append(values, v.ParamDefault(i))
		}
		for i := range v.NumFreeVars() {
			_, value := v.FreeVar(i)
			values = append(values, value)
		}
	case *starlark.Builtin:
		values = append(values, v.Receiver())
	}
	return values
}
