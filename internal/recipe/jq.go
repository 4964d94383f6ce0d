package recipe

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"runtime/metrics"
	"slices"
	"sync"

	"github.com/itchyny/gojq"
)

// This file bounds the memory of jq queries. Their steps are counted; what a single
// step could use to make any amount is checked before.

const (
	maxQueryBytes  = 256 << 20 // that a query may have at once
	maxQueryText   = 64 << 20  // bytes that one step repeats
	maxQueryValues = 4_000_000 // in a value that becomes text, or a result
	queryLook      = 512       // steps between two looks
	queryMade      = 16 << 20  // bytes of sums and products between two looks
)

var errQueryMemory = fmt.Errorf("it needs more than %d MiB of memory", maxQueryBytes>>20)

// frugal is a context that ends when the heap grows too much. The interpreter asks
// for Done before each of its steps, on its own goroutine.
type frugal struct {
	context.Context
	start uint64
	steps uint
	made  int           // bytes since the last look
	over  chan struct{} // closed: too much was used
	err   error
}

func newFrugal(ctx context.Context) *frugal {
	return &frugal{Context: ctx, start: heapBytes(), over: make(chan struct{})}
}

// Done looks at the heap now and then.
func (f *frugal) Done() <-chan struct{} {
	if f.err != nil {
		return f.over
	}
	if f.steps++; (f.steps%queryLook == 0 || f.made > queryMade) && f.much() {
		if runtime.GC(); f.much() {
			f.err = errQueryMemory
			close(f.over)
			return f.over
		}
	}
	return f.Context.Done()
}

// Err tells why the query has to end.
func (f *frugal) Err() error {
	if f.err != nil {
		return f.err
	}
	return context.Cause(f.Context)
}

func (f *frugal) much() bool {
	f.made = 0
	return heapBytes() > f.start+maxQueryBytes
}

// making counts what an operator has made.
func (f *frugal) making(v any) any {
	const each = 16 // bytes of a value in an array
	switch v := v.(type) {
	case string:
		f.made += len(v)
	case []any:
		f.made += each * len(v)
	case map[string]any:
		f.made += each * len(v)
	}
	return v
}

func heapBytes() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// The functions that queries are rewritten to; the language's own names begin with
// no letter of ours.
const (
	smallFunc = "_lepto_small" // its input, unless it is too large to be gone through
	timesFunc = "_lepto_times" // a product
	plusFunc  = "_lepto_plus"  // a sum
)

// wholeFuncs are functions that go through all of their input in one step.
var wholeFuncs = []string{"tojson", "tostring", "flatten", "add", "join", "implode", "sort", "unique", "min", "max", "error"}

var comparing = []gojq.Operator{gojq.OpEq, gojq.OpNe, gojq.OpGt, gojq.OpLt, gojq.OpGe, gojq.OpLe}

// boundQuery rewrites all of a query in place.
func boundQuery(node reflect.Value) {
	switch node.Kind() {
	case reflect.Pointer:
		if node.IsNil() {
			return
		}
		boundQuery(node.Elem())
		switch n := node.Interface().(type) {
		case *gojq.Query:
			boundOperands(n)
		case *gojq.Term:
			boundTerm(n)
		}
	case reflect.Struct:
		for i := range node.NumField() {
			boundQuery(node.Field(i))
		}
	case reflect.Slice:
		for i := range node.Len() {
			boundQuery(node.Index(i))
		}
	}
}

func boundOperands(q *gojq.Query) {
	if slices.Contains(comparing, q.Op) {
		q.Left, q.Right = smallOf(q.Left), smallOf(q.Right)
	}
	switch q.Op {
	case gojq.OpMul:
		*q = gojq.Query{FuncDefs: q.FuncDefs, Term: call(timesFunc, q.Left, q.Right)}
	case gojq.OpAdd:
		*q = gojq.Query{FuncDefs: q.FuncDefs, Term: call(plusFunc, q.Left, q.Right)}
	}
}

