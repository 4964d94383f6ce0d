package run

import (
	"encoding/json"
	"testing"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/memory"
	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/plan"
)

func TestOutputStaysValidJSON(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef"
	values := plan.NewValues(nil, nil)
	list := starlark.NewList([]starlark.Value{starlark.MakeInt(1), starlark.String("<b>")})
	err := values.Set(id, map[string]starlark.Value{
		"code": starlark.MakeInt(7), "output": starlark.String("say \"hi\"\n<&>"), "list": list,
	})
	if err != nil {
		t.Fatal(err)
	}
	code, output, all := plan.Reference(id, "code"), plan.Reference(id, "output"), plan.Reference(id, "list")
	tests := []struct{ name, in, want string }{
		{"nothing", "", ""},
		{"no reference", `{"a":  1}`, `{"a":  1}`},
		{"a whole string becomes the value", `"` + code + `"`, `7`},
		{"a string stays a string", `"` + output + `"`, `"say \"hi\"\n<&>"`},
		{"text within text is escaped", `"got: ` + output + `"`, `"got: say \"hi\"\n<&>"`},
		{"a number within text is text", `"code ` + code + `"`, `"code 7"`},
		{"a list", `{"l": "` + all + `"}`, "{\n\t\"l\": [\n\t\t1,\n\t\t\"\\u003cb\\u003e\"\n\t]\n}"},
		{"keys are strings", `{"` + code + `": 1}`, "{\n\t\"7\": 1\n}"},
		{"order is kept", `{"z": "` + code + `", "a": "\"` + code + `"}`, "{\n\t\"z\": 7,\n\t\"a\": \"\\\"7\"\n}"},
		{"no JSON", "struct(a = " + code + ")", "struct(a = 7)"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := fillOutput(test.in, values)
			if err != nil {
				t.Fatal(err)
			}
			var a, b any
			if json.Unmarshal([]byte(test.want), &b) == nil {
				if err := json.Unmarshal([]byte(got), &a); err != nil {
					t.Fatalf("%s is no JSON: %v", got, err)
				}
			}
			if got != test.want && (test.name != "a list" || !jsonEqual(got, test.want)) {
				t.Errorf("got %s\nwant %s", got, test.want)
			}
		})
	}
	_, err = fillOutput(`"`+plan.Reference(id, "nope")+`"`, values)
	if f := fault.From(err, ""); err == nil || f.Code != "E0502" {
		t.Errorf("%v", err)
	}
}

// jsonEqual compares but for escapes.
func jsonEqual(a, b string) bool {
	var x, y any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return false
	}
	m, _ := json.Marshal(x)
	n, _ := json.Marshal(y)
	return string(m) == string(n)
}

func TestUnderlined(t *testing.T) {
	for _, test := range []struct {
		line        string
		col         int
		from, width int
	}{
		{"    plan.add_service(x)", 5, 5, 16},
		{"    plan.add_service(x)", 21, 5, 16},
		{"ä = größe(1)", 5, 5, 5},
		{"(x)", 1, 1, 1},
		{"x = = 1", 5, 5, 1},
		{"x", 9, 9, 1},
		{"x", 0, 1, 1},
	} {
		if from, width := underline(test.line, test.col); from != test.from || width != test.width {
			t.Errorf("%q at %d: %d+%d, want %d+%d", test.line, test.col, from, width, test.from, test.width)
		}
	}
}

// TestVariablesOfEnclaves: scripts read those of the engine, in runs and in plans.
func TestVariablesOfEnclaves(t *testing.T) {
	const vars = `{"REGION": "eu", "aws_bucket_user_folder": "/me/"}`
	e := newEnclave(t, memoryBackend(memory.Options{}))
	r := NewRunner(Deps{Host: realHost(), EnclaveVars: vars})
	defer r.Wait()
	req := script("def run(plan):\n    return kurtosis.region + kurtosis.aws_bucket_user_folder\n")
	if done := doneOf(t, gather(t, r, e, req)); done.Output != `"eume/`+e.UUID()+`"` {
		t.Errorf("the run gives %q", done.Output)
	}
	if text, err := r.PlanYAML(t.Context(), e, req); err != nil {
		t.Errorf("its plan: %q, %v", text, err)
	}
	req.EnclaveVars = vars
	if planned := Plan(t.Context(), realHost(), req, backend.Capabilities{}); planned.Plan == nil || planned.Plan.Output != `"eume/"` {
		t.Errorf("the plan: %+v", planned.Problems)
	}
}
