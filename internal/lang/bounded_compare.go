package lang

import (
	"fmt"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
	"go.starlark.net/syntax"
)

// This file bounds what a single step compares or looks up. Lists that are shared
// inside lists are compared once per use, and a tuple's hash visits all tuples in
// it: a small value can be more work than any machine has time for.

const (
	maxCompared = 1 << 22   // values that one step compares
	maxKey      = 1_000_000 // values in a key of a dict
	maxDigits   = 300_000   // of a number that is read from text: about maxBits
	// compareDepth is how deep the library compares before it gives up by itself.
	compareDepth = 11
	textStep     = 1024 // bytes of text that are as much work as a value
)

var (
	errCompared = tooMuch("the values are too large to be compared: they have more than %d values in them", maxCompared)
	errKey      = tooMuch("the key is too large: it has more than %d values in it", maxKey)
)

// The names of the functions that stand for operators, which no script can write:
// each operator's own, and that of a key.
const keyName = "[]"

var comparisons = map[syntax.Token]bool{
	syntax.EQL: true, syntax.NEQ: true, syntax.LT: true, syntax.LE: true, syntax.GT: true, syntax.GE: true,
	syntax.IN: true, syntax.NOT_IN: true,
}

// boundedComparisons are the functions that boundTexts puts in the place of
// comparisons and around keys.
func boundedComparisons() starlark.StringDict {
	names := starlark.StringDict{keyName: starlark.NewBuiltin(keyName, func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		return args[0], checkKey(thread, args[0])
	})}
	for op := range comparisons {
		names[op.String()] = starlark.NewBuiltin(op.String(), func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			x, y := args[0], args[1]
			if op == syntax.IN || op == syntax.NOT_IN {
				if err := checkMember(thread, x, y); err != nil {
					return nil, err
				}
				return starlark.Binary(op, x, y)
			}
			if err := checkCompared(thread, x, y); err != nil {
				return nil, err
			}
			equal, err := starlark.Compare(op, x, y)
			return starlark.Bool(equal), err
		})
	}
	return names
}

// weight counts the values that a comparison or a hash goes through, up to a
// bound.
type weight struct {
	used, most int
	cut        bool // there is more below the depth
}

// add counts a value with all that is in it, down to a depth; false above the
// bound.
func (w *weight) add(v starlark.Value, depth int) bool {
	if w.used++; w.used > w.most {
		return false
	}
	if depth <= 0 {
		w.cut = true
		return true
	}
	switch v := v.(type) {
	case starlark.String:
		w.used += len(v) / textStep
	case starlark.Bytes:
		w.used += len(v) / textStep
	case starlark.Tuple:
		return w.sequence(v, depth)
	case *starlark.List:
		return w.sequence(v, depth)
	case *starlark.Dict:
		for _, item := range v.Items() {
			if !w.sequence(item, depth) {
				return false
			}
		}
	case *starlarkstruct.Struct:
		for _, name := range v.AttrNames() {
			if value, err := v.Attr(name); err == nil && !w.add(value, depth-1) {
				return false
			}
		}
	case *Object:
		for _, arg := range v.args {
			if arg != nil && !w.add(arg, depth-1) {
				return false
			}
		}
	}
	return true
}

func (w *weight) sequence(seq starlark.Indexable, depth int) bool {
	for i := range seq.Len() {
		if !w.add(seq.Index(i), depth-1) {
			return false
		}
	}
	return true
}

// weigh counts a value as steps, and gives the count; false where it is too much
// to compare.
func weigh(thread *starlark.Thread, v starlark.Value) (int, bool) {
	w := weight{most: maxCompared}
	fits := w.add(v, compareDepth)
	thread.Steps += uint64(w.used)
	return w.used, fits
}

// isPlain reports a value that is compared in no time.
func isPlain(v starlark.Value) bool {
	switch v := v.(type) {
	case starlark.NoneType, starlark.Bool, starlark.Int, starlark.Float:
		return true
	case starlark.String:
		return len(v) < textStep
	}
	return false
}

// checkCompared refuses to compare two values of which both are too large.
func checkCompared(thread *starlark.Thread, x, y starlark.Value) error {
	if isPlain(x) || isPlain(y) {
		return nil
	}
	if _, fits := weigh(thread, x); fits {
		return nil
	}
	if _, fits := weigh(thread, y); fits {
		return nil
	}
	return errCompared
}

