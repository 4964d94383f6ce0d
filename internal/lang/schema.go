package lang

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// This file derives the parameters of a builtin from a Go struct.

// descriptionParam is the name of the parameter that every builtin has last.
const descriptionParam = "description"

// A Param is one parameter of a builtin.
type Param struct {
	Name     string `json:"name"`
	Optional bool   `json:"optional,omitempty"`
	Keyword  bool   `json:"keyword_only,omitempty"`
	Type     string `json:"type"`           // in words: "dict of string to PortSpec"
	Rule     string `json:"rule,omitempty"` // in words: "1 to 65535"
	Doc      string `json:"doc,omitempty"`

	repr, late, deep, secret bool
	field                    int // index in the struct; -1 for description
	codec                    *codec
	check                    *check
}

// schema is the parameters of a builtin, in positional order, description last.
type schema struct {
	doc    string
	params []Param
	goType reflect.Type

	order      []int      // of the parameters that may be given by place
	positioner Positioner // nil: that order always
}

var schemas sync.Map // reflect.Type of a struct to *schema

// schemaOf derives, once, the schema of a struct type. It panics on a wrong
// declaration: those are found by the first test that loads the package.
func schemaOf(t reflect.Type) *schema {
	if s, ok := schemas.Load(t); ok {
		return s.(*schema)
	}
	s := &schema{goType: t}
	for i := range t.NumField() {
		field := t.Field(i)
		tag, ok := field.Tag.Lookup("star")
		if field.Name == "_" {
			s.doc = field.Tag.Get("doc")
		}
		if ok {
			s.params = append(s.params, newParam(t, field, i, tag))
		}
	}
	s.params = append(s.params, Param{
		Name: descriptionParam, Optional: true, Type: "string", Rule: "not empty", field: -1,
		Doc:   "text shown for this call in place of the generated one",
		codec: codecOf(reflect.TypeFor[string]()), check: parseCheck("nonempty"),
	})
	for i, p := range s.params {
		if !p.Keyword {
			s.order = append(s.order, i)
		}
	}
	s.positioner, _ = reflect.New(t).Interface().(Positioner)
	stored, _ := schemas.LoadOrStore(t, s)
	return stored.(*schema)
}

func newParam(t reflect.Type, field reflect.StructField, index int, tag string) Param {
	name, options, _ := strings.Cut(tag, ",")
	p := Param{Name: name, Doc: field.Tag.Get("doc"), field: index, codec: codecOf(field.Type)}
	p.Type = p.codec.words()
	for option := range strings.SplitSeq(options, ",") {
		switch option {
		case "":
		case "?":
			p.Optional = true
		case "kw":
			p.Keyword = true
		case "repr":
			p.repr = true
		case "late":
			p.late = true
		case "deep":
			p.deep = true
		case "secret":
			p.secret = true
		default:
			panic(fmt.Sprintf("lang: %s.%s: unknown option %q", t, field.Name, option))
		}
	}
	if rule := field.Tag.Get("check"); rule != "" {
		p.check = parseCheck(rule)
		p.Rule = p.check.words
	}
	return p
}

// index finds a parameter by name; -1 if there is none.
func (s *schema) index(name string) int {
	return slices.IndexFunc(s.params, func(p Param) bool { return p.Name == name })
}

// names lists the parameter names.
func (s *schema) names() []string {
	names := make([]string, len(s.params))
	for i, p := range s.params {
		names[i] = p.Name
	}
	return names
}
