package lang

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"go.starlark.net/starlark"
)

// This file turns Starlark values into Go values. Decoding copies: what a step
// holds does not change when the script goes on to change a list or dict.

// An Unpacker is a parameter type that reads its value by itself: one that takes
// more than one Starlark type, or None. Wants names them, for messages.
type Unpacker interface {
	UnpackStar(v starlark.Value) error
	Wants() string
}

// validator is a Go type with rules of its own.
type validator interface{ Validate() error }

// codec decodes one Go type.
type codec struct {
	words  func() string // what it takes
	shape  func(v starlark.Value) bool
	decode func(d *decoder, path string, v starlark.Value, into reflect.Value)
}

// A Problem is one thing wrong with the arguments of a call.
type Problem struct {
	Arg  string // the argument, or a path into it: ports["http"].number
	Text string // what is wrong, after the argument's name: "must be a string, not an int"
	Hint string

	binding bool // the call does not fit the parameters at all
}

// decoder gathers problems.
type decoder struct{ problems []Problem }

func (d *decoder) add(path, format string, args ...any) {
	d.problems = append(d.problems, Problem{Arg: path, Text: fmt.Sprintf(format, args...)})
}

// wrong reports a value of a wrong type.
func (d *decoder) wrong(path, want string, v starlark.Value) {
	d.add(path, "must be %s, not %s", want, Describe(v))
}

// fail reports an error about a value; the problems of a nested object keep
// their paths.
func (d *decoder) fail(path string, err error) {
	var nested *ArgsError
	if errors.As(err, &nested) && nested.Builtin == "" {
		for _, p := range nested.Problems {
			p.Arg = joinPath(path, p.Arg)
			d.problems = append(d.problems, p)
		}
		return
	}
	d.add(path, "%s", err)
}

// within puts the problems from an index on below a path.
func (d *decoder) within(from int, path string) {
	for i := from; i < len(d.problems); i++ {
		d.problems[i].Arg = joinPath(path, d.problems[i].Arg)
	}
}

func joinPath(path, rest string) string {
	switch {
	case path == "":
		return rest
	case rest == "" || strings.HasPrefix(rest, "["):
		return path + rest
	}
	return path + "." + rest
}

// Describe names a value's type with its article, None as itself.
func Describe(v starlark.Value) string {
	switch v.(type) {
	case starlark.NoneType:
		return "None"
	case *Object:
		return article(v.Type())
	}
	return article(typeWords(v.Type()))
}

func typeWords(name string) string {
	if name == "builtin_function_or_method" {
		return "function"
	}
	return name
}

// plural gives a type's name for several; what is more than a name stays.
func plural(words string) string {
	if strings.Contains(words, " ") {
		return words
	}
	return words + "s"
}

func article(word string) string {
	if word != "" && strings.ContainsRune("aeiouAEIO", rune(word[0])) || strings.HasPrefix(word, "Up") {
		return "an " + word
	}
	return "a " + word
}

var (
	valueType    = reflect.TypeFor[starlark.Value]()
	unpackerType = reflect.TypeFor[Unpacker]()
)

// codecOf gives the codec of a Go type; it panics on one that no parameter can
// have.
func codecOf(t reflect.Type) *codec {
	c := baseCodec(t)
	if t.Kind() == reflect.Pointer || t.Kind() == reflect.Interface {
		return c // a pointer's target has been validated with its own codec
	}
	if !reflect.PointerTo(t).Implements(reflect.TypeFor[validator]()) {
		return c
	}
	decode := c.decode
	c.decode = func(d *decoder, path string, v starlark.Value, into reflect.Value) {
		before := len(d.problems)
		decode(d, path, v, into)
		if len(d.problems) > before {
			return
		}
		if err := into.Addr().Interface().(validator).Validate(); err != nil {
			d.fail(path, err)
		}
	}
	return c
}

func baseCodec(t reflect.Type) *codec {
	switch {
	case t == valueType:
		return anyCodec()
	case reflect.PointerTo(t).Implements(unpackerType):
		return unpackerCodec(t)
	}
	switch t.Kind() {
	case reflect.String:
		return stringCodec()
	case reflect.Bool:
		return boolCodec()
	case reflect.Int, reflect.Int64, reflect.Int32, reflect.Uint, reflect.Uint64, reflect.Uint32, reflect.Uint16:
		return intCodec(t)
	case reflect.Slice:
		return listCodec(t)
	case reflect.Map:
		return dictCodec(t)
	case reflect.Pointer:
		if t.Elem().Kind() == reflect.Struct && !t.Implements(unpackerType) {
			return objectCodec(t)
		}
		return pointerCodec(t)
	}
	panic(fmt.Sprintf("lang: no parameter can have the type %s", t))
}

func fixed(s string) func() string { return func() string { return s } }

func anyCodec() *codec {
	return &codec{
		words: fixed("any value"),
		shape: func(starlark.Value) bool { return true },
		decode: func(d *decoder, path string, v starlark.Value, into reflect.Value) {
			copied, err := Copy(v)
			if err != nil {
				d.fail(path, err)
				return
			}
			into.Set(reflect.ValueOf(&copied).Elem())
		},
	}
}

