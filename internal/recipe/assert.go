package recipe

import (
	"fmt"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file compares values (starlark spec §5.1). Unlike the original it compares
// lists and dicts at any depth, and members by equality.

// maxDepth bounds how deep compared values may be nested.
const maxDepth = 1000

var operators = map[string]syntax.Token{
	"==": syntax.EQL, "!=": syntax.NEQ,
	">=": syntax.GE, ">": syntax.GT, "<=": syntax.LE, "<": syntax.LT,
}

// Assertions lists the assertions.
var Assertions = []string{"==", "!=", ">=", ">", "<=", "<", "IN", "NOT_IN"}

// Assert is an E0507 unless the value compares to the target as the assertion
// says. Values of different types never do, and never differ either.
func Assert(value starlark.Value, assertion string, target starlark.Value) error {
	return AssertAs("verification", value, assertion, target)
}

// AssertAs is Assert in the words of another instruction: word is what failed.
func AssertAs(word string, value starlark.Value, assertion string, target starlark.Value) error {
	holds, err := compare(value, assertion, target)
	if err != nil {
		return fault.New("E0507", "%s failed '%s' '%s' '%s': %w", word, value, assertion, target, err)
	}
	if !holds {
		return fault.New("E0507", "%s failed '%s' '%s' '%s'", word, value, assertion, target)
	}
	return nil
}

func compare(value starlark.Value, assertion string, target starlark.Value) (bool, error) {
	if op, ok := operators[assertion]; ok {
		if value.Type() != target.Type() {
			return false, fmt.Errorf("the types differ: %s and %s", value.Type(), target.Type())
		}
		return starlark.CompareDepth(op, value, target, maxDepth)
	}
	items, ok := target.(starlark.Iterable)
	if !ok {
		return false, fmt.Errorf("can't look in %s, which has no items", target.Type())
	}
	found, err := contains(items, value)
	switch assertion {
	case "IN":
		return found, err
	case "NOT_IN":
		return !found, err
	}
	return false, fmt.Errorf("unknown assertion; there are %s", strings.Join(Assertions, ", "))
}

func contains(items starlark.Iterable, value starlark.Value) (bool, error) {
	iter := items.Iterate()
	defer iter.Done()
	var item starlark.Value
	for iter.Next(&item) {
		if item.Type() != value.Type() {
			continue
		}
		if equal, err := starlark.EqualDepth(item, value, maxDepth); err != nil || equal {
			return equal, err
		}
	}
	return false, nil
}

// A Condition compares a field of a result with a target.
type Condition struct {
	Field     string
	Assertion string
	Target    starlark.Value
}

// Check is an error unless the result has the field and it compares.
func (c Condition) Check(r Result) error {
	value, ok := r.Fields[c.Field]
	if !ok {
		return fault.New("E0508", "the result has no field %q", c.Field).
			WithHint("a result has code, output or body, and extract.<name> for each extractor")
	}
	return Assert(value, c.Assertion, c.Target)
}
