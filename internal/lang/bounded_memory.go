package lang

import (
	"runtime"
	"strings"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file ends a script at the place where its memory grows too much. Steps that
// make much say so before they do (reserve); the rest is small, and seen between
// steps. A script that does neither for long never has the heap looked at.

const (
	lookSteps = 8192     // steps between two looks at the heap
	lookBytes = 16 << 20 // bytes that large steps make between two looks
	// smallBytes is what a step may make that nobody counts: lookSteps of them are
	// 32 MiB.
	smallBytes = 4 << 10
	// assuredBytes is from where on there must be room for all of what a step may
	// make.
	assuredBytes = 128 << 20

	// What values take, in bytes, roughly.
	elementBytes = 16 // of a list or tuple, without the element's own
	partBytes    = 48 // of a text's part in a list, without its bytes
	tupleBytes   = 40 // of a tuple in a list, without its elements
	entryBytes   = 128
)

// reserve tells that a step is going to make so many bytes. It is an error if that
// is more than the script may have, beside what it has.
func (in *interpretation) reserve(bytes int) error {
	if bytes < smallBytes {
		return nil
	}
	if in.made += uint64(bytes); in.made < lookBytes {
		return nil
	}
	in.made = 0
	return in.look(uint64(bytes))
}

// note tells that a step may make so many bytes, or much less.
func (in *interpretation) note(bytes int) error {
	if bytes >= assuredBytes {
		return in.reserve(bytes)
	}
	if in.made += uint64(bytes); in.made < lookBytes {
		return nil
	}
	in.made = 0
	return in.look(0)
}

// look refuses to let the heap grow above the limit. Garbage counts as long as
// there is room; then it is collected. A script that stays near the limit would be
// collected for all the time, so that a part of it must be free afterwards.
func (in *interpretation) look(more uint64) error {
	if in.grown()+more <= in.req.MemoryLimit {
		return nil
	}
	runtime.GC()
	if in.grown()+more <= in.req.MemoryLimit-in.req.MemoryLimit/16 {
		return nil
	}
	return fault.New("E0205", "the script needs more than %d MiB of memory", in.req.MemoryLimit>>20).
		WithHint("look for a list or text that grows without end")
}

// grown gives how much larger the heap is than at the start, in bytes.
func (in *interpretation) grown() uint64 {
	return max(heapBytes(), in.heapAtStart) - in.heapAtStart
}

// between looks at the limits between two steps, now and then.
func (in *interpretation) between(thread *starlark.Thread) {
	if thread.Steps >= in.req.StepLimit {
		in.end(fault.New("E0203", "the script did not end within %d steps", in.req.StepLimit).
			WithHint("look for a loop that grows without end"))
		return
	}
	thread.SetMaxExecutionSteps(min(thread.Steps+lookSteps, in.req.StepLimit))
	if err := in.look(0); err != nil {
		in.end(err)
	}
}

// reserve is the interpretation's, for what knows the thread alone.
func reserve(thread *starlark.Thread, bytes int) error {
	if bytes < smallBytes {
		return nil
	}
	if in, ok := thread.Local(threadKey).(*interpretation); ok {
		return in.reserve(bytes)
	}
	return nil
}

func note(thread *starlark.Thread, bytes int) error {
	if bytes < smallBytes {
		return nil
	}
	if in, ok := thread.Local(threadKey).(*interpretation); ok {
		return in.note(bytes)
	}
	return nil
}

// shallowBytes is what a copy of a value takes, without what is in it.
func shallowBytes(v starlark.Value) int {
	switch v := v.(type) {
	case starlark.String:
		return len(v)
	case starlark.Bytes:
		return len(v)
	case *starlark.List:
		return elementBytes * v.Len()
	case starlark.Tuple:
		return elementBytes * len(v)
	case *starlark.Dict:
		return entryBytes * v.Len()
	}
	return 0
}

// elementsOf gives what the functions that go through all of an iterable make of n
// elements, in bytes.
var elementsOf = map[string]int{
	"list": elementBytes, "tuple": elementBytes, "reversed": elementBytes, "sorted": 2 * elementBytes,
	"enumerate": elementBytes + tupleBytes + 2*elementBytes, "dict": entryBytes,
}

// reserveElements reserves what such a function makes of its arguments.
func reserveElements(thread *starlark.Thread, name string, args starlark.Tuple) error {
	if len(args) == 0 {
		return nil
	}
	each, n := elementsOf[name], starlark.Len(args[0])
	if name == "zip" {
		each = elementBytes + tupleBytes + elementBytes*len(args)
		for _, arg := range args[1:] {
			n = min(n, starlark.Len(arg))
		}
	}
	if each == 0 {
		return nil
	}
	if n < 0 { // a text's code points
		n = count(args[0])
		thread.Steps += uint64(n)
	}
	if strings.HasPrefix(args[0].Type(), "string.") {
		each += partBytes
	}
	return reserve(thread, each*n)
}

// count counts the elements of what does not know its length, up to the most that
// are taken.
func count(v starlark.Value) (n int) {
	iterable, ok := v.(starlark.Iterable)
	if !ok {
		return 0
	}
	for range starlark.Elements(iterable) {
		if n++; n > maxElements {
			break
		}
	}
	return n
}

// escapes gives at most how many bytes quoting adds to a large text.
func escapes(text string) (n int) {
	if len(text) < smallBytes {
		return 0
	}
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			n += 3
		}
	}
	return n
}

// partsOf gives at most how many parts a text has where it is split.
func partsOf(method, text string, args starlark.Tuple) int {
	if method == "splitlines" {
		return 1 + strings.Count(text, "\n") + strings.Count(text, "\r")
	}
	if len(args) > 0 {
		if separator, ok := starlark.AsString(args[0]); ok && separator != "" {
			return 1 + strings.Count(text, separator)
		}
	}
	spaces := 0
	for i := range len(text) {
		if text[i] <= ' ' {
			spaces++
		}
	}
	return 1 + min(spaces, len(text)/2)
}
