package lang

import (
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// This file bounds sums: texts and lists that are doubled again and again, dicts
// that are united, parts of lists, and arguments that are spread.

// The names of the functions, which no script can write.
const (
	inPlaceName = "+=" // gives its second operand
	partName    = "[:]"
)

// unions are the operators that are replaced whole.
var unions = map[syntax.Token]bool{syntax.PLUS: true, syntax.PIPE: true}

// boundedSums are the functions that boundTexts puts in the place of sums and
// around operands. A part of something may be little of it.
func boundedSums() starlark.StringDict {
	names := starlark.StringDict{
		inPlaceName: starlark.NewBuiltin(inPlaceName, func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			return args[1], reserve(thread, inPlaceBytes(args[0], args[1]))
		}),
		partName: starlark.NewBuiltin(partName, func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			return args[0], note(thread, shallowBytes(args[0]))
		}),
	}
	for op := range unions {
		names[op.String()] = starlark.NewBuiltin(op.String(), func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			x, y := args[0], args[1]
			if err := reserve(thread, shallowBytes(x)+shallowBytes(y)); err != nil {
				return nil, err
			}
			return starlark.Binary(op, x, y)
		})
	}
	return names
}

// inPlaceBytes is what x += y or x |= y makes: a list or a dict becomes longer,
// and moves now and then.
func inPlaceBytes(x, y starlark.Value) int {
	switch x.(type) {
	case *starlark.List, *starlark.Dict:
		more := shallowBytes(y)
		if length := starlark.Len(y); more == 0 && length > 0 {
			more = elementBytes * length // of a range
		}
		if all := shallowBytes(x); more > all/4 {
			return all + more
		}
		return more
	}
	return shallowBytes(x) + shallowBytes(y)
}

// rewriteSum replaces x + y and x | y, where that can make more than a number.
func rewriteSum(e *syntax.BinaryExpr) syntax.Expr {
	if isNumber(e.X) || isNumber(e.Y) || isLiteral(e.X) && isLiteral(e.Y) {
		return e
	}
	return callOf(e.Op.String(), e.OpPos, e.X, e.Y)
}

// rewriteInPlace puts the check into x += y and x |= y, where x is a name: other
// targets must not be evaluated twice, and only what is added is counted for them.
func rewriteInPlace(s *syntax.AssignStmt) {
	if isNumber(s.RHS) {
		return
	}
	if name, simple := s.LHS.(*syntax.Ident); simple {
		s.RHS = callOf(inPlaceName, s.OpPos, &syntax.Ident{NamePos: name.NamePos, Name: name.Name}, s.RHS)
		return
	}
	s.RHS = callOf(partName, s.OpPos, s.RHS)
}

func isNumber(e syntax.Expr) bool {
	literal, ok := e.(*syntax.Literal)
	return ok && (literal.Token == syntax.INT || literal.Token == syntax.FLOAT)
}

// isSum reports the name of a function that stands for a sum, or is around one of
// its operands.
func isSum(name string) bool {
	return name == inPlaceName || name == partName || name == syntax.PLUS.String() || name == syntax.PIPE.String()
}
