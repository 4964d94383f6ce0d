package lang

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"

	starjson "go.starlark.net/lib/json"
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
)

// This file is the json module. Decoding and indenting are the library's;
// encoding is ours, because it is bounded, and because floats must come out as
// the revision of the library that scripts were written for has them: 1.0 as 1.

// maxJSON bounds the text that is decoded, in bytes: its values take up to thirty
// times as many.
const maxJSON = 32 << 20

func jsonModule() *starlarkstruct.Module {
	return &starlarkstruct.Module{Name: "json", Members: starlark.StringDict{
		"encode": starlark.NewBuiltin("encode", func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
			var x starlark.Value
			if err := starlark.UnpackArgs("json.encode", args, kwargs, "x", &x); err != nil {
				return nil, err
			}
			e := jsonEncoder{reserve: func(bytes int) error { return reserve(thread, bytes) }}
			if err := e.encode(x, 0); err != nil {
				return nil, fmt.Errorf("json.encode: %w", err)
			}
			return starlark.String(e.b.String()), reserve(thread, growing*e.b.Len())
		}),
		"decode": starlark.NewBuiltin("decode", func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
			text, _ := firstText(args, kwargs)
			if len(text) > maxJSON {
				return nil, tooMuch("json.decode: a text of %d bytes is too long; at most %d are read", len(text), maxJSON)
			}
			if jsonDepth(text) > maxDepth {
				return nil, fmt.Errorf("json.decode: the text is nested more than %d deep", maxDepth)
			}
			if thread.Steps += uint64(len(text) / textStep); longestNumber(text) > maxDigits {
				return nil, errDigits
			}
			if err := reserve(thread, decodedBytes(text)); err != nil {
				return nil, err
			}
			return starlark.Call(thread, starjson.Module.Members["decode"], args, kwargs)
		}),
		"indent": starlark.NewBuiltin("indent", func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
			var text, prefix string
			indent := "\t"
			if err := starlark.UnpackArgs("json.indent", args, kwargs, "str", &text, "prefix?", &prefix, "indent?", &indent); err == nil {
				size := indentedSize(text, len(prefix), len(indent))
				if thread.Steps += uint64(len(text) / textStep); size > maxBytes {
					return nil, tooMuch("json.indent: %w", errMuch)
				}
				if err := reserve(thread, growing*size); err != nil {
					return nil, err
				}
			}
			return starlark.Call(thread, starjson.Module.Members["indent"], args, kwargs)
		}),
	}}
}

// indentedSize gives how many bytes JSON text has once it is indented, at most: a
// line is as long as it is nested deep. Above maxBytes it does not go on.
func indentedSize(text string, prefix, indent int) int {
	size := len(text)
	for depth := range jsonPunctuation(text) {
		if size += 1 + prefix + depth*indent; size > maxBytes {
			break
		}
	}
	return size
}

// jsonPunctuation goes through what is neither in a string nor a scalar of JSON
// text, and gives how deep arrays and objects are nested after each.
func jsonPunctuation(text string) iter.Seq[int] {
	return func(yield func(depth int) bool) {
		depth, quoted := 0, false
		for i := 0; i < len(text); i++ {
			switch c := text[i]; {
			case quoted && c == '\\':
				i++
				continue
			case c == '"':
				quoted = !quoted
				continue
			case quoted:
				continue
			case c == '[' || c == '{':
				depth++
			case c == ']' || c == '}':
				depth = max(0, depth-1)
			case c != ',' && c != ':':
				continue
			}
			if !yield(depth) {
				return
			}
		}
	}
}

// decodedBytes gives what the values of JSON text take, about.
func decodedBytes(text string) int {
	if len(text) < smallBytes {
		return 0
	}
	values := strings.Count(text, ",") + strings.Count(text, ":") + strings.Count(text, "[") + strings.Count(text, "{")
	return len(text) + values*partBytes
}

// firstText gives the text that json.decode is called with.
func firstText(args starlark.Tuple, kwargs []starlark.Tuple) (string, bool) {
	if len(args) > 0 {
		return starlark.AsString(args[0])
	}
	for _, kw := range kwargs {
		if text, ok := starlark.AsString(kw[1]); ok && kw[0] == starlark.String("x") {
			return text, true
		}
	}
	return "", false
}

// jsonDepth gives how deep arrays and objects are nested in JSON text. The
// library's decoder recurses, and a Go program that runs out of stack ends.
func jsonDepth(text string) int {
	most := 0
	for depth := range jsonPunctuation(text) {
		most = max(most, depth)
	}
	return most
}

// decodeJSON decodes JSON as scripts do: ints stay ints, null is None.
func decodeJSON(text string) (starlark.Value, error) {
	if jsonDepth(text) > maxDepth {
		return nil, fmt.Errorf("nested more than %d deep", maxDepth)
	}
	if longestNumber(text) > maxDigits {
		return nil, errDigits
	}
	thread := &starlark.Thread{Name: "json"}
	return starlark.Call(thread, starjson.Module.Members["decode"], starlark.Tuple{starlark.String(text)}, nil)
}

