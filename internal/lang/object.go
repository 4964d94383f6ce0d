package lang

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file defines the values that type constructors make.

// objectType is a type declared with Type.
type objectType struct {
	name   string
	schema *schema
}

// An Object is a value of a declared type. Its attributes are exactly the
// arguments that were given, unchanged; rules over several of them are checked
// when it is used. Immutable, but for lists and dicts that it holds.
type Object struct {
	typ  *objectType
	args []starlark.Value // by parameter; nil: not given
	made fault.Frame      // where, for messages; zero: by the engine
}

var (
	_ starlark.HasAttrs   = (*Object)(nil)
	_ starlark.Comparable = (*Object)(nil)
)

// String gives the canonical text: Type(arg=…, …), given arguments only.
func (o *Object) String() string {
	text, err := Text(o)
	if err != nil {
		return o.typ.name + "(...)"
	}
	return text
}

// Type gives the constructor's name.
func (o *Object) Type() string { return o.typ.name }

// Freeze freezes the arguments.
func (o *Object) Freeze() {
	for _, arg := range o.args {
		if arg != nil {
			arg.Freeze()
		}
	}
}

// Truth is always true.
func (o *Object) Truth() starlark.Bool { return true }

// Hash fails: objects may hold dicts.
func (o *Object) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable type: %s", o.typ.name) }

// Attr gives an argument that was supplied.
func (o *Object) Attr(name string) (starlark.Value, error) {
	if i := o.typ.schema.index(name); i >= 0 && o.args[i] != nil {
		return o.args[i], nil
	}
	if o.typ.schema.index(name) >= 0 {
		return nil, starlark.NoSuchAttrError(fmt.Sprintf("%s has no .%s, because it was made without", o.typ.name, name))
	}
	return nil, nil
}

// AttrNames lists the arguments that were supplied, sorted.
func (o *Object) AttrNames() []string {
	var names []string
	for i, p := range o.typ.schema.params {
		if o.args[i] != nil {
			names = append(names, p.Name)
		}
	}
	slices.Sort(names)
	return names
}

// CompareSameType compares by structure; only == and != are defined.
func (o *Object) CompareSameType(op syntax.Token, other starlark.Value, depth int) (bool, error) {
	if op != syntax.EQL && op != syntax.NEQ {
		return false, fmt.Errorf("%s %s %s not implemented", o.Type(), op, other.Type())
	}
	equal, err := o.equal(other.(*Object), depth)
	return equal == (op == syntax.EQL), err
}

func (o *Object) equal(other *Object, depth int) (bool, error) {
	if o.typ.name != other.typ.name || len(o.args) != len(other.args) {
		return false, nil
	}
	for i, a := range o.args {
		b := other.args[i]
		if (a == nil) != (b == nil) {
			return false, nil
		}
		if a == nil {
			continue
		}
		if equal, err := starlark.EqualDepth(a, b, depth-1); err != nil || !equal {
			return false, err
		}
	}
	return true, nil
}

// decode fills a Go struct from the object, gathering problems under path.
func (o *Object) decode(d *decoder, path string, into reflect.Value) {
	before := len(d.problems)
	for i, p := range o.typ.schema.params {
		if o.args[i] != nil && p.field >= 0 {
			p.codec.decode(d, joinPath(path, p.Name), o.args[i], into.Elem().Field(p.field))
		}
	}
	if v, ok := into.Interface().(validator); ok && len(d.problems) == before {
		if err := v.Validate(); err != nil {
			d.fail(path, err)
		}
	}
	if o.made.Line > 0 {
		for i := before; i < len(d.problems); i++ {
			if d.problems[i].Hint == "" {
				d.problems[i].Hint = fmt.Sprintf("the %s was made on line %d", o.typ.name, o.made.Line)
			}
		}
	}
}

// As reads an object of the declared type T, or says that v is none: an
// *ArgsError with the paths of everything wrong.
func As[T any](v starlark.Value) (*T, error) {
	var d decoder
	out := new(T)
	c := objectCodec(reflect.TypeFor[*T]())
	c.decode(&d, "", v, reflect.ValueOf(&out).Elem())
	if len(d.problems) > 0 {
		return nil, &ArgsError{Problems: d.problems}
	}
	return out, nil
}

// Is reports whether v is an object of the declared type T.
func Is[T any](v starlark.Value) bool {
	o, ok := v.(*Object)
	return ok && o.typ.schema.goType == reflect.TypeFor[T]()
}

// Field is an argument by name.
type Field struct {
	Name  string
	Value starlark.Value
}

// Make makes an object of a declared type, as the engine gives it to scripts.
// It checks nothing; an unknown name is a broken invariant and panics.
func Make[T any](fields ...Field) *Object {
	typ := &objectType{name: reflect.TypeFor[T]().Name(), schema: schemaOf(reflect.TypeFor[T]())}
	o := &Object{typ: typ, args: make([]starlark.Value, len(typ.schema.params))}
	for _, f := range fields {
		i := typ.schema.index(f.Name)
		if i < 0 {
			panic(fmt.Sprintf("lang: %s has no parameter %q", typ.name, f.Name))
		}
		o.args[i] = f.Value
	}
	return o
}

// An ArgsError tells everything wrong with the arguments of a call.
type ArgsError struct {
	Builtin  string // empty while the object is read inside a larger call
	Problems []Problem
}

// Error gives all problems in one line.
func (e *ArgsError) Error() string {
	texts := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		texts[i] = p.Text
		if p.Arg != "" {
			texts[i] = p.Arg + " " + p.Text
		}
	}
	text := strings.Join(texts, "; ")
	if e.Builtin == "" {
		return text
	}
	return e.Builtin + ": " + text
}

// hint gives the hint of the first problem that has one.
func (e *ArgsError) hint() string {
	for _, p := range e.Problems {
		if p.Hint != "" {
			return p.Hint
		}
	}
	return ""
}

var _ error = (*ArgsError)(nil)

// asArgsError finds an ArgsError in err's chain.
func asArgsError(err error) (*ArgsError, bool) {
	var e *ArgsError
	ok := errors.As(err, &e)
	return e, ok
}

// Add adds an error about a part of the value: a path such as ["db"]. The
// problems of a nested object keep their own paths below it.
func (e *ArgsError) Add(path string, err error) {
	d := decoder{problems: e.Problems}
	d.fail(path, err)
	e.Problems = d.problems
}

// OrNil gives the error, or nil where nothing is wrong.
func (e *ArgsError) OrNil() error {
	if len(e.Problems) == 0 {
		return nil
	}
	return e
}
