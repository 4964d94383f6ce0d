package lang

import (
	"fmt"
	"reflect"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/plan"
)

// Kind says what a builtin is.
type Kind string

// The kinds.
const (
	KindInstruction Kind = "instruction" // a member of plan
	KindType        Kind = "type"        // a predeclared constructor
	KindFunction    Kind = "function"    // another predeclared function
)

// A Builtin is an instruction, type or function that a Host offers. Make one with
// Instruction or Type.
type Builtin struct {
	kind   Kind
	name   string
	schema *schema
	call   func(*starlark.Thread, []starlark.Value) (starlark.Value, error)

	constants starlark.Value // of KindConstants
	unlisted  bool           // dir(plan) does not show it
}

// Unlisted makes it one that dir(plan) does not show: what Kurtosis 1.20 does not
// have.
func (b Builtin) Unlisted() Builtin {
	b.unlisted = true
	return b
}

// Name gives the name that scripts use.
func (b Builtin) Name() string { return b.name }

// value makes the Starlark function.
func (b Builtin) value() *starlark.Builtin {
	return starlark.NewBuiltin(b.name, func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		bound, problems := b.schema.bind(args, kwargs)
		if len(problems) > 0 {
			// What was bound is checked as well, so that all is told at once.
			problems = append(problems, b.schema.construct(bound)...)
			return nil, b.argsError(problems)
		}
		return b.call(thread, bound)
	})
}

func (b Builtin) argsError(problems []Problem) error {
	return &ArgsError{Builtin: b.name, Problems: problems}
}

// Instruction declares an instruction of the plan. A is the struct of its
// parameters; build makes the step of a call and the value that the script gets
// (nil is None). build runs no side effect; its error is reported at the call.
func Instruction[A any](name string, build func(*Call, *A) (plan.Step, starlark.Value, error)) Builtin {
	b := Builtin{kind: KindInstruction, name: name, schema: schemaOf(reflect.TypeFor[A]())}
	b.call = func(thread *starlark.Thread, bound []starlark.Value) (starlark.Value, error) {
		args := new(A)
		if problems := b.schema.fill(bound, reflect.ValueOf(args)); len(problems) > 0 {
			return nil, b.argsError(problems)
		}
		c, err := newCall(thread, b, bound)
		if err != nil {
			return nil, err
		}
		step, value, err := build(c, args)
		if err != nil {
			if problems, ok := asArgsError(err); ok && problems.Builtin == "" {
				problems.Builtin = name
			}
			return nil, err
		}
		if value == nil {
			value = starlark.None
		}
		return value, c.in.add(c, step, value)
	}
	return b
}

// Type declares a type: its constructor has T's parameters and its objects their
// given arguments as attributes. T's name is the type's name.
func Type[T any]() Builtin {
	t := reflect.TypeFor[T]()
	typ := &objectType{name: t.Name(), schema: schemaOf(t)}
	b := Builtin{kind: KindType, name: typ.name, schema: typ.schema}
	b.call = func(thread *starlark.Thread, bound []starlark.Value) (starlark.Value, error) {
		if problems := typ.schema.construct(bound); len(problems) > 0 {
			return nil, b.argsError(problems)
		}
		return &Object{typ: typ, args: bound, made: callerFrame(thread)}, nil
	}
	return b
}

// function declares a predeclared function with the parameters of A.
func function[A any](name string, run func(*interpretation, *starlark.Thread, *A) (starlark.Value, error)) Builtin {
	b := Builtin{kind: KindFunction, name: name, schema: schemaOf(reflect.TypeFor[A]())}
	b.call = func(thread *starlark.Thread, bound []starlark.Value) (starlark.Value, error) {
		args := new(A)
		if problems := b.schema.fill(bound, reflect.ValueOf(args)); len(problems) > 0 {
			return nil, b.argsError(problems)
		}
		return run(interpretationOf(thread), thread, args)
	}
	return b
}

// callerFrame gives the place of the call of the builtin that runs.
func callerFrame(thread *starlark.Thread) fault.Frame {
	if thread.CallStackDepth() < 2 {
		return fault.Frame{}
	}
	return frameOf(thread.CallFrame(1))
}

func frameOf(f starlark.CallFrame) fault.Frame {
	return fault.Frame{File: f.Pos.Filename(), Line: int(f.Pos.Line), Col: int(f.Pos.Col), Func: f.Name}
}

// isUserFrame tells frames of scripts from those of builtins, which have no place.
func isUserFrame(f starlark.CallFrame) bool {
	return f.Pos.IsValid() && f.Pos.Filename() != "<builtin>"
}

// userFrames gives the frames of scripts, innermost first.
func userFrames(stack starlark.CallStack) []fault.Frame {
	var frames []fault.Frame
	for i := len(stack) - 1; i >= 0; i-- {
		if isUserFrame(stack[i]) {
			frames = append(frames, frameOf(stack[i]))
		}
	}
	return frames
}

// duplicate names a builtin declared twice; empty if none is.
func duplicate(builtins []Builtin) string {
	seen := map[string]bool{}
	for _, b := range builtins {
		if seen[b.name] {
			return fmt.Sprintf("%s %s", b.kind, b.name)
		}
		seen[b.name] = true
	}
	return ""
}
