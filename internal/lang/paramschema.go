package lang

import (
	"bytes"
	"context"
	"encoding/json"

	"go.starlark.net/starlark"
)

// This file gives the JSON Schema of an entry function's parameters.

// A ParamSchema is a JSON Schema (draft 2020-12) of the parameters of a run.
type ParamSchema struct {
	Schema      string     `json:"$schema"`
	Title       string     `json:"title"`
	Description string     `json:"description,omitempty"`
	Type        string     `json:"type"`
	Properties  Properties `json:"properties"`
	Required    []string   `json:"required,omitempty"`
	// Additional tells whether other parameters are taken.
	Additional bool `json:"additionalProperties"`
}

// Properties are the schemas of parameters, in the order of the function.
type Properties []Property

// A Property is the schema of one parameter.
type Property struct {
	Name   string
	Schema map[string]any
}

// MarshalJSON gives an object in the order of the function.
func (p Properties) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	out.WriteByte('{')
	for i, property := range p {
		if i > 0 {
			out.WriteByte(',')
		}
		pair, err := json.Marshal(map[string]any{property.Name: property.Schema})
		if err != nil {
			return nil, err
		}
		out.Write(pair[1 : len(pair)-1])
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// Params gives the schema of what the entry function takes: from its signature,
// its defaults and its docstring. The top level of the main file, and of what it
// imports, is executed for that; errors are those of Interpret.
func (h *Host) Params(ctx context.Context, req Request) (*ParamSchema, error) {
	in, err := newInterpretation(ctx, h, req)
	if err != nil {
		return nil, err
	}
	stop := in.guard()
	defer stop()
	globals, err := in.execute(in.req.Package.Main())
	if err != nil {
		return nil, in.wrap(err)
	}
	fn, err := in.entry(globals)
	if err != nil {
		return nil, err
	}
	taken, err := in.taken(fn)
	if err != nil {
		return nil, err
	}
	if wrong := keywordArgs(fn); taken.legacy && wrong != nil {
		return nil, wrong.fault
	}
	return taken.schema(in.req.Package.ID(), fn), nil
}

// schema describes the parameters.
func (t taken) schema(title string, fn *starlark.Function) *ParamSchema {
	doc := parseDocstring(fn.Doc())
	schema := &ParamSchema{
		Schema: "https://json-schema.org/draft/2020-12/schema", Title: title, Description: doc.text,
		Type: "object", Properties: Properties{}, Additional: t.legacy || fn.HasKwargs(),
	}
	if t.legacy {
		return schema // one dict, of which nothing is known
	}
	for i := t.first; i < len(t.names); i++ {
		name := t.names[i]
		property, required := parameterSchema(doc.args[name], fn.ParamDefault(i))
		schema.Properties = append(schema.Properties, Property{name, property})
		if required {
			schema.Required = append(schema.Required, name)
		}
	}
	return schema
}

func parameterSchema(doc docArg, value starlark.Value) (schema map[string]any, required bool) {
	schema = schemaOfKind(doc.kind)
	if schema == nil {
		schema = map[string]any{}
		if kind := kindOfValue(value); kind != "" {
			schema["type"] = kind
		}
	}
	if doc.text != "" {
		schema["description"] = doc.text
	}
	if value == nil {
		return schema, true
	}
	if kind, known := schema["type"].(string); known && value == starlark.None {
		schema["type"] = []string{kind, "null"}
	}
	if text, err := encodeJSON(value); err == nil {
		schema["default"] = json.RawMessage(text)
	}
	return schema, false
}

// kindOfValue gives the JSON type of a default; empty where it tells nothing.
func kindOfValue(value starlark.Value) string {
	switch value.(type) {
	case starlark.String:
		return "string"
	case starlark.Int:
		return "integer"
	case starlark.Bool:
		return "boolean"
	case starlark.Float:
		return "number"
	case *starlark.List, starlark.Tuple:
		return "array"
	case *starlark.Dict:
		return "object"
	}
	return ""
}