func unpackerCodec(t reflect.Type) *codec {
	wants := reflect.New(t).Interface().(Unpacker).Wants()
	return &codec{
		words: fixed(wants),
		shape: func(starlark.Value) bool { return true },
		decode: func(d *decoder, path string, v starlark.Value, into reflect.Value) {
			if err := into.Addr().Interface().(Unpacker).UnpackStar(v); err != nil {
				d.fail(path, err)
			}
		},
	}
}

func stringCodec() *codec {
	return &codec{
		words: fixed("string"),
		shape: func(v starlark.Value) bool { _, ok := v.(starlark.String); return ok },
		decode: func(d *decoder, path string, v starlark.Value, into reflect.Value) {
			s, ok := v.(starlark.String)
			if !ok {
				d.wrong(path, "a string", v)
				return
			}
			into.SetString(string(s))
		},
	}
}

func boolCodec() *codec {
	return &codec{
		words: fixed("bool"),
		shape: func(v starlark.Value) bool { _, ok := v.(starlark.Bool); return ok },
		decode: func(d *decoder, path string, v starlark.Value, into reflect.Value) {
			b, ok := v.(starlark.Bool)
			if !ok {
				d.wrong(path, "True or False", v)
				return
			}
			into.SetBool(bool(b))
		},
	}
}

func intCodec(t reflect.Type) *codec {
	return &codec{
		words: fixed("int"),
		shape: func(v starlark.Value) bool { _, ok := v.(starlark.Int); return ok },
		decode: func(d *decoder, path string, v starlark.Value, into reflect.Value) {
			i, ok := v.(starlark.Int)
			if !ok {
				d.wrong(path, "an int", v)
				return
			}
			if err := starlark.AsInt(i, into.Addr().Interface()); err != nil {
				low, high := intBounds(t)
				d.add(path, "must be %s to %s, not %s", low, high, i)
			}
		},
	}
}

// intBounds gives the range of a Go integer type as text.
func intBounds(t reflect.Type) (low, high string) {
	bits := t.Bits()
	if t.Kind() >= reflect.Uint && t.Kind() <= reflect.Uint64 {
		return "0", fmt.Sprint(^uint64(0) >> (64 - bits))
	}
	most := int64(^uint64(0) >> (65 - bits))
	return fmt.Sprint(-most - 1), fmt.Sprint(most)
}

func listCodec(t reflect.Type) *codec {
	elem := codecOf(t.Elem())
	return &codec{
		words: func() string { return "list of " + plural(elem.words()) },
		shape: func(v starlark.Value) bool { _, ok := v.(*starlark.List); return ok },
		decode: func(d *decoder, path string, v starlark.Value, into reflect.Value) {
			list, ok := v.(*starlark.List)
			if !ok {
				d.wrong(path, "a list", v)
				return
			}
			out := reflect.MakeSlice(t, list.Len(), list.Len())
			for i := range list.Len() {
				before := len(d.problems)
				elem.decode(d, "", list.Index(i), out.Index(i))
				if len(d.problems) > before { // paths are made where something is wrong only
					d.within(before, fmt.Sprintf("%s[%d]", path, i))
				}
			}
			into.Set(out)
		},
	}
}

func dictCodec(t reflect.Type) *codec {
	if t.Key().Kind() != reflect.String {
		panic(fmt.Sprintf("lang: %s: a dict's keys must be strings", t))
	}
	elem := codecOf(t.Elem())
	return &codec{
		words: func() string { return "dict of string to " + elem.words() },
		shape: func(v starlark.Value) bool { _, ok := v.(*starlark.Dict); return ok },
		decode: func(d *decoder, path string, v starlark.Value, into reflect.Value) {
			dict, ok := v.(*starlark.Dict)
			if !ok {
				d.wrong(path, "a dict", v)
				return
			}
			out := reflect.MakeMapWithSize(t, dict.Len())
			for _, item := range dict.Items() {
				key, ok := item[0].(starlark.String)
				if !ok {
					d.add(path, "must have strings as keys, not %s", Describe(item[0]))
					continue
				}
				value := reflect.New(t.Elem()).Elem()
				before := len(d.problems)
				elem.decode(d, "", item[1], value)
				if len(d.problems) > before {
					d.within(before, fmt.Sprintf("%s[%q]", path, string(key)))
				}
				out.SetMapIndex(reflect.ValueOf(string(key)).Convert(t.Key()), value)
			}
			into.Set(out)
		},
	}
}

// pointerCodec is for optional scalars: nil where the argument was not given.
func pointerCodec(t reflect.Type) *codec {
	elem := codecOf(t.Elem())
	return &codec{
		words: elem.words,
		shape: elem.shape,
		decode: func(d *decoder, path string, v starlark.Value, into reflect.Value) {
			value := reflect.New(t.Elem())
			elem.decode(d, path, v, value.Elem())
			into.Set(value)
		},
	}
}

// objectCodec is for pointers to structs declared with Type.
func objectCodec(t reflect.Type) *codec {
	name := t.Elem().Name()
	fits := func(v starlark.Value) bool {
		o, ok := v.(*Object)
		return ok && o.typ.schema.goType == t.Elem()
	}
	return &codec{
		words: fixed(name),
		shape: fits,
		decode: func(d *decoder, path string, v starlark.Value, into reflect.Value) {
			if !fits(v) {
				d.wrong(path, article(name), v)
				return
			}
			value := reflect.New(t.Elem())
			v.(*Object).decode(d, path, value)
			into.Set(value)
		},
	}
}
