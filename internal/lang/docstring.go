package lang

import (
	"regexp"
	"strings"
)

// This file reads the docstring of an entry function, in Google's style:
//
//	What it does.
//
//	Args:
//	    count (int): how many
//	    names (list[string]): which ones,
//	        one for each
//	Returns:
//	    …

// docstring is what a docstring says.
type docstring struct {
	text string // before the sections
	args map[string]docArg
}

// docArg is what a docstring says of a parameter.
type docArg struct{ kind, text string }

var (
	docSection = regexp.MustCompile(`^(Args|Arguments|Parameters|Returns?|Raises|Examples?|Notes?):\s*$`)
	docArgLine = regexp.MustCompile(`^[*]{0,2}([A-Za-z_]\w*)\s*(?:\(([^()]*(?:\([^()]*\))?[^()]*)\))?\s*:\s*(.*)$`)
)

// parseDocstring reads a docstring, whatever its indentation.
func parseDocstring(text string) docstring {
	doc := docstring{args: map[string]docArg{}}
	section, margin, last := "", -1, ""
	var before []string
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		if m := docSection.FindStringSubmatch(trimmed); m != nil {
			section, margin, last = m[1], -1, ""
			continue
		}
		switch section {
		case "":
			before = append(before, trimmed)
		case "Args", "Arguments", "Parameters":
			indent := len(line) - len(strings.TrimLeft(line, " \t"))
			m := docArgLine.FindStringSubmatch(trimmed)
			switch {
			case trimmed == "":
			case m != nil && (margin < 0 || indent <= margin):
				margin, last = indent, m[1]
				doc.args[last] = docArg{kind: strings.TrimSpace(m[2]), text: m[3]}
			case last != "":
				arg := doc.args[last]
				arg.text = strings.TrimSpace(arg.text + " " + trimmed)
				doc.args[last] = arg
			}
		}
	}
	doc.text = strings.TrimSpace(strings.Join(before, "\n"))
	return doc
}

// schemaOfKind gives the JSON Schema of a type as docstrings name it: string,
// int, bool, float, json, list[X], dict[X, Y]. nil for other words.
func schemaOfKind(kind string) map[string]any {
	kind = strings.TrimSpace(kind)
	word, inner, generic := strings.Cut(kind, "[")
	switch strings.ToLower(strings.TrimSpace(word)) {
	case "string", "str":
		return map[string]any{"type": "string"}
	case "int", "integer":
		return map[string]any{"type": "integer"}
	case "bool", "boolean":
		return map[string]any{"type": "boolean"}
	case "float", "number":
		return map[string]any{"type": "number"}
	case "list":
		schema := map[string]any{"type": "array"}
		if items := schemaOfKind(strings.TrimSuffix(inner, "]")); generic && items != nil {
			schema["items"] = items
		}
		return schema
	case "dict":
		schema := map[string]any{"type": "object"}
		// Keys are strings in JSON, whatever the first word is.
		if _, values, two := strings.Cut(strings.TrimSuffix(inner, "]"), ","); generic && two {
			if of := schemaOfKind(values); of != nil {
				schema["additionalProperties"] = of
			}
		}
		return schema
	}
	return nil
}
