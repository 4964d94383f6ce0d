package lang_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/plan"
	"github.com/lepto-dev/lepto/internal/source"
)

// FuzzScript interprets any text: it must end, and every error must be a fault
// that names a place or has no place to name.
func FuzzScript(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.star")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for chunk := range strings.SplitSeq(string(text), "\n---\n") {
			f.Add(chunk)
		}
	}
	f.Add("X = " + strings.Repeat("(", 1000))
	f.Add("def run(plan):\n    " + strings.Repeat("-", 1000) + "1\n")
	f.Fuzz(func(t *testing.T, text string) {
		made, err := testHost.Interpret(context.Background(), lang.Request{
			Package: source.OpenScript("fuzz.star", text), StepLimit: 100_000, MemoryLimit: 256 << 20, NewID: countedIDs(),
		})
		for _, err := range fault.All(err) {
			if got := fault.From(err, "none"); got.Code == "none" || got.Summary == "" {
				t.Errorf("no fault: %v", err)
			}
			lang.LegacyText(err)
		}
		if made != nil {
			plan.Validate(made.Steps, plan.NewForecast(plan.ForecastInput{}))
			if _, err := made.YAML(); err != nil {
				t.Errorf("YAML: %v", err)
			}
		}
		_, err = testHost.Params(context.Background(), lang.Request{
			Package: source.OpenScript("fuzz.star", text), StepLimit: 100_000, MemoryLimit: 256 << 20,
		})
		for _, err := range fault.All(err) {
			if got := fault.From(err, "none"); got.Code == "none" {
				t.Errorf("schema: no fault: %v", err)
			}
		}
	})
}

// FuzzParams calls entry functions with any parameters.
func FuzzParams(f *testing.F) {
	f.Add(`{"a": 1}`)
	f.Add(`{"_kurtosis_parser": "struct", "a": {"b": []}}`)
	f.Add(strings.Repeat("[", 5000))
	scripts := []string{
		"def run(plan, args):\n    return args\n",
		"def run(plan, a = 1, **kw):\n    return [a, kw]\n",
		"def run(plan):\n    pass\n",
	}
	f.Fuzz(func(t *testing.T, args string) {
		for _, script := range scripts {
			_, err := testHost.Interpret(context.Background(), lang.Request{
				Package: source.OpenScript("fuzz.star", script), Args: args, StepLimit: 100_000,
			})
			if err != nil && fault.From(err, "none").Code == "none" {
				t.Errorf("no fault: %v", err)
			}
		}
	})
}

// Code nested without measure is refused before it can exhaust the stack.
func TestNesting(t *testing.T) {
	const n = 1_000_000
	for name, text := range map[string]string{
		"brackets": "X = " + strings.Repeat("(", n),
		"lists":    "X = " + strings.Repeat("[", n) + strings.Repeat("]", n),
		"minus":    "X = " + strings.Repeat("- ", n) + "1",
		"not":      "X = " + strings.Repeat("not ", n) + "1",
		"lambda":   "X = " + strings.Repeat("lambda a, b: ", n/4) + "1",
		"if":       "X = " + strings.Repeat("1 if 1 else ", n/4) + "1",
		"plus":     "X = 1" + strings.Repeat("+1", n),
		"calls":    "X = len" + strings.Repeat("()", n),
		"dots":     "X = a" + strings.Repeat(".b", n),
		"lines":    "X = (1" + strings.Repeat("\n+1", n) + ")",
		"joined":   "X = 1" + strings.Repeat("\\\n+1", n),
	} {
		_, err := interpret(t, text, lang.Request{})
		if f := fault.From(err, ""); f.Code != "E0101" || !strings.Contains(f.Summary, "nested too deeply") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"long list":    "X = [" + strings.Repeat("1 + 2, ", 200_000) + "]",
		"many lines":   strings.Repeat("# x (\n", 10) + "X = '((((' + \"[[[\"\n",
		"long string":  "X = \"\"\"" + strings.Repeat("(- ", 200_000) + "\"\"\"",
		"many strings": "X = 'a'" + strings.Repeat(" + 'b\\'('", 5_000),
	} {
		_, err := interpret(t, text+"\ndef run(plan):\n    pass\n", lang.Request{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzDocstring reads any text as the docstring of an entry function.
func FuzzDocstring(f *testing.F) {
	f.Add("Does it.\n\nArgs:\n  a (list[dict[string, int]]): text\n    more\nReturns:\n  x")
	f.Add("Args:\n" + strings.Repeat("  a (list[", 500))
	f.Fuzz(func(t *testing.T, doc string) {
		script := "def run(plan, a, b = 1):\n  " + starlark.String(doc).String() + "\n"
		schema, err := testHost.Params(context.Background(), lang.Request{Package: source.OpenScript("fuzz.star", script)})
		if err != nil {
			return // a text that no literal holds
		}
		if text, err := json.Marshal(schema); err != nil || !json.Valid(text) {
			t.Errorf("schema %s: %v", text, err)
		}
	})
}
