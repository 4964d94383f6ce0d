package lang_test

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	starjson "go.starlark.net/lib/json"
	startime "go.starlark.net/lib/time"
	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
	"go.starlark.net/syntax"

	"github.com/lepto-dev/lepto/internal/lang"
)

// TestPlainCode runs code that asks nothing of a plan with the library's own
// interpreter too: what the host rewrites, to bound it, must come to the same
// value, or fail at the same places.
func TestPlainCode(t *testing.T) {
	for _, body := range plainBodies(t) {
		text := "def body():\n    " + strings.ReplaceAll(body, "\n", "\n    ") + "\n\ndef run(plan):\n    return repr(body())\n"
		want, got := plainly(text), hosted(t, text)
		if got != want {
			t.Errorf("the library: %s\nthe host: %s\n%s", want, got, text)
		}
	}
}

// plainBodies gives the bodies of run: lines of expressions, and statements.
func plainBodies(t *testing.T) []string {
	t.Helper()
	expressions, err := os.ReadFile("testdata/plain/expressions.txt")
	if err != nil {
		t.Fatal(err)
	}
	statements, err := os.ReadFile("testdata/plain/statements.star")
	if err != nil {
		t.Fatal(err)
	}
	bodies := strings.Split(strings.TrimSpace(string(statements)), "\n---\n")
	for line := range strings.Lines(string(expressions)) {
		bodies = append(bodies, "return ["+strings.TrimSpace(line)+"]")
	}
	return bodies
}

// plainly gives what the library makes of a script.
func plainly(text string) string {
	thread := &starlark.Thread{}
	globals, err := starlark.ExecFileOptions(&syntax.FileOptions{}, thread, "test.star", text, starlark.StringDict{
		"struct": starlark.NewBuiltin("struct", starlarkstruct.Make), "json": starjson.Module, "time": startime.Module,
	})
	if err != nil {
		return fmt.Sprint("fails at ", plainPlaces(err))
	}
	globals.Freeze()
	value, err := starlark.Call(thread, globals["run"], starlark.Tuple{starlark.None}, nil)
	if err != nil {
		return fmt.Sprint("fails at ", plainPlaces(err))
	}
	shown, err := starlark.Call(thread, starjson.Module.Members["encode"], starlark.Tuple{value}, nil)
	if err != nil {
		return err.Error()
	}
	text, _ = starlark.AsString(shown)
	return text
}

// plainPlaces gives the places in the script that an error of the library tells.
func plainPlaces(err error) (places []string) {
	place := func(pos syntax.Position) { places = append(places, fmt.Sprintf("%d:%d", pos.Line, pos.Col)) }
	var eval *starlark.EvalError
	var unresolved resolve.ErrorList
	switch {
	case errors.As(err, &eval):
		for _, frame := range eval.CallStack {
			if frame.Pos.Filename() == "test.star" {
				place(frame.Pos)
			}
		}
	case errors.As(err, &unresolved):
		for _, one := range unresolved {
			place(one.Pos)
		}
	}
	return places
}

var framePlace = regexp.MustCompile(`(?m)^\tat \[([^\]]+)\]: `)

// hosted gives what the host makes of a script, in the same form.
func hosted(t *testing.T, text string) string {
	made, err := interpret(t, text, lang.Request{Enclave: &fakeEnclave{}})
	if err == nil {
		return made.Output
	}
	var places []string
	for _, m := range framePlace.FindAllStringSubmatch(lang.LegacyText(err), -1) {
		places = append(places, m[1])
	}
	places = slices.DeleteFunc(places, func(place string) bool { return place == "0:0" })
	return fmt.Sprint("fails at ", places)
}
