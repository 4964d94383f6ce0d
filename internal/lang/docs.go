package lang

import (
	"fmt"
	"strings"
)

// This file gives the reference of a dialect, from its declarations.

// Doc describes a builtin.
type Doc struct {
	Kind   Kind    `json:"kind"`
	Name   string  `json:"name"`
	Text   string  `json:"text"`
	Params []Param `json:"params"` // description, which all have last, included
}

// Docs lists what scripts can call: instructions, then types and functions, each
// in the order of its registry.
func (h *Host) Docs() []Doc {
	var docs []Doc
	for _, list := range [][]Builtin{h.instructions, h.others} {
		for _, b := range list {
			docs = append(docs, Doc{Kind: b.kind, Name: b.name, Text: b.schema.doc, Params: b.schema.params})
		}
	}
	return docs
}

// Signature gives the call in brief: plan.exec(service_name, recipe,
// acceptable_codes?, …).
func (d Doc) Signature() string {
	params := make([]string, 0, len(d.Params))
	for _, p := range d.Params {
		text := p.Name
		if p.Optional {
			text += "?"
		}
		params = append(params, text)
	}
	prefix := ""
	if d.Kind == KindInstruction {
		prefix = "plan."
	}
	return fmt.Sprintf("%s%s(%s)", prefix, d.Name, strings.Join(params, ", "))
}

// Markdown gives the builtin's part of a reference page.
func (d Doc) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "### `%s`\n\n%s\n\n| Parameter | Type | Rule | Meaning |\n|---|---|---|---|\n", d.Signature(), d.Text)
	for _, p := range d.Params {
		name := "`" + p.Name + "`"
		if p.Optional {
			name += " optional"
		}
		if p.Keyword {
			name += ", by name only"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", name, cell(p.Type), cell(p.Rule), cell(p.Doc))
	}
	return b.String()
}

// cell escapes text for a table.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
