package lang_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/source"
)

// What a single step would make too large is refused before it is made.
func TestOneStepBounds(t *testing.T) {
	doubled := "a = [1]\n    for i in range(60):\n        a = [a, a]\n    "
	wide := "a = [1] * 1000\n    b = [1] * 1000\n    for i in range(8):\n        a = [a] * 1000\n        b = [b] * 1000\n    "
	long := "x = \"1,\" * 10000000\n    "
	paired := "t = (1,)\n    for i in range(60):\n        t = (t, t)\n    "
	for name, body := range map[string]string{
		"list of a range":      "list(range(1000000000))",
		"tuple of a range":     "tuple(range(1000000000))",
		"sorted range":         "sorted(range(1000000000))",
		"enumerated range":     "enumerate(range(1000000000))",
		"zipped ranges":        "zip(range(1000000000), range(1000000000))",
		"extended by a range":  "[].extend(range(1000000000))",
		"repeated list":        "[0] * 500000000",
		"repeated tuple":       "500000000 * (0,)",
		"repeated string":      `"x" * 1000000000`,
		"repeated by itself":   "x = [0] * 1000\n    x *= 1000000",
		"repeated in a dict":   "d = {1: [0]}\n    d[1] *= 500000000",
		"squared without end":  "x = 3\n    for i in range(60):\n        x *= x",
		"text of shared lists": doubled + "str(a)",
		"repr of shared lists": doubled + "repr(a)",

		"compared":                wide + "a == b",
		"compared by order":       wide + "a < b",
		"compared in structs":     wide + "struct(x = a) != struct(x = b)",
		"looked for in a list":    wide + "a in [b]",
		"looked for in a tuple":   wide + "a not in (1, b)",
		"index":                   wide + "[b].index(a)",
		"remove":                  wide + "[b].remove(a)",
		"sorted lists":            wide + "sorted([a, b])",
		"sorted by lists":         wide + "sorted([1, 2], key = lambda x: a)",
		"max of lists":            wide + "max(a, b)",
		"key of a dict":           paired + "{t: 1}",
		"key of a comprehension":  paired + "{x: 1 for x in [t]}",
		"key that is set":         paired + "d = {}\n    d[t] = 1",
		"key that is got":         paired + "{1: 2}.get(t)",
		"key of a method":         paired + "get = {1: 2}.get\n    get(t)",
		"key by *args":            paired + "{1: 2}.get(*[t])",
		"key looked for":          paired + "t in {1: 2}",
		"key of a pair":           paired + "dict([(t, 1)])",
		"key of an update":        paired + "{}.update([(t, 1)])",
		"key of shared structs":   "t = struct(a = 1)\n    for i in range(60):\n        t = struct(a = t, b = t)\n    {t: 1}",
		"a deep key":              "t = ()\n    for i in range(3000):\n        t = (t,)\n    {}[t]",
		"a deep key of structs":   "t = 1\n    for i in range(3000):\n        t = struct(a = t)\n    {}.pop(t)",
		"split text":              long + "x.split(\",\")",
		"lines of text":           long + "x.splitlines()",
		"codepoints of text":      long + "list(x.codepoints())",
		"bytes of text":           long + "x.elem_ords()",
		"extended by itself":      "x = [0] * (1 << 24)\n    x.extend(x)",
		"long JSON":               "json.decode(\"1,\" * 20000000)",
		"a number of many digits": "int(\"9\" * 10000000)",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := testHost.Interpret(context.Background(), lang.Request{
				Package:     source.OpenScript("big.star", "def run(plan):\n    "+body+"\n"),
				MemoryLimit: 128 << 20, NewID: countedIDs(),
			})
			if code := fault.From(err, "none").Code; err == nil || code != "E0205" {
				t.Errorf("error %v, want an E0205", err)
			}
		})
	}
}

