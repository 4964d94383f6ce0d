package plan

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/lepto-dev/lepto/internal/fault"
)

// Values are what future references stand for. Each slot is a map from field to
// value; it is stored as Starlark text and evaluated when read, so that an int
// stays an int across runs. Safe for concurrent use.
type Values struct {
	load  func(id string) (map[string]string, error)
	store func(id string, fields map[string]string) error

	mu    sync.Mutex
	slots map[string]map[string]starlark.Value
}

// NewValues makes Values over durable storage: load gives a slot's fields as
// Starlark text (an error that is fault.ErrNotFound, or nil, where there is no
// such slot; an empty map where it is not filled yet), store replaces them.
// Either may be nil: then values live in memory only.
func NewValues(load func(id string) (map[string]string, error), store func(id string, fields map[string]string) error) *Values {
	return &Values{load: load, store: store, slots: map[string]map[string]starlark.Value{}}
}

// Set fills a slot, durably, before it can be read.
func (v *Values) Set(id string, fields map[string]starlark.Value) error {
	texts := make(map[string]string, len(fields))
	for field, value := range fields {
		value.Freeze()
		texts[field] = valueText(value)
	}
	if v.store != nil {
		if err := v.store(id, texts); err != nil {
			return fmt.Errorf("store value %s: %w", id, err)
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.slots[id] = maps.Clone(fields)
	return nil
}

// Text replaces every reference in s: a string by itself, anything else by its
// Starlark text.
func (v *Values) Text(s string) (string, error) {
	if !strings.Contains(s, referenceMark) {
		return s, nil
	}
	var first error
	out := referencePattern().ReplaceAllStringFunc(s, func(ref string) string {
		m := referencePattern().FindStringSubmatch(ref)
		value, err := v.get(m[1], m[2])
		if err != nil {
			if first == nil {
				first = err
			}
			return ref
		}
		if text, ok := starlark.AsString(value); ok {
			return text
		}
		return value.String()
	})
	if first != nil {
		return "", first
	}
	return out, nil
}

// Texts is Text for a list.
func (v *Values) Texts(list []string) ([]string, error) {
	if list == nil {
		return nil, nil
	}
	out := make([]string, len(list))
	for i, s := range list {
		var err error
		if out[i], err = v.Text(s); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Typed gives the value itself where all of s is one reference, else Text of s
// as a string.
func (v *Values) Typed(s string) (starlark.Value, error) {
	m := referencePattern().FindStringSubmatch(s)
	if m != nil && m[0] == s {
		return v.get(m[1], m[2])
	}
	text, err := v.Text(s)
	if err != nil {
		return nil, err
	}
	return starlark.String(text), nil
}

// get reads one field.
func (v *Values) get(id, field string) (starlark.Value, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	slot, ok := v.slots[id]
	if !ok {
		var err error
		if slot, err = v.read(id); err != nil {
			return nil, err
		}
	}
	if len(slot) == 0 {
		return nil, fault.New("E0501", "value %s was found, but not set: the instruction that gives it has not been executed", Reference(id, field)).
			WithHint("use the value only after the instruction that returned it")
	}
	value, ok := slot[field]
	if !ok {
		known := slices.Sorted(maps.Keys(slot))
		return nil, fault.New("E0502", "value %s has no field %q; it has %s", Reference(id, field), field, strings.Join(known, ", "))
	}
	return value, nil
}

// read loads a slot. An empty one is not remembered: it may be filled later.
func (v *Values) read(id string) (map[string]starlark.Value, error) {
	unknown := func() error {
		return fault.New("E0502", "no value with id %s is known in this enclave", id).
			WithHint("a reference is valid only in the enclave in which it was made")
	}
	if v.load == nil {
		return nil, unknown()
	}
	texts, err := v.load(id)
	if isNotFound(err) || err == nil && texts == nil {
		return nil, unknown()
	}
	if err != nil {
		return nil, fmt.Errorf("load value %s: %w", id, err)
	}
	slot := make(map[string]starlark.Value, len(texts))
	for field, text := range texts {
		if slot[field], err = evalValue(text); err != nil {
			return nil, fmt.Errorf("stored value %s, field %q: %w", id, field, err)
		}
	}
	if len(slot) > 0 {
		v.slots[id] = slot
	}
	return slot, nil
}

// valueText is the Starlark text of a value, such that evalValue gives it back.
// A text that is no UTF-8, such as the output of a command may be, has no literal
// in Starlark: it is written as raw(b"…"). Only outputs and bodies are such texts;
// what is extracted from them is not.
func valueText(value starlark.Value) string {
	s, ok := value.(starlark.String)
	switch {
	case !ok:
		return value.String()
	case !utf8.ValidString(string(s)):
		return "raw(" + syntax.Quote(string(s), true) + ")"
	}
	return syntax.Quote(string(s), false)
}

// valueNames are the names in the texts of values: those of floats that are no
// numbers, and raw, the text of some bytes.
var valueNames = starlark.StringDict{
	"inf": starlark.Float(math.Inf(1)),
	"nan": starlark.Float(math.NaN()),
	"raw": starlark.NewBuiltin("raw", func(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		var bytes starlark.Bytes
		err := starlark.UnpackPositionalArgs(b.Name(), args, kwargs, 1, &bytes)
		return starlark.String(bytes), err
	}),
}

// evalValue reads what valueText wrote. The text is our own, but it is read with
// a step limit all the same: the store is a file that others could write.
func evalValue(text string) (starlark.Value, error) {
	thread := &starlark.Thread{Name: "value"}
	thread.SetMaxExecutionSteps(10_000_000)
	value, err := starlark.EvalOptions(&syntax.FileOptions{}, thread, "value", text, valueNames)
	if err != nil {
		return nil, err
	}
	value.Freeze()
	return value, nil
}
