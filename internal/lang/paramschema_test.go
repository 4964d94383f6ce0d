package lang_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/source"
)

// TestParamSchema checks what the schema tells of entry functions.
func TestParamSchema(t *testing.T) {
	tests := []struct{ name, main, script, want string }{
		{"no parameters", "", "def run():\n  pass", `{"type":"object","properties":{},"additionalProperties":false}`},
		{"one dict", "", "def run(plan, args = {}):\n  pass", `{"type":"object","properties":{},"additionalProperties":true}`},
		{"any", "", "def run(plan, **kwargs):\n  pass", `{"type":"object","properties":{},"additionalProperties":true}`},
		{"types from defaults, in the function's order", "", "X = 3\ndef run(plan, z, n = X, b = True, f = 0.5, s = '', l = [1], d = {'k': None}, o = None, p = PortSpec(80)):\n  pass",
			`{"type":"object","properties":{"z":{},"n":{"default":3,"type":"integer"},"b":{"default":true,"type":"boolean"},` +
				`"f":{"default":0.5,"type":"number"},"s":{"default":"","type":"string"},"l":{"default":[1],"type":"array"},` +
				`"d":{"default":{"k":null},"type":"object"},"o":{"default":null},"p":{"default":{"number":80}}},"required":["z"],"additionalProperties":false}`},
		{"types and texts from the docstring", "", "def run(plan, a, b = None, c = [], d = {}, e = 1):\n" +
			"  \"\"\"Does it.\n\n  Args:\n    a (string): the first,\n      and so on\n    b (int): a number (any)\n    c (list[list[bool]]): more\n" +
			"    d (dict[string, float]): most: all\n    e (thing): odd\n  Returns:\n    x (int): no parameter\n  \"\"\"\n",
			`{"description":"Does it.","type":"object","properties":{"a":{"description":"the first, and so on","type":"string"},` +
				`"b":{"default":null,"description":"a number (any)","type":["integer","null"]},` +
				`"c":{"default":[],"description":"more","items":{"items":{"type":"boolean"},"type":"array"},"type":"array"},` +
				`"d":{"additionalProperties":{"type":"number"},"default":{},"description":"most: all","type":"object"},` +
				`"e":{"default":1,"description":"odd","type":"integer"}},"required":["a"],"additionalProperties":false}`},
		{"another function, without plan", "f", "def f(a, args = {}):\n  pass",
			`{"type":"object","properties":{"a":{},"args":{"default":{},"type":"object"}},"required":["a"],"additionalProperties":false}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			schema, err := testHost.Params(t.Context(), lang.Request{Package: source.OpenScript("s.star", test.script), MainFunction: test.main})
			if err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(schema)
			if err != nil {
				t.Fatal(err)
			}
			const head = `{"$schema":"https://json-schema.org/draft/2020-12/schema","title":"DEFAULT_PACKAGE_ID_FOR_SCRIPT",`
			if got := strings.Replace(string(text), head, "{", 1); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
	for _, script := range []string{"x = 1", "run = 2", "def run(a):\n  pass", "def run(plan, **args):\n  pass", "def run(plan:\n  pass", "fail('x')"} {
		if schema, err := testHost.Params(t.Context(), lang.Request{Package: source.OpenScript("s.star", script)}); err == nil {
			t.Errorf("%q has the schema %v", script, schema)
		}
	}
}