// outputText gives a run's return value as indented JSON, or its text where it
// has no JSON. A value whose text would be too large is an error.
func outputText(v starlark.Value) (string, error) {
	if _, err := textSize(v); err != nil {
		return "", err
	}
	text, ok := indentedJSON(v)
	if !ok {
		text = v.String()
	}
	return text, nil
}

func indentedJSON(v starlark.Value) (string, bool) {
	text, err := encodeJSON(v)
	if err != nil {
		return "", false
	}
	if indentedSize(text, 0, 1) > maxString {
		return text, true
	}
	thread := &starlark.Thread{Name: "json"}
	indented, err := starlark.Call(thread, starjson.Module.Members["indent"], starlark.Tuple{starlark.String(text)}, nil)
	if err != nil {
		return "", false
	}
	return starlark.AsString(indented)
}

// encodeJSON gives a value as JSON: dicts, structs and objects with sorted keys.
func encodeJSON(v starlark.Value) (string, error) {
	var e jsonEncoder
	err := e.encode(v, 0)
	return e.b.String(), err
}

type jsonEncoder struct {
	b       strings.Builder
	reserve func(bytes int) error // may be nil
}

func (e *jsonEncoder) encode(v starlark.Value, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("the value %w", errTooDeep) // or contains itself
	}
	if e.b.Len() > maxText {
		return fmt.Errorf("the value %w", errTooLarge)
	}
	switch v := v.(type) {
	case starlark.NoneType:
		e.b.WriteString("null")
	case starlark.Bool:
		e.b.WriteString(strconv.FormatBool(bool(v)))
	case starlark.Int:
		e.b.WriteString(v.String())
	case starlark.Float:
		return e.float(float64(v))
	case starlark.String:
		if e.reserve != nil && len(v) >= smallBytes {
			if err := e.reserve(growing * (len(v) + escapes(string(v)))); err != nil {
				return err
			}
		}
		e.quote(string(v))
	case starlark.IterableMapping:
		return e.mapping(v, depth)
	case starlark.Iterable:
		return e.sequence(v, depth)
	case starlark.HasAttrs:
		return e.attributes(v, depth)
	default:
		return fmt.Errorf("%s has no JSON", Describe(v))
	}
	return nil
}

func (e *jsonEncoder) float(f float64) error {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return fmt.Errorf("the float %v has no JSON", f)
	}
	e.b.WriteString(strconv.FormatFloat(f, 'g', -1, 64))
	return nil
}

// quote writes a string as the library does.
func (e *jsonEncoder) quote(s string) {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			data, _ := json.Marshal(s) // a string always encodes
			e.b.Write(data)
			return
		}
	}
	e.b.WriteString(strconv.Quote(s))
}

func (e *jsonEncoder) mapping(m starlark.IterableMapping, depth int) error {
	items := m.Items()
	for _, item := range items {
		if _, ok := item[0].(starlark.String); !ok {
			return fmt.Errorf("a dict's keys must be strings, not %s", Describe(item[0]))
		}
	}
	slices.SortFunc(items, func(a, b starlark.Tuple) int {
		return strings.Compare(string(a[0].(starlark.String)), string(b[0].(starlark.String)))
	})
	e.b.WriteByte('{')
	for i, item := range items {
		if i > 0 {
			e.b.WriteByte(',')
		}
		e.quote(string(item[0].(starlark.String)))
		e.b.WriteByte(':')
		if err := e.encode(item[1], depth+1); err != nil {
			return err
		}
	}
	e.b.WriteByte('}')
	return nil
}

func (e *jsonEncoder) sequence(seq starlark.Iterable, depth int) error {
	iter := seq.Iterate()
	defer iter.Done()
	e.b.WriteByte('[')
	var item starlark.Value
	for i := 0; iter.Next(&item); i++ {
		if i > 0 {
			e.b.WriteByte(',')
		}
		if err := e.encode(item, depth+1); err != nil {
			return err
		}
	}
	e.b.WriteByte(']')
	return nil
}

func (e *jsonEncoder) attributes(v starlark.HasAttrs, depth int) error {
	names := slices.Clone(v.AttrNames())
	slices.Sort(names)
	e.b.WriteByte('{')
	for i, name := range names {
		value, err := v.Attr(name)
		if err == nil && value == nil {
			err = errors.New("it has no value")
		}
		if err != nil {
			return fmt.Errorf("attribute %s: %w", name, err)
		}
		if i > 0 {
			e.b.WriteByte(',')
		}
		e.quote(name)
		e.b.WriteByte(':')
		if err := e.encode(value, depth+1); err != nil {
			return err
		}
	}
	e.b.WriteByte('}')
	return nil
}
