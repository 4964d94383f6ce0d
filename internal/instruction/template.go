package instruction

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"text/template"
	"text/template/parse"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"

	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/plan"
)

// This file renders a template with data of a script (starlark spec §2.14).

const (
	// maxDataDepth bounds how deep the data of a template may be nested, and
	// maxDataValues how many values it may have: lists that are shared inside
	// lists can make a small value very large.
	maxDataDepth  = 1000
	maxDataValues = 4_000_000
)

// templateData gives a value of a script as a template sees it: what JSON can
// hold, with numbers as they are written in JSON, so that large ones print
// exactly.
func templateData(v starlark.Value) (any, error) {
	left := maxDataValues
	return dataOf(v, 0, &left)
}

func dataOf(v starlark.Value, depth int, left *int) (any, error) {
	if depth > maxDataDepth {
		return nil, fmt.Errorf("is nested more than %d deep", maxDataDepth)
	}
	if *left--; *left < 0 {
		return nil, fmt.Errorf("is too large: it has more than %d values", maxDataValues)
	}
	switch v := v.(type) {
	case starlark.NoneType:
		return nil, nil
	case starlark.Bool:
		return bool(v), nil
	case starlark.String:
		return string(v), nil
	case starlark.Int:
		return json.Number(v.String()), nil
	case starlark.Float:
		if math.IsInf(float64(v), 0) || math.IsNaN(float64(v)) {
			return nil, fmt.Errorf("has the float %s, which JSON does not have", v)
		}
		text, err := json.Marshal(float64(v))
		return json.Number(text), err
	case *starlark.List:
		return dataList(v, depth, left)
	case starlark.Tuple:
		return dataList(v, depth, left)
	case *starlark.Dict:
		return dataDict(v, depth, left)
	case *starlarkstruct.Struct:
		return dataStruct(v, depth, left)
	}
	return nil, fmt.Errorf("has a value of type %s, which JSON does not have", v.Type())
}

func dataList(seq starlark.Indexable, depth int, left *int) (any, error) {
	list := make([]any, seq.Len())
	for i := range list {
		var err error
		if list[i], err = dataOf(seq.Index(i), depth+1, left); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func dataDict(dict *starlark.Dict, depth int, left *int) (any, error) {
	data := make(map[string]any, dict.Len())
	for _, item := range dict.Items() {
		key, ok := starlark.AsString(item[0])
		if !ok {
			return nil, fmt.Errorf("has a dict with the key %s; keys must be strings", item[0])
		}
		var err error
		if data[key], err = dataOf(item[1], depth+1, left); err != nil {
			return nil, err
		}
	}
	return data, nil
}

func dataStruct(s *starlarkstruct.Struct, depth int, left *int) (any, error) {
	data := map[string]any{}
	for _, name := range s.AttrNames() {
		value, err := s.Attr(name)
		if err != nil {
			return nil, err
		}
		if data[name], err = dataOf(value, depth+1, left); err != nil {
			return nil, err
		}
	}
	return data, nil
}

// appendTexts gathers the texts of data: those in which references are filled in.
func appendTexts(texts []string, data any) []string {
	switch data := data.(type) {
	case string:
		return append(texts, data)
	case []any:
		for _, item := range data {
			texts = appendTexts(texts, item)
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(data)) {
			texts = appendTexts(append(texts, key), data[key])
		}
	}
	return texts
}

// fillData replaces the references in the texts of data. A text stays a text,
// whatever a value has in it; one that is nothing but a reference becomes the value.
func fillData(data any, values *plan.Values) (any, error) {
	switch data := data.(type) {
	case string:
		value, err := values.Typed(data)
		if err != nil {
			return nil, err
		}
		return shownValue(value), nil
	case []any:
		filled := make([]any, len(data))
		for i, item := range data {
			var err error
			if filled[i], err = fillData(item, values); err != nil {
				return nil, err
			}
		}
		return filled, nil
	case map[string]any:
		filled := make(map[string]any, len(data))
		for key, item := range data {
			name, err := values.Text(key)
			if err != nil {
				return nil, err
			}
			if filled[name], err = fillData(item, values); err != nil {
				return nil, err
			}
		}
		return filled, nil
	}
	return data, nil
}

// rendering is a template with its data.
type rendering struct {
	path     string
	template *template.Template
	data     any
}

// checkpoint is the name of a function that every loop and every nested template
// calls: without one, {{range 1000000000000}}{{end}} could not be cancelled.
const checkpoint = "_lepto_checkpoint"

// parseTemplate parses a template. name is for messages.
func parseTemplate(name, text string) (*template.Template, error) {
	pass := template.FuncMap{checkpoint: func() (string, error) { return "", nil }}
	parsed, err := template.New(name).Funcs(pass).Parse(text)
	if err != nil {
		return nil, err
	}
	calls, err := parse.Parse(checkpoint, "{{"+checkpoint+"}}", "", "", pass)
	if err != nil {
		return nil, err
	}
	call := calls[checkpoint].Root.Nodes[0]
	for _, t := range parsed.Templates() {
		if t.Tree != nil && t.Root != nil {
			check(t.Root, call)
			t.Root.Nodes = append([]parse.Node{call.Copy()}, t.Root.Nodes...)
		}
	}
	return parsed, nil
}

// check puts a call of the checkpoint into every loop below a node.
func check(node parse.Node, call parse.Node) {
	lists := func(lists ...*parse.ListNode) {
		for _, list := range lists {
			if list == nil {
				continue
			}
			for _, n := range list.Nodes {
				check(n, call)
			}
		}
	}
	switch n := node.(type) {
	case *parse.ListNode:
		lists(n)
	case *parse.IfNode:
		lists(n.List, n.ElseList)
	case *parse.WithNode:
		lists(n.List, n.ElseList)
	case *parse.RangeNode:
		lists(n.List, n.ElseList)
		n.List.Nodes = append([]parse.Node{call.Copy()}, n.List.Nodes...)
	}
}

// render writes the template's output. It ends early with the context.
func (r rendering) render(ctx context.Context, data any, w io.Writer) error {
	r.template.Funcs(template.FuncMap{checkpoint: func() (string, error) { return "", context.Cause(ctx) }})
	out := bufio.NewWriter(w)
	err := r.template.Execute(failing{out}, data)
	if err == nil {
		err = out.Flush()
	}
	failed := &writeError{}
	switch cause := context.Cause(ctx); {
	case err == nil:
		return nil
	case cause != nil:
		return cause
	case errors.As(err, &failed):
		return failed.err
	}
	return fault.New("E0544", "%w", err).WithHint("a template that fails for some data can ask before: {{if}}, {{with}}; numbers compare as texts, since they are kept as they are written")
}

// failing marks the errors of a writer: they are no errors of the template.
type failing struct{ w io.Writer }

// Write writes.
func (f failing) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err != nil {
		err = &writeError{err}
	}
	return n, err
}

type writeError struct{ err error }

// Error is the writer's.
func (e *writeError) Error() string { return e.err.Error() }
