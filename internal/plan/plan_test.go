package plan

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
)

const id1 = "0123456789abcdef0123456789abcdef"

func TestReferences(t *testing.T) {
	ref := Reference(id1, "extract.a-b_c.1")
	if ref != "{{kurtosis:"+id1+":extract.a-b_c.1.runtime_value}}" {
		t.Errorf("got %s", ref)
	}
	got := References("x"+ref+ref, ref, "{{kurtosis:"+id1[:31]+":a.runtime_value}}", "{{kurtosis:"+id1+":a b.runtime_value}}")
	if len(got) != 1 || got[0] != (Ref{id1, "extract.a-b_c.1"}) {
		t.Errorf("got %v", got)
	}
}

// disk is a store of values as text.
type disk map[string]map[string]string

func (d disk) load(id string) (map[string]string, error) {
	if fields, ok := d[id]; ok {
		return fields, nil
	}
	return nil, fmt.Errorf("value %s: %w", id, fault.ErrNotFound)
}

func (d disk) store(id string, fields map[string]string) error {
	d[id] = fields
	return nil
}

func TestValuesKeepTypes(t *testing.T) {
	dict := starlark.NewDict(1)
	if err := dict.SetKey(starlark.String("k"), starlark.NewList([]starlark.Value{starlark.MakeInt(1), starlark.None})); err != nil {
		t.Fatal(err)
	}
	fields := map[string]starlark.Value{
		"s": starlark.String("a\"b\n\x00é"), "i": starlark.MakeInt(3), "f": starlark.Float(1), "b": starlark.True, "d": dict,
		"inf": starlark.Float(math.Inf(-1)), "t": starlark.Tuple{starlark.MakeInt(1)},
		"bytes": starlark.String("a\xff\xfe\"\\\n\x00é"),
	}
	d := disk{}
	if err := NewValues(d.load, d.store).Set(id1, fields); err != nil {
		t.Fatal(err)
	}
	later := NewValues(d.load, d.store) // as after a restart
	for field, want := range fields {
		got, err := later.Typed(Reference(id1, field))
		if err != nil {
			t.Errorf("%s: %v", field, err)
			continue
		}
		if equal, _ := starlark.Equal(got, want); !equal || got.Type() != want.Type() {
			t.Errorf("%s: got %s, want %s", field, got, want)
		}
	}
	text, err := later.Text("<" + Reference(id1, "s") + "|" + Reference(id1, "i") + "|" + Reference(id1, "d") + ">")
	if want := "<a\"b\n\x00é|3|{\"k\": [1, None]}>"; err != nil || text != want {
		t.Errorf("got %q, %v", text, err)
	}
	mixed, err := later.Typed("n" + Reference(id1, "i"))
	if err != nil || mixed != starlark.String("n3") {
		t.Errorf("got %v, %v", mixed, err)
	}
}

func TestValuesMissing(t *testing.T) {
	d := disk{id1: {}}
	v := NewValues(d.load, d.store)
	other := strings.Repeat("f", 32)
	for text, code := range map[string]string{Reference(id1, "a"): "E0501", Reference(other, "a"): "E0502"} {
		if _, err := v.Text(text); fault.From(err, "").Code != code {
			t.Errorf("%s: got %v", text, err)
		}
	}
	if err := v.Set(id1, map[string]starlark.Value{"a": starlark.MakeInt(1)}); err != nil {
		t.Fatal(err)
	}
	if text, err := v.Text(Reference(id1, "a")); text != "1" || err != nil {
		t.Errorf("got %q, %v", text, err)
	}
	if _, err := v.Text(Reference(id1, "b")); fault.From(err, "").Code != "E0502" {
		t.Errorf("got %v", err)
	}
	d[other] = map[string]string{"a": "[0] * 100000000 + (lambda: 1)("}
	if _, err := v.Text(Reference(other, "a")); err == nil {
		t.Error("nonsense in the store was accepted")
	}
}

func codes(errs []error) string {
	var out []string
	for _, err := range errs {
		out = append(out, fault.From(err, "none").Code)
	}
	return strings.Join(out, " ")
}

