package run

import (
	"bytes"
	"encoding/json"
	"strings"

	starlarkjson "go.starlark.net/lib/json"
	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/plan"
)

// This file fills in the value that a script returns.

// fillOutput replaces the references in the output. What is JSON stays JSON: a
// string that is one reference becomes the value itself, a number a number, and
// a reference within other text is escaped as that text is.
func fillOutput(output string, values *plan.Values) (string, error) {
	if len(plan.References(output)) == 0 {
		return output, nil
	}
	if !json.Valid([]byte(output)) {
		return values.Text(output)
	}
	var filled strings.Builder
	for rest := output; rest != ""; {
		start := strings.IndexByte(rest, '"')
		if start < 0 {
			filled.WriteString(rest)
			break
		}
		end := start + literalLength(rest[start:])
		filled.WriteString(rest[:start])
		isKey := strings.HasPrefix(strings.TrimLeft(rest[end:], " \t\r\n"), ":")
		text, err := fillLiteral(rest[start:end], isKey, values)
		if err != nil {
			return "", err
		}
		filled.WriteString(text)
		rest = rest[end:]
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, []byte(filled.String()), "", "\t"); err != nil {
		return "", err
	}
	return indented.String(), nil
}

// literalLength gives the length of the JSON string at the start of valid JSON.
func literalLength(text string) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(text)
}

// fillLiteral fills in one JSON string.
func fillLiteral(literal string, isKey bool, values *plan.Values) (string, error) {
	var text string
	if err := json.Unmarshal([]byte(literal), &text); err != nil {
		return "", err
	}
	if len(plan.References(text)) == 0 {
		return literal, nil
	}
	if isKey {
		filled, err := values.Text(text)
		if err != nil {
			return "", err
		}
		return encode(filled)
	}
	value, err := values.Typed(text)
	if err != nil {
		return "", err
	}
	return encodeValue(value)
}

// encode gives a string as JSON, without the escapes that only HTML needs.
func encode(text string) (string, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(text)
	return strings.TrimSuffix(out.String(), "\n"), err
}

// encodeValue gives a value as JSON; one that JSON has no form for, as its text.
func encodeValue(value starlark.Value) (string, error) {
	if text, ok := starlark.AsString(value); ok {
		return encode(text)
	}
	encoder := starlarkjson.Module.Members["encode"]
	encoded, err := starlark.Call(&starlark.Thread{Name: "output"}, encoder, starlark.Tuple{value}, nil)
	if err != nil {
		return encode(value.String())
	}
	text, _ := starlark.AsString(encoded)
	return text, nil
}