// Bounds are nothing that a script of usual size can tell.
func TestBoundedBuiltinsAreTheLibrarys(t *testing.T) {
	const script = `
def run(plan):
    a = [1]
    a *= 2
    d = {"k": "v"}
    d["k"] *= 2
    r = range(10)[2:5]
    return [a, d, 2 * 3, 2.5 * 2, 2 * 2.5, "ab" * 2, 2 * "ab", (1,) * 2, -1 * [1], str(2 * b"x"),
        str(time.parse_duration("2s") * 3), str(3 * time.parse_duration("2s")),
        r, r == range(2, 5), r != range(3), type(r), len(r), 3 in r, r[1], str(range(1, 9, 2)), bool(range(0)),
        list(r), tuple(r), sorted(range(3), reverse = True), reversed(r), enumerate(["x"]), zip(r, "abc".elems()),
        max(r), min([3, 1], key = lambda x: -x), any(r), all([0]), dict([("a", 1)], b = 2),
        [x * y for x in range(2) for y in (1, 2)], str([r]), [i for i in range(1 << 40) if i < 2][:0] if False else 0]
`
	made, err := testHost.Interpret(context.Background(), lang.Request{Package: source.OpenScript("s.star", script), NewID: countedIDs()})
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(strings.Fields(made.Output), "")
	const want = `[[1,1],{"k":"vv"},6,5,5,"abab","abab",[1,1],[],"xx","6s","6s",` +
		`[2,3,4],true,true,"range",3,true,3,"range(1,9,2)",false,` +
		`[2,3,4],[2,3,4],[2,1,0],[4,3,2],[[0,"x"]],[[2,"a"],[3,"b"],[4,"c"]],` +
		`4,3,true,false,{"a":1,"b":2},[0,0,1,2],"[range(2,5)]",0]`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestShowingCounts shows that a value that is shown counts with all that is in
// it: few calls of str would go on for hours.
func TestShowingCounts(t *testing.T) {
	const script = `
def run(plan):
    x = [1]
    for _ in range(16):
        x = [x, x]
    for _ in range(1000):
        str(x)
`
	_, err := testHost.Interpret(context.Background(), lang.Request{Package: source.OpenScript("x.star", script), StepLimit: 1_000_000})
	if f := fault.From(err, "none"); err == nil || f.Code != "E0203" {
		t.Errorf("got %v", err)
	}
}

// TestTimeLimit: few steps, each of them within the bounds of one, end in time.
func TestTimeLimit(t *testing.T) {
	const script = `
def run(plan):
    x = list(range(2000000))
    for _ in range(1000000):
        sorted(x, reverse = True) and x[:]
`
	_, err := testHost.Interpret(t.Context(), lang.Request{Package: source.OpenScript("x.star", script), TimeLimit: 100 * time.Millisecond, StepLimit: 1 << 60})
	if f := fault.From(err, "none"); err == nil || f.Code != "E0203" || !strings.Contains(f.Summary, "100ms of work") {
		t.Errorf("got %v", err)
	}
}

// TestComparisonsAreTheLanguages shows that bounded comparisons and keys are those
// of the language, also in their errors.
func TestComparisonsAreTheLanguages(t *testing.T) {
	const script = `
def run(plan):
    a, b, t, d, s = 1, 2.0, (1, "x"), {"k": 1, (1, "x"): 2}, "abc"
    one = "k"
    d[t] += 1
    f = d.get
    l = [3, t, [1], struct(a = 1)]
    l.remove([1])
    return [a == b, a != b, a < b, a <= b, a > b, a >= b, a == one, t == (1, "x"), t < (2,), one in d, t in d, [1] in l, one in s, t not in l,
        d[one], d[t], f(t), d.get(t, 5), d.pop(t), d.setdefault(one, 7), d.get("no", 9), l.index(struct(a = 1)), {one: a, t: b}[t], s.index("c"),
        sorted([t, (0,)], key = lambda x: x[0]), max([1, 3], key = lambda x: -x), min(t, (0, 1)), dict([(t, 1)]) == {t: 1}, a == None, not a == True]
`
	made, err := testHost.Interpret(t.Context(), lang.Request{Package: source.OpenScript("s.star", script), NewID: countedIDs()})
	if err != nil {
		t.Fatal(lang.LegacyText(err))
	}
	const want = `[false,true,true,true,false,false,false,true,true,true,true,false,false,false,` +
		`1,3,3,3,3,1,9,2,2,2,[[0],[1,"x"]],1,[0,1],true,false,true]`
	if got := strings.Join(strings.Fields(made.Output), ""); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for body, want := range map[string]string{
		"x, y = 1, \"a\"\n    x < y":         "Evaluation error: int < string not implemented\n\tat [3:7]: run",
		"x, y = 1, 2\n    x in y":            "Evaluation error: unknown binary op: int in int\n\tat [3:7]: run",
		"k = []\n    {k: 1}":                 "Evaluation error: unhashable type: list\n\tat [3:7]: run",
		"k, d = \"a\", {}\n    d[k]":         "Evaluation error: key \"a\" not in dict\n\tat [3:6]: run",
		"k, d = [1], {}\n    d.get(k)":       "Evaluation error: get: unhashable type: list\n\tat [3:10]: run\n\tat [0:0]: get",
		"x = None\n    x.get(1)":             "Evaluation error: NoneType has no .get field or method\n\tat [3:6]: run",
		"sorted([1], key = lambda x: x.foo)": "Evaluation error: int has no .foo field or method\n\tat [2:11]: run\n\tat [0:0]: sorted\n\tat [2:34]: lambda",
	} {
		_, err := testHost.Interpret(t.Context(), lang.Request{Package: source.OpenScript("s.star", "def run(plan):\n    "+body+"\n")})
		if err == nil || lang.LegacyText(err) != want {
			t.Errorf("%s\ngot  %v\nwant %s", body, lang.LegacyText(err), want)
		}
	}
}

// TestDeepGlobals: globals are frozen, which recurses into all that they hold.
func TestDeepGlobals(t *testing.T) {
	const deep = "def deep():\n    x = []\n    for _ in range(110000):\n        x = [x]\n    return x\n"
	for name, line := range map[string]string{
		"list": "X = deep()", "object": `X = Service("a", "b", "c", {"k": deep()})`, "default": "def f(x = deep()):\n    pass",
		"closure": "X = (lambda y: lambda: y)(deep())", "method": "X = deep().append",
	} {
		_, err := testHost.Interpret(t.Context(), lang.Request{Package: source.OpenScript("x.star", deep+line+"\ndef run(plan):\n    pass\n")})
		if f := fault.From(err, "none"); err == nil || f.Code != "E0205" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLargeValuesStayUsable: what is large but not absurd is compared, looked for
// and used as a key.
func TestLargeValuesStayUsable(t *testing.T) {
	const script = `
def run(plan):
    a, b = list(range(1000000)), list(range(1000000))
    t = tuple(range(100000))
    d = {t: 1}
    text = "line\n" * 1000000
    return [a == b, a < b, 999999 in a, a.index(5), d[t], t in d, len(sorted(a, reverse = True)), len(text.split("\n")), len(text.splitlines()),
        max(a), json.decode(json.encode(a)) == a, text == text + "", text in text]
`
	made, err := testHost.Interpret(t.Context(), lang.Request{Package: source.OpenScript("s.star", script)})
	if err != nil {
		t.Fatal(lang.LegacyText(err))
	}
	const want = `[true,false,true,5,1,true,1000000,1000001,1000000,999999,true,true,true]`
	if got := strings.Join(strings.Fields(made.Output), ""); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