// TestForecastTaskNames: a task's name is a container's, and no dialect has a rule of its own for it.
func TestForecastTaskNames(t *testing.T) {
	for name, want := range map[string]string{
		"task-1": "", "Deploy_v1.2": "", "1": "", "": "E0301", ".a": "E0301", "a b": "E0301", "a/b": "E0301", strings.Repeat("a", 64): "E0301",
	} {
		f := NewForecast(ForecastInput{StrictNames: true})
		if got := codes(f.RunTask(Task{Name: name})); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

func TestForecastNames(t *testing.T) {
	for name, want := range map[string][2]string{ // wide, strict
		"a": {"", ""}, "a-b": {"", ""}, "my_service": {"", "E0301"}, "A": {"", "E0301"}, "-a": {"", "E0301"}, "1a": {"", "E0301"},
		"": {"E0301", "E0301"}, "a b": {"E0301", "E0301"}, "a/b": {"E0301", "E0301"}, "é": {"E0301", "E0301"},
		strings.Repeat("a", 63): {"", ""}, strings.Repeat("a", 64): {"E0301", "E0301"}, Reference(id1, "x"): {"E0301", "E0301"},
	} {
		for i, strict := range []bool{false, true} {
			f := NewForecast(ForecastInput{StrictNames: strict})
			if got := codes(f.AddService(name, enclave.ServiceConfig{})); got != want[i] {
				t.Errorf("%q strict=%v: got %q", name, strict, got)
			}
		}
	}
}

func TestForecastServices(t *testing.T) {
	f := NewForecast(ForecastInput{
		Services: map[string]map[string]enclave.Port{"old": {"p": {Number: 1}}},
		UUIDs:    map[string]string{id1: "old"},
	})
	if got := codes(f.AddService("old", enclave.ServiceConfig{})); got != "" {
		t.Errorf("an update is refused: %s", got)
	}
	if got := codes(f.AddService("old", enclave.ServiceConfig{})); got != "E0302" {
		t.Errorf("twice: got %q", got)
	}
	for _, identifier := range []string{id1, id1[:12], "old"} {
		if !f.HasService(identifier) {
			t.Errorf("%s is not found", identifier)
		}
	}
	if f.HasService(id1[:11]) {
		t.Error("eleven digits are no short UUID")
	}
	if err := f.RemoveService(id1); err != nil || f.HasService("old") || f.HasService(id1) {
		t.Errorf("removed: %v", err)
	}
	if got := codes(f.AddService("old", enclave.ServiceConfig{Ports: map[string]enclave.Port{"http": {}}})); got != "" {
		t.Errorf("after its removal: %q", got)
	}
	_, err := f.Port("old", "htpt")
	if fault := fault.From(err, ""); fault.Code != "E0305" || fault.Hint != `did you mean "http"?` {
		t.Errorf("got %+v", fault)
	}
}

func TestForecastArtifacts(t *testing.T) {
	f := NewForecast(ForecastInput{Artifacts: []string{"old"}})
	for _, c := range []struct{ name, want string }{{"old", ""}, {"old", "E0307"}, {"new", ""}, {"new", "E0307"}} {
		err := f.AddArtifact(c.name)
		if (err == nil) != (c.want == "") || err != nil && fault.From(err, "").Code != c.want {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
	if f.Artifact("new") != nil || f.Artifact("none") == nil {
		t.Error("artifacts are wrong")
	}
}

func TestForecastAbilities(t *testing.T) {
	caps := backend.Capabilities{Backend: "b", Abilities: map[backend.Ability]bool{}, Missing: map[backend.Ability]string{backend.AbilityGPU: "no driver"}}
	f := NewForecast(ForecastInput{Capabilities: caps})
	cfg := enclave.ServiceConfig{
		Image: enclave.Image{Ref: "x", Build: &enclave.Build{}}, GPUs: -1, TTY: true, Privileged: true, Devices: []string{"/dev/x"},
		MaxCPU: 1, MaxMemory: 6, PublishUDP: true, Files: []enclave.FileMount{{Path: "/x", PersistentKey: "k"}},
		Ports: map[string]enclave.Port{"p": {HostPort: 80}},
	}
	errs := f.AddService("a", cfg)
	if len(errs) != 10 {
		t.Errorf("got %d: %v", len(errs), errs)
	}
	found := false
	for _, err := range errs {
		found = found || fault.From(err, "").Hint == "no driver"
	}
	if !found {
		t.Error("the backend's reason is missing")
	}
}

func TestForecastImages(t *testing.T) {
	f := NewForecast(ForecastInput{})
	build := func(dir string) enclave.Image { return enclave.Image{Ref: "x", Build: &enclave.Build{ContextDir: dir}} }
	for i, image := range []enclave.Image{{Ref: "a"}, {Ref: "b"}, {Ref: "a"}, {Ref: "a", Username: "u"}, build("/1"), build("/1"), build("/2")} {
		f.AddService(fmt.Sprintf("s%d", i), enclave.ServiceConfig{Image: image})
	}
	if got := f.Images(); len(got) != 5 || got[0].Ref != "a" || got[1].Ref != "b" {
		t.Errorf("got %+v", got)
	}
}

// failing is a step with given problems.
type failing struct {
	call Call
	errs []error
}

func (f failing) Call() Call                 { return f.call }
func (failing) Effects() Effects             { return Effects{} }
func (f failing) Validate(*Forecast) []error { return f.errs }
func (failing) Execute(context.Context, *Execution) (Outcome, error) {
	return Outcome{}, nil
}

func TestValidateKeepsAll(t *testing.T) {
	frame := fault.Frame{File: "main.star", Line: 3, Col: 4}
	steps := []Step{
		failing{Call{Text: "one()", Stack: []fault.Frame{frame}}, []error{fault.New("E0303", "a"), fmt.Errorf("b")}},
		failing{Call{Text: "two()"}, nil},
		failing{Call{Text: "three()"}, []error{fault.New("E0304", "c").WithHint("h")}},
	}
	errs := Validate(steps, NewForecast(ForecastInput{}))
	if got := codes(errs); got != "E0303 E0300 E0304" {
		t.Fatalf("got %q", got)
	}
	first, last := fault.From(errs[0], ""), fault.From(errs[2], "")
	if first.At[0] != frame || first.Evidence[0].Lines[0] != "one()" || last.Hint != "h" {
		t.Errorf("got %+v and %+v", first, last)
	}
}

func TestEffectsNormal(t *testing.T) {
	e := Effects{Reads: []Key{"b", "a", "b"}}.Normal()
	if len(e.Reads) != 2 || e.Reads[0] != "a" {
		t.Errorf("got %v", e)
	}
}