// boundTerm checks the input of a term, and what is put into a string.
func boundTerm(t *gojq.Term) {
	if t.Str != nil {
		for i, part := range t.Str.Queries {
			if part.Term == nil || part.Term.Str == nil {
				t.Str.Queries[i] = &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeQuery, Query: smallOf(part)}}
			}
		}
	}
	whole := t.Type == gojq.TermTypeFormat || t.Type == gojq.TermTypeFunc && slices.Contains(wholeFuncs, t.Func.Name)
	if !whole {
		return
	}
	inner := *t
	inner.SuffixList = nil
	pipe := &gojq.Query{Left: &gojq.Query{Term: call(smallFunc)}, Op: gojq.OpPipe, Right: &gojq.Query{Term: &inner}}
	*t = gojq.Term{Type: gojq.TermTypeQuery, Query: pipe, SuffixList: t.SuffixList}
}

func call(name string, args ...*gojq.Query) *gojq.Term {
	return &gojq.Term{Type: gojq.TermTypeFunc, Func: &gojq.Func{Name: name, Args: args}}
}

func smallOf(q *gojq.Query) *gojq.Query {
	return &gojq.Query{Left: q, Op: gojq.OpPipe, Right: &gojq.Query{Term: call(smallFunc)}}
}

// functions are those that queries are rewritten to.
func (f *frugal) functions() []gojq.CompilerOption {
	return []gojq.CompilerOption{
		gojq.WithFunction(smallFunc, 0, 0, func(v any, _ []any) any {
			if err := checkSize(v); err != nil {
				return err
			}
			return v
		}),
		gojq.WithFunction(timesFunc, 2, 2, func(_ any, args []any) any { return f.making(times(args[0], args[1])) }),
		gojq.WithFunction(plusFunc, 2, 2, func(_ any, args []any) any { return f.making(plus(args[0], args[1])) }),
	}
}

// The language's own operators.
var (
	product = operator("*")
	sum     = operator("+")
)

func operator(op string) func(x, y any) any {
	code := sync.OnceValue(func() *gojq.Code {
		parsed, err := gojq.Parse(".[0] " + op + " .[1]")
		if err != nil {
			panic(err) // a constant
		}
		code, err := gojq.Compile(parsed)
		if err != nil {
			panic(err)
		}
		return code
	})
	return func(x, y any) any {
		value, _ := code().Run([]any{x, y}).Next()
		return value
	}
}

func plus(x, y any) any {
	switch x := x.(type) {
	case int:
		if y, ok := y.(int); ok && (x+y > x) == (y > 0) {
			return x + y
		}
	case string:
		if y, ok := y.(string); ok {
			if len(x)+len(y) > maxQueryText {
				return fmt.Errorf("a string of %d bytes is too large", len(x)+len(y))
			}
			return x + y
		}
	case []any:
		if y, ok := y.([]any); ok && len(x)+len(y) > maxQueryValues {
			return fmt.Errorf("an array of %d values is too large", len(x)+len(y))
		}
	}
	return sum(x, y)
}

func times(x, y any) any {
	text, isText := x.(string)
	n := y
	if !isText {
		text, isText = y.(string)
		n = x
	}
	if count, ok := gojq.ToFloat64(n); isText && ok && count*float64(len(text)) > maxQueryText {
		return fmt.Errorf("a string of %d bytes, %v times, is too large", len(text), n)
	}
	return product(x, y)
}

// checkSize refuses a value that is too large with all that is in it, where what is
// shared counts each time.
func checkSize(v any) error {
	switch v := v.(type) {
	case nil, bool, int, float64:
		return nil
	case string:
		if len(v) <= maxQueryText {
			return nil
		}
	}
	values, bytes := 0, 0
	var add func(v any) bool
	add = func(v any) bool {
		if values++; values > maxQueryValues || bytes > maxQueryBytes {
			return false
		}
		switch v := v.(type) {
		case string:
			bytes += len(v)
		case []any:
			return !slices.ContainsFunc(v, func(item any) bool { return !add(item) })
		case map[string]any:
			for key, item := range v {
				if bytes += len(key); !add(item) {
					return false
				}
			}
		}
		return true
	}
	if !add(v) {
		return errors.New("a value in it is too large")
	}
	return nil
}
