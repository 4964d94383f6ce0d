package lang_test

import (
	"fmt"
	"testing"

	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/lang"
)

// TestNewcomersMistakes looks at what is said of mistakes that people make who
// come from Python, or from elsewhere: the place, the summary and the hint.
func TestNewcomersMistakes(t *testing.T) {
	const service = "    plan.add_service(\"web\", ServiceConfig(\"nginx\"))\n    r = plan.exec(\"web\", ExecRecipe([\"ls\"]))\n"
	for _, c := range []struct{ body, at, code, summary, hint string }{
		{"    x = f\"a\"", "2:10", "E0103", "there are no f-strings in Starlark", `"{} of {}".format(a, b)`},
		{"    plan.print(f'a' + b)", "2:17", "E0103", "there are no f-strings in Starlark", `"{} of {}".format(a, b)`},
		{"    try:\n        pass", "2:5", "E0103", `"try" is Python's, and not part of Starlark`, `nothing catches errors; fail("…") ends the script`},
		{"    import os", "2:5", "E0103", `"import" is Python's, and not part of Starlark`, `lib = import_module("./lib.star"), then lib.name`},
		{"    if x is None:\n        pass", "2:10", "E0103", `"is" is Python's, and not part of Starlark`, `compare with "=="`},
		{"    x = 1\n    x++", "3:8", "E0103", `"++" and "--" are not part of Starlark`, "x += 1"},
		{"    if a && b:\n        pass", "2:11", "E0103", `"&&" is not part of Starlark`, "a and b"},
		{"    x = !a", "2:9", "E0103", "unexpected input character '!'", "not a; a != b"},
		{"    if a:\n        pass\n    else if b:\n        pass", "4:10", "E0101", `"else if" is written in one word`, "elif …:"},
		{"    if x = 1:\n        pass", "2:10", "E0101", `"=" sets, and can't be part of a condition`, `compare with "=="`},
		{"    for x in y\n        pass", "2:15", "E0101", `":" is missing here`, ""},
		{"    f(a=1 b=2)", "2:11", "E0101", `"," or a closing bracket is missing before this`, ""},
		{"    plan.print(\"a\"\n    plan.print(1)", "3:5", "E0101", `the "(" of line 2 is not closed`, ""},
		{"    x = (1,", "3:1", "E0101", `the "(" of line 2 is not closed`, ""},
		{"    x = {\n        \"a\": [1, 2,\n    }\n    y = 1", "4:5", "E0101", `the "[" of line 3 is not closed`, ""},
		{"    x = 'a", "2:9", "E0101", "the string is not closed", `close it with the quote that it began with; one of several lines is in """`},
		{"    x = “a”", "2:9", "E0101", "unexpected input character '“'", `strings are in plain quotes: "…"`},
		{"    x = 1\n      y = 2", "3:7", "E0101", "the line is indented more than the one before it", "only the body of a def, if, else or for is indented"},
		{"    x = 1\n\ty = 2", "3:2", "E0101", "the line is indented more than the one before it", "a tab counts as 8 spaces; use one or the other"},
		{"    x = 1 +", "2:12", "E0101", "the line ends where a value is missing", ""},
		{"    x = true", "2:9", "E0102", "undefined: true", `did you mean "True"?`},
		{"    x = null", "2:9", "E0102", "undefined: null", `did you mean "None"?`},
		{"    ServiceConfg()", "2:5", "E0102", "undefined: ServiceConfg", `did you mean "ServiceConfig"?`},
		{"    service_count = 1\n    return servce_count", "3:12", "E0102", "undefined: servce_count", `did you mean "service_count"?`},
		{"    add_service(\"a\")", "2:5", "E0102", "undefined: add_service", `did you mean "plan.add_service"?`},
		{"    for a, long_name in []:\n        lon_name", "3:9", "E0102", "undefined: lon_name", `did you mean "long_name"?`},
		{"    plan.add_servce(\"a\")", "2:9", "E0201", "there is no instruction plan.add_servce (did you mean .add_service?)", ""},
		{"    plan.run_sh(\"ls\")", "2:16", "E0202", "run_sh: run is missing", "it takes name, run, image, files, store, env_vars, wait, acceptable_codes, skip_code_check, node_selectors, tolerations, privileged, host_pid_namespace, bind_mounts, description"},
		{"    ServiceConfig(\"i\", port = {})", "2:18", "E0202", "ServiceConfig: port is not one of its arguments", `did you mean "ports"?`},
		{"    ExecRecipe(\"ls\")", "2:15", "E0202", "ExecRecipe: command must be a list of strings, not a string", `a list is written ["a", "b"]`},
		{service + "    r.output", "4:6", "E0201", "dict has no .output field or method", `an entry of a dict is read as x["name"]`},
		{service + "    r[\"outptu\"]", "4:6", "E0201", `key "outptu" not in dict`, `x.get("name", default) reads an entry that may be missing`},
		{service + "    r[\"code\"] = 1", "4:6", "E0201", "cannot insert into frozen hash table", "globals, and what instructions give, can't be changed; change a copy: dict(x), list(x)"},
		{"    \"a\" + 1", "2:9", "E0201", "unknown binary op: string + int", "str(x) makes a text of it"},
		{"    plan.print(1).x", "2:18", "E0201", "NoneType has no .x field or method", "a value is None here: what a function without return gives, and many instructions"},
	} {
		_, err := interpret(t, "def run(plan):\n"+c.body+"\n", lang.Request{})
		f := fault.From(err, "none")
		at := ""
		if len(f.At) > 0 {
			at = fmt.Sprintf("%d:%d", f.At[0].Line, f.At[0].Col)
		}
		if at != c.at || f.Code != c.code || f.Summary != c.summary || f.Hint != c.hint {
			t.Errorf("%s\ngot  %s %s %q %q\nwant %s %s %q %q", c.body, at, f.Code, f.Summary, f.Hint, c.at, c.code, c.summary, c.hint)
		}
	}
}

// TestKnownOnlyLater: a value of an instruction is no number yet.
func TestKnownOnlyLater(t *testing.T) {
	_, err := interpret(t, "def run(plan):\n    int(plan.run_sh(run = \"ls\").code)\n", lang.Request{})
	const want = "what an instruction gives is known only when the plan runs: compare it with plan.verify, or pass it on as it is"
	if f := fault.From(err, "none"); f.Hint != want {
		t.Errorf("got %q (%s)", f.Hint, f.Summary)
	}
}

// TestNamesInResolverMessages: the file of a script has a name that no user knows.
func TestNamesInResolverMessages(t *testing.T) {
	_, err := interpret(t, "X = 1\n\nX = 2\n", lang.Request{})
	if f := fault.From(err, "none"); f.Summary != "cannot reassign global X, which line 1 sets" {
		t.Errorf("got %q", f.Summary)
	}
}
