package lang

import (
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file defines the checks that a parameter's tag may name.

// check is a rule for a parameter's value, on top of its type.
type check struct {
	words string // for the reference: "one of TCP, UDP"
	apply func(v starlark.Value) error
}

// parseCheck reads a check tag. It panics on a wrong one.
func parseCheck(tag string) *check {
	kind, rest, _ := strings.Cut(tag, "=")
	switch kind {
	case "nonempty":
		return &check{"not empty", nonEmpty}
	case "nonempty-items":
		return &check{"none of them empty", nonEmptyItems}
	case "duration":
		return &check{`a duration such as "90s" or "2m30s"`, aDuration}
	case "delay":
		return &check{`a duration such as "90s" or "2m30s", not below zero`, aDelay}
	case "duration?":
		return &check{`a duration such as "90s" or "2m30s"; an empty one is as none`, emptyOr(aDuration)}
	case "query":
		return &check{"not empty, and well formed as a URL's query", aQuery}
	case "min":
		return minimum(rest)
	case "range":
		low, high, _ := strings.Cut(rest, "..")
		return between(low, high)
	case "enum":
		return oneOf(strings.Split(rest, "|"))
	case "match":
		return matching(regexp.MustCompile(rest))
	}
	panic(fmt.Sprintf("lang: unknown check %q", tag))
}

func nonEmpty(v starlark.Value) error {
	if starlark.Len(v) == 0 {
		return fmt.Errorf("must not be empty")
	}
	return nil
}

// nonEmptyItems refuses a list with an empty text in it.
func nonEmptyItems(v starlark.Value) error {
	items, ok := v.(starlark.Sequence)
	if !ok {
		return nil // the type is wrong, which is told apart
	}
	i := 0
	for item := range starlark.Elements(items) {
		if item == starlark.String("") {
			return fmt.Errorf("must not be empty at [%d]", i)
		}
		i++
	}
	return nil
}

// emptyOr takes an empty text, or what a check takes.
func emptyOr(apply func(starlark.Value) error) func(starlark.Value) error {
	return func(v starlark.Value) error {
		if v == starlark.String("") {
			return nil
		}
		return apply(v)
	}
}

// aQuery checks a URL as Kurtosis does, which takes it for a query.
func aQuery(v starlark.Value) error {
	s, ok := starlark.AsString(v)
	if !ok {
		return nil // the type is wrong, which is told apart
	}
	if s == "" {
		return errors.New("must not be empty")
	}
	if _, err := url.ParseQuery(s); err != nil {
		return fmt.Errorf("is %q, which can't be parsed", s)
	}
	return nil
}

func aDuration(v starlark.Value) error {
	s, ok := starlark.AsString(v)
	if !ok {
		return nil // the type is wrong, which is told apart
	}
	_, err := ParseDuration(s)
	return err
}

// aDelay checks a duration that is not below zero.
func aDelay(v starlark.Value) error {
	s, ok := starlark.AsString(v)
	if !ok {
		return nil
	}
	d, err := ParseDuration(s)
	if err == nil && d < 0 {
		err = fmt.Errorf("%q is negative", s)
	}
	return err
}

// ParseDuration reads a duration as scripts write it. Kurtosis takes those below
// zero, too, which are over at once.
func ParseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf(`%q is no duration; write one such as "90s" or "2m30s"`, s)
	}
	return d, nil
}

func minimum(low string) *check {
	least := bigInt(low)
	return &check{"at least " + low, func(v starlark.Value) error {
		if i, ok := v.(starlark.Int); ok && i.BigInt().Cmp(least) < 0 {
			return fmt.Errorf("must be at least %s, not %s", low, i)
		}
		return nil
	}}
}

func between(low, high string) *check {
	least, most := bigInt(low), bigInt(high)
	return &check{low + " to " + high, func(v starlark.Value) error {
		if i, ok := v.(starlark.Int); ok && (i.BigInt().Cmp(least) < 0 || i.BigInt().Cmp(most) > 0) {
			return fmt.Errorf("must be %s to %s, not %s", low, high, i)
		}
		return nil
	}}
}

func bigInt(s string) *big.Int {
	i, ok := new(big.Int).SetString(s, 10)
	if !ok {
		panic(fmt.Sprintf("lang: %q is no integer", s))
	}
	return i
}

func oneOf(allowed []string) *check {
	words := strings.Join(allowed, ", ")
	return &check{"one of " + words, func(v starlark.Value) error {
		s, ok := starlark.AsString(v)
		if !ok || slices.Contains(allowed, s) {
			return nil
		}
		if near := fault.Nearest(s, allowed); near != "" {
			return fmt.Errorf("must be one of %s, not %q; did you mean %q?", words, s, near)
		}
		return fmt.Errorf("must be one of %s, not %q", words, s)
	}}
}

func matching(pattern *regexp.Regexp) *check {
	return &check{"matching " + pattern.String(), func(v starlark.Value) error {
		if s, ok := starlark.AsString(v); ok && !pattern.MatchString(s) {
			return fmt.Errorf("must match %s, which %q does not", pattern, s)
		}
		return nil
	}}
}
