package instruction

import (
	"bytes"
	"testing"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/lepto-dev/lepto/internal/plan"
)

// TestTemplateValues: what an instruction gave is of its type in a template, and
// prints as Starlark has it.
func TestTemplateValues(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef"
	const text = `{"int": 7, "big": 1 << 70, "float": 2.5, "huge": 1e300, "yes": True, "no": False, "text": "a\"b", "null": "<nil>",
		"list": [1, "a", [True], {}], "dict": {"k": {"d": [1.5, "\n"]}, "a": 1}}`
	made, err := starlark.EvalOptions(&syntax.FileOptions{}, &starlark.Thread{}, "value", text, nil)
	if err != nil {
		t.Fatal(err)
	}
	fields, data := map[string]starlark.Value{}, map[string]any{}
	for _, item := range made.(*starlark.Dict).Items() {
		name, _ := starlark.AsString(item[0])
		fields[name], data[name] = item[1], plan.Reference(id, name)
	}
	data["within"] = []any{"x " + plan.Reference(id, "list"), plan.Reference(id, "no")}
	values := plan.NewValues(nil, nil)
	if err := values.Set(id, fields); err != nil {
		t.Fatal(err)
	}
	filled, err := fillData(data, values)
	if err != nil {
		t.Fatal(err)
	}
	for template, want := range map[string]string{
		`{{.int}} {{.big}} {{.float}} {{.huge}} {{.text}} {{.null}}`:        `7 1180591620717411303424 2.5 1e+300 a"b <nil>`,
		`{{.yes}} {{.no}} {{if .no}}no{{else}}else{{end}} {{eq .yes true}}`: `True False else true`,
		`{{.list}} {{len .list}} {{range .list}}<{{.}}>{{end}}`:             `[1, "a", [True], {}] 4 <1><a><[True]><{}>`,
		`{{.dict}} {{.dict.k.d}} {{index .dict.k.d 0}}`:                     `{"a": 1, "k": {"d": [1.5, "\n"]}} [1.5, "\n"] 1.5`,
		`{{range $k, $v := .dict}}{{$k}},{{end}}`:                           `a,k,`,
		`{{range .within}}{{.}};{{end}} {{if index .within 1}}yes{{end}}`:   `x [1, "a", [True], {}];False; `,
		`{{eq .int "7"}} {{with .dict.none}}{{else}}none{{end}}`:            `true none`,
	} {
		parsed, err := parseTemplate("t", template)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := (rendering{path: "t", template: parsed}).render(t.Context(), filled, &out); err != nil {
			t.Errorf("%s: %v", template, err)
		} else if out.String() != want {
			t.Errorf("%s: got %s, want %s", template, out.String(), want)
		}
	}
}
