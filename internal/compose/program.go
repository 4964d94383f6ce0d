package compose

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.starlark.net/syntax"
)

// This file writes Starlark.

// program is the program to be.
type program struct{ b strings.Builder }

// service is a service of it: what it needs uploaded, and its configuration.
type service struct {
	name    string
	uploads []upload
	texts   []rendered
	config  call
}

// An upload is a file or directory that becomes an artifact, and rendered a text
// that becomes a file of one.
type (
	upload   struct{ path, name string }
	rendered struct{ name, file, text string }
)

func (p *program) add(s service) {
	for _, u := range s.uploads {
		p.statement(call{name: "plan.upload_files", args: dict{{"src", text(u.path)}, {"name", text(u.name)}}})
	}
	for _, r := range s.texts {
		// The text is data: in a template, braces would have a meaning.
		file := call{name: "struct", args: dict{{"template", text("{{.text}}")}, {"data", dict{{"text", text(r.text)}}}}}
		p.statement(call{name: "plan.render_templates", args: dict{{"config", dict{{r.file, file}}}, {"name", text(r.name)}}})
	}
	s.config.name = "ServiceConfig"
	p.statement(call{name: "plan.add_service", args: dict{{"name", text(s.name)}, {"config", s.config}}})
}

func (p *program) statement(c call) {
	p.b.WriteString("    " + c.write("    ") + "\n")
}

func (p *program) text() string {
	body := p.b.String()
	if body == "" {
		body = "    pass\n"
	}
	return "def run(plan):\n" + body
}

// A value is an expression; write gives it, with an indent for lines after its
// first.
type value interface{ write(indent string) string }

type (
	text    string
	number  int64
	boolean bool
	list    []string
	pair    struct {
		key   string
		value value
	}
	dict []pair
	call struct {
		name string
		args dict
	}
)

// texts gives a dict of texts, sorted.
func texts(m map[string]string) dict {
	var out dict
	for _, key := range slices.Sorted(maps.Keys(m)) {
		out = append(out, pair{key, text(m[key])})
	}
	return out
}

// add adds an argument, unless it is empty.
func (c *call) add(name string, v value) {
	switch v := v.(type) {
	case list:
		if len(v) == 0 {
			return
		}
	case dict:
		if len(v) == 0 {
			return
		}
	case number:
		if v == 0 {
			return
		}
	}
	c.args = append(c.args, pair{name, v})
}

// addNumber adds a number; 0 only where it was meant.
func (c *call) addNumber(name string, n int64, zero bool) {
	if n != 0 || zero {
		c.args = append(c.args, pair{name, number(n)})
	}
}

func (t text) write(string) string   { return syntax.Quote(string(t), false) }
func (n number) write(string) string { return fmt.Sprint(int64(n)) }
func (b boolean) write(string) string {
	if b {
		return "True"
	}
	return "False"
}

func (l list) write(indent string) string {
	var b strings.Builder
	b.WriteString("[\n")
	for _, item := range l {
		b.WriteString(indent + "    " + text(item).write("") + ",\n")
	}
	return b.String() + indent + "]"
}

func (d dict) write(indent string) string {
	var b strings.Builder
	b.WriteString("{\n")
	for _, p := range d {
		b.WriteString(indent + "    " + text(p.key).write("") + ": " + p.value.write(indent+"    ") + ",\n")
	}
	return b.String() + indent + "}"
}

func (c call) write(indent string) string {
	if len(c.args) < 3 && !strings.HasPrefix(c.name, "plan.add") && c.name != "ServiceConfig" {
		var parts []string
		for _, p := range c.args {
			parts = append(parts, p.key+" = "+p.value.write(indent))
		}
		return c.name + "(" + strings.Join(parts, ", ") + ")"
	}
	var b strings.Builder
	b.WriteString(c.name + "(\n")
	for _, p := range c.args {
		b.WriteString(indent + "    " + p.key + " = " + p.value.write(indent+"    ") + ",\n")
	}
	return b.String() + indent + ")"
}
