package lang

import (
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file bounds what a script can make in a single step. The watch of guard.go
// ends a script between two steps; list(range(1000000000)) and [0] * 1000000000
// are one step each, and 16 GB.

const (
	// maxElements bounds a list, tuple or the like that one step makes: 16M
	// elements, 256 MB.
	maxElements = 1 << 24
	// maxBytes bounds a string or bytes that a repetition makes.
	maxBytes = 256 << 20
	// maxBits bounds a product of integers; a product of two numbers of half that
	// size takes some milliseconds.
	maxBits = 1 << 20
)

func tooMuch(format string, args ...any) error {
	return fault.New("E0205", format, args...).WithHint("look for a list, text or number that grows without end")
}

// boundedBuiltins are functions of the universe that go through all of an
// iterable before the next step.
func boundedBuiltins() starlark.StringDict {
	names := starlark.StringDict{"range": starlark.NewBuiltin("range", boundedRange)}
	for _, name := range []string{"list", "tuple", "sorted", "reversed", "enumerate", "zip", "any", "all", "max", "min", "dict", "int"} {
		inner := starlark.Universe[name].(*starlark.Builtin)
		check := argChecks[name]
		names[name] = starlark.NewBuiltin(name, func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
			for _, arg := range args {
				if n := starlark.Len(arg); n > maxElements {
					return nil, tooMuch("%s: %s of %d elements is too long; at most %d are taken", name, article(arg.Type()), n, maxElements)
				}
			}
			if check != nil {
				var err error
				if kwargs, err = check(thread, args, kwargs); err != nil {
					return nil, err
				}
			}
			if err := reserveElements(thread, name, args); err != nil {
				return nil, err
			}
			return inner.CallInternal(thread, args, kwargs)
		})
	}
	return names
}

// argChecks are what some of these functions check of their arguments beyond the
// length; they may replace those that are given by keyword.
var argChecks = map[string]func(*starlark.Thread, starlark.Tuple, []starlark.Tuple) ([]starlark.Tuple, error){
	"sorted": checkOrdered, "max": checkOrdered, "min": checkOrdered,
	"dict": func(thread *starlark.Thread, args starlark.Tuple, kwargs []starlark.Tuple) ([]starlark.Tuple, error) {
		return kwargs, checkPairs(thread, args)
	},
	"int": func(_ *starlark.Thread, args starlark.Tuple, kwargs []starlark.Tuple) ([]starlark.Tuple, error) {
		return kwargs, checkDigits(args)
	},
}

// rangeOf is what the library's range gives.
type rangeOf interface {
	starlark.Indexable
	starlark.Sliceable
	starlark.Sequence
	starlark.Comparable
	starlark.Container
}

// scriptRange is a range whose iteration ends with the script: a for loop over a
// long one is fine, and what a builtin makes of it stops growing once the watch
// has ended the script.
type scriptRange struct {
	rangeOf
	in *interpretation
}

var rangeBuiltin = starlark.Universe["range"].(*starlark.Builtin)

func boundedRange(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	made, err := rangeBuiltin.CallInternal(thread, args, kwargs)
	if err != nil {
		return nil, err
	}
	return scriptRange{made.(rangeOf), interpretationOf(thread)}, nil
}

// Slice gives a part, as a range.
func (r scriptRange) Slice(start, end, step int) starlark.Value {
	return scriptRange{r.rangeOf.Slice(start, end, step).(rangeOf), r.in}
}

// CompareSameType compares the numbers of two ranges.
func (r scriptRange) CompareSameType(op syntax.Token, other starlark.Value, depth int) (bool, error) {
	return r.rangeOf.CompareSameType(op, other.(scriptRange).rangeOf, depth)
}

// Iterate goes through the numbers.
func (r scriptRange) Iterate() starlark.Iterator {
	return &rangeIterator{Iterator: r.rangeOf.Iterate(), in: r.in}
}

type rangeIterator struct {
	starlark.Iterator
	in *interpretation
	n  uint
}

// Next gives the next number; none once the script has been ended, which is
// looked up now and then only.
func (it *rangeIterator) Next(p *starlark.Value) bool {
	it.n++
	if it.n%4096 == 0 && it.in.endedBy() != nil {
		return false
	}
	return it.Iterator.Next(p)
}

// productName is the predeclared name, which no script can write, of the function
// that makes the right operand of a product a factor.
const productName = "*"

// boundProducts makes x * y of a file x * factor(y), and x *= y likewise: the
// operator itself asks nobody how large its result may be.
func boundProducts(f *syntax.File) {
	wrap := func(at syntax.Position, y syntax.Expr) syntax.Expr {
		return &syntax.CallExpr{
			Fn: &syntax.Ident{NamePos: at, Name: productName}, Lparen: at, Args: []syntax.Expr{y}, Rparen: at,
		}
	}
	syntax.Walk(f, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.BinaryExpr:
			if n.Op == syntax.STAR {
				n.Y = wrap(n.OpPos, n.Y)
			}
		case *syntax.AssignStmt:
			if n.Op == syntax.STAR_EQ {
				n.RHS = wrap(n.OpPos, n.RHS)
			}
		}
		return true
	})
}

func makeFactor(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
	switch args[0].(type) {
	case starlark.Int, starlark.String, starlark.Bytes, *starlark.List, starlark.Tuple:
		return factor{args[0], thread}, nil
	}
	return args[0], nil // what has no size to grow
}

// factor is the right operand of a product.
type factor struct {
	starlark.Value
	thread *starlark.Thread
}

var _ starlark.HasBinary = factor{}

// Binary multiplies what is within bounds.
func (f factor) Binary(op syntax.Token, x starlark.Value, _ starlark.Side) (starlark.Value, error) {
	if err := checkProduct(x, f.Value); err != nil {
		return nil, err
	}
	if err := reserve(f.thread, productBytes(x, f.Value)); err != nil {
		return nil, err
	}
	return starlark.Binary(op, x, f.Value)
}

// productBytes is what a product within bounds makes, in bytes.
func productBytes(x, y starlark.Value) int {
	n, isNumber := x.(starlark.Int)
	if !isNumber {
		n, isNumber = y.(starlark.Int)
		y = x
	}
	times, ok := n.Int64()
	if each := shallowBytes(y); isNumber && ok && times > 0 && each > 0 {
		return each * int(times)
	}
	return 0
}

// checkProduct refuses a product that is too large, with any order of operands.
func checkProduct(x, y starlark.Value) error {
	n, isNumber := x.(starlark.Int)
	if !isNumber {
		n, isNumber = y.(starlark.Int)
		y = x
	}
	if !isNumber {
		return nil // no product at all, which the operator says
	}
	if m, ok := y.(starlark.Int); ok {
		if bits := n.BigInt().BitLen() + m.BigInt().BitLen(); bits > maxBits {
			return tooMuch("the product would have %d bits; a number has at most %d here", bits, maxBits)
		}
		return nil
	}
	most := maxElements
	switch y.(type) {
	case starlark.String, starlark.Bytes:
		most = maxBytes
	}
	times, ok := n.Int64()
	if length := starlark.Len(y); n.Sign() > 0 && length > 0 && (!ok || times > int64(most/length)) {
		return tooMuch("%s of length %d, %s times, is too large", article(y.Type()), length, n)
	}
	return nil
}
