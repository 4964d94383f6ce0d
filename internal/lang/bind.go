package lang

import (
	"fmt"
	"reflect"
	"strings"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file fits the arguments of a call to the parameters of a builtin.

// A Positioner is a parameter struct whose positional order depends on what is
// given: it may return the names, in order, for these positional arguments, or
// nil for the declared order.
type Positioner interface {
	Positions(args starlark.Tuple) []string
}

// bind assigns arguments to parameters; the problems are those of the call as
// such: too many, unknown, given twice, missing.
func (s *schema) bind(args starlark.Tuple, kwargs []starlark.Tuple) ([]starlark.Value, []Problem) {
	var d decoder
	bound := make([]starlark.Value, len(s.params))
	order := s.positions(args)
	for i, arg := range args {
		if i >= len(order) {
			d.add("", "takes at most %d arguments, got %d", len(order), len(args))
			break
		}
		bound[order[i]] = arg
	}
	for _, kw := range kwargs {
		name := string(kw[0].(starlark.String))
		i := s.index(name)
		switch {
		case i < 0:
			d.problems = append(d.problems, s.unknown(name))
		case bound[i] != nil:
			d.add(name, "is given twice")
		default:
			bound[i] = kw[1]
		}
	}
	for i, p := range s.params {
		if bound[i] == nil && !p.Optional {
			d.problems = append(d.problems, Problem{Arg: p.Name, Text: "is missing", Hint: s.takes()})
		}
	}
	for i := range d.problems {
		d.problems[i].binding = true
	}
	return bound, d.problems
}

// positions gives the indexes of the parameters that positional arguments fill.
func (s *schema) positions(args starlark.Tuple) []int {
	if s.positioner == nil {
		return s.order
	}
	names := s.positioner.Positions(args)
	if names == nil {
		return s.order
	}
	order := make([]int, len(names))
	for i, name := range names {
		order[i] = s.index(name)
	}
	return order
}

func (s *schema) unknown(name string) Problem {
	p := Problem{Arg: name, Text: "is not one of its arguments"}
	if near := fault.Nearest(name, s.names()); near != "" {
		p.Hint = fmt.Sprintf("did you mean %q?", near)
	} else {
		p.Hint = s.takes()
	}
	return p
}

// takes lists the arguments for a hint.
func (s *schema) takes() string { return "it takes " + strings.Join(s.names(), ", ") }

// construct checks the arguments of a type's constructor: each value's type,
// its rule, and its depth where the parameter says so.
func (s *schema) construct(bound []starlark.Value) []Problem {
	var d decoder
	for i, p := range s.params {
		if bound[i] == nil || p.late {
			continue
		}
		if !p.checked(&d, bound[i]) {
			continue
		}
		if !p.codec.shape(bound[i]) {
			d.wrong(p.Name, article(p.codec.words()), bound[i])
			if _, isText := bound[i].(starlark.String); isText && strings.HasPrefix(p.codec.words(), "list") {
				d.problems[len(d.problems)-1].Hint = `a list is written ["a", "b"]`
			}
			continue
		}
		if p.field >= 0 && (p.deep || !isContainer(bound[i])) {
			p.codec.decode(&d, p.Name, bound[i], reflect.New(s.goType.Field(p.field).Type).Elem())
		}
	}
	return d.problems
}

// isContainer reports whether a constructor looks at v's outermost type only.
func isContainer(v starlark.Value) bool {
	switch v.(type) {
	case *starlark.List, *starlark.Dict, *Object:
		return true
	}
	return false
}

// checked applies the rule of a parameter to a value of the right type.
func (p *Param) checked(d *decoder, v starlark.Value) bool {
	if p.check == nil || !p.codec.shape(v) {
		return true
	}
	if err := p.check.apply(v); err != nil {
		d.fail(p.Name, err)
		return false
	}
	return true
}

// fill decodes bound arguments, to their depth, into a struct.
func (s *schema) fill(bound []starlark.Value, into reflect.Value) []Problem {
	var d decoder
	for i, p := range s.params {
		if bound[i] == nil {
			continue
		}
		if !p.checked(&d, bound[i]) {
			continue
		}
		target := reflect.New(reflect.TypeFor[string]()).Elem() // the description's, which is read apart
		if p.field >= 0 {
			target = into.Elem().Field(p.field)
		}
		p.codec.decode(&d, p.Name, bound[i], target)
	}
	if v, ok := into.Interface().(validator); ok && len(d.problems) == 0 {
		if err := v.Validate(); err != nil {
			d.fail("", err)
		}
	}
	return d.problems
}

// description gives the description argument, if given.
func (s *schema) description(bound []starlark.Value) (string, bool) {
	return starlarkString(bound[len(bound)-1])
}

func starlarkString(v starlark.Value) (string, bool) {
	if v == nil {
		return "", false
	}
	return starlark.AsString(v)
}