// checkMember refuses to look for a value in another where that is too much.
func checkMember(thread *starlark.Thread, x, y starlark.Value) error {
	switch y := y.(type) {
	case *starlark.Dict:
		return checkKey(thread, x)
	case *starlark.List, starlark.Tuple:
		each := 1
		if !isPlain(x) {
			var fits bool
			if each, fits = weigh(thread, x); !fits {
				return errCompared
			}
		}
		n := starlark.Len(y)
		thread.Steps += uint64(n)
		if n > 0 && each > maxElements/n {
			return errCompared
		}
	case starlark.String:
		thread.Steps += uint64(len(y) / textStep)
	}
	return nil
}

// checkKey refuses a key that is too large to be hashed, or nested too deeply to be
// shown where it is missing.
func checkKey(thread *starlark.Thread, key starlark.Value) error {
	switch key.(type) {
	case starlark.Tuple, *starlarkstruct.Struct:
	default:
		return nil
	}
	w := weight{most: maxKey}
	fits := w.add(key, maxDepth)
	if thread.Steps += uint64(w.used); !fits {
		return errKey
	}
	if w.cut {
		return tooMuch("the key %w", errTooDeep)
	}
	return nil
}

// checkPairs checks the keys of what a dict is made of: a list of pairs.
func checkPairs(thread *starlark.Thread, args starlark.Tuple) error {
	if len(args) == 0 {
		return nil
	}
	pairs, ok := args[0].(starlark.Sequence)
	if _, isDict := args[0].(*starlark.Dict); !ok || isDict {
		return nil
	}
	for pair := range starlark.Elements(pairs) {
		thread.Steps++
		indexed, ok := pair.(starlark.Indexable)
		if !ok || indexed.Len() == 0 {
			return nil // refused by the function itself
		}
		if err := checkKey(thread, indexed.Index(0)); err != nil {
			return err
		}
	}
	return nil
}

// checkOrdered checks what sorted, max and min compare: the arguments, or what a
// key function gives, which is returned in the place of the one in kwargs.
func checkOrdered(thread *starlark.Thread, args starlark.Tuple, kwargs []starlark.Tuple) ([]starlark.Tuple, error) {
	for i, kw := range kwargs {
		key, ok := kw[1].(starlark.Callable)
		if kw[0] != starlark.String("key") || !ok {
			continue
		}
		kwargs = append([]starlark.Tuple(nil), kwargs...)
		kwargs[i] = starlark.Tuple{kw[0], starlark.NewBuiltin(keyName, func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
			v, err := starlark.Call(thread, key, args, kwargs)
			if err != nil || isPlain(v) {
				return v, err
			}
			if _, fits := weigh(thread, v); !fits {
				return nil, errCompared
			}
			return v, nil
		})}
		return kwargs, nil
	}
	for _, arg := range args {
		elements, ok := arg.(starlark.Indexable)
		if !ok || isRange(arg) {
			continue
		}
		for i := range elements.Len() {
			if v := elements.Index(i); isPlain(v) {
				thread.Steps++
			} else if _, fits := weigh(thread, v); !fits {
				return kwargs, errCompared
			}
		}
	}
	return kwargs, nil
}

func isRange(v starlark.Value) bool {
	_, ok := v.(scriptRange)
	return ok
}

// checkDigits refuses text of a number that is longer than numbers may be here.
func checkDigits(args starlark.Tuple) error {
	if len(args) == 0 {
		return nil
	}
	if text, ok := starlark.AsString(args[0]); ok && len(text) > maxDigits {
		return tooMuch("int: a text of %d digits is too long; at most %d are read", len(text), maxDigits)
	}
	return nil
}

// longestNumber gives the length of the longest run of digits in a text.
func longestNumber(text string) int {
	longest, run := 0, 0
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			run = 0
			continue
		}
		run++
		longest = max(longest, run)
	}
	return longest
}

// errDigits is for a number in JSON that is longer than numbers may be here.
var errDigits = fmt.Errorf("json.decode: the text has a number of more than %d digits", maxDigits)

// isComparison reports the name of a function that stands for a comparison.
func isComparison(name string) bool {
	for op := range comparisons {
		if op.String() == name {
			return true
		}
	}
	return false
}
