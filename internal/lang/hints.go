package lang

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file tells what to do about errors that the interpreter words.

// hintFor is a hint for messages that have a part.
type hintFor struct{ part, hint string }

func hintOf(hints []hintFor, msg string) string {
	for _, h := range hints {
		if strings.Contains(msg, h.part) {
			return h.hint
		}
	}
	return ""
}

// dialectHints tell what to do instead of what this dialect lacks, by a part of
// the resolver's message.
var dialectHints = []hintFor{
	{"does not support while", "use a for loop over range(...)"},
	{"does not support sets", "use the keys of a dict, or a list"},
	{"cannot reassign", "give the second one another name; a global is set once"},
	{"not within a function", "put it into a function that run calls"},
	{"undefined: plan", "plan is the first parameter of run; pass it on to functions that need it"},
	{"undefined: math", "there is no math module; ints and floats have + - * / // %"},
}

// evalHints tell what to do about errors while a script runs, by a part of the
// message.
var evalHints = []hintFor{
	{"{{kurtosis:", "what an instruction gives is known only when the plan runs: compare it with plan.verify, or pass it on as it is"},
	{"called recursively", "no function may call itself in Starlark; loop over a list of what is left to do"},
	{"frozen", "globals, and what instructions give, can't be changed; change a copy: dict(x), list(x)"},
	{"NoneType", "a value is None here: what a function without return gives, and many instructions"},
	{"dict has no .", `an entry of a dict is read as x["name"]`},
	{" not in dict", `x.get("name", default) reads an entry that may be missing`},
	{"string + int", "str(x) makes a text of it"},
	{"string + float", "str(x) makes a text of it"},
	{"int + string", "str(x) makes a text of a number, int(x) a number of a text"},
}

var declaredAt = regexp.MustCompile(` declared at .*:(\d+):\d+$`)

var didYouMean = regexp.MustCompile(` \(did you mean (.*)\?\)$`)

// plainName gives the resolver's message in a user's words, without the name that
// may have been meant.
func plainName(msg string) string {
	return didYouMean.ReplaceAllString(declaredAt.ReplaceAllString(msg, ", which line $1 sets"), "")
}

// namesError is the names that a file uses and that are not there, with those that
// are in every file.
type namesError struct {
	err         error // a resolve.ErrorList
	predeclared []string
	plan        []string // the instructions
}

// Error gives the resolver's text.
func (e *namesError) Error() string { return e.err.Error() }

// Unwrap gives the resolver's error.
func (e *namesError) Unwrap() error { return e.err }

// otherWords are names that other languages have for what is there.
var otherWords = map[string]string{
	"true": "True", "false": "False", "none": "None", "null": "None", "nil": "None", "undefined": "None",
	"require": "import_module", "include": "import_module", "open": "read_file", "string": "str", "boolean": "bool", "array": "list", "object": "struct",
}

// hint tells which name may have been meant.
func (e *namesError) hint(msg string) string {
	if m := didYouMean.FindStringSubmatch(msg); m != nil { // a name of the file
		return fmt.Sprintf("did you mean %q?", m[1])
	}
	name, isName := strings.CutPrefix(msg, "undefined: ")
	if e == nil || !isName {
		return ""
	}
	if word := otherWords[name]; word != "" {
		return fmt.Sprintf("did you mean %q?", word)
	}
	if slices.Contains(e.plan, name) {
		return fmt.Sprintf("did you mean %q?", planParam+"."+name)
	}
	if near := fault.Nearest(name, e.predeclared); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return ""
}

// fault gives the fault of one of the resolver's messages.
func (e *namesError) fault(msg string) *fault.Fault {
	f := fault.New("E0102", "%s", plainName(msg))
	if hint := hintOf(dialectHints, msg); hint != "" {
		f.Code, f.Hint = "E0103", hint
	} else {
		f.Hint = e.hint(msg)
	}
	return f
}

// named makes a namesError of the resolver's error.
func (in *interpretation) named(err error) error {
	e := &namesError{err: err, plan: slices.Collect(maps.Keys(in.host.plan.Members))}
	for _, name := range in.globals.Keys() {
		if isName(name) {
			e.predeclared = append(e.predeclared, name)
		}
	}
	return e
}

// isName reports a name that scripts can write.
func isName(name string) bool {
	return name != "" && (name[0] == '_' || name[0] >= 'A') && name[0] < '{'
}
