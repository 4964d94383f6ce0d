package recipe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/itchyny/gojq"
	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file extracts values with jq (starlark spec §5.2).

// maxExtract bounds the time of one query: jq has loops without end.
const maxExtract = 10 * time.Second

// extractInto runs the queries on a command's output, as one JSON string.
func extractInto(fields map[string]starlark.Value, extract map[string]string, output string) error {
	return extractFrom(fields, extract, func() (any, error) { return strings.ToValidUTF8(output, "\uFFFD"), nil })
}

// extractFrom runs the queries on the input, which is made only if there are any.
func extractFrom(fields map[string]starlark.Value, extract map[string]string, input func() (any, error)) error {
	if len(extract) == 0 {
		return nil
	}
	in, err := input()
	if err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(extract)) {
		value, err := query(extract[key], in)
		if err != nil {
			return fault.New("E0505", "extract %q with the jq query %q: %w", key, extract[key], err)
		}
		fields[extractField+key] = value
	}
	return nil
}

// decodeBody reads a response's body as JSON.
func decodeBody(body string) (any, error) {
	d := json.NewDecoder(bytes.NewReader([]byte(body)))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		return nil, fault.New("E0506", "extract from the response: its body is no JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fault.New("E0506", "extract from the response: its body is no JSON: there is more after the value")
	}
	return value, nil
}

// query gives the value of a jq query: nulls are dropped; several results are a
// list. An error in the middle counts as no result, as long as there is one.
func query(text string, input any) (starlark.Value, error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), maxExtract, fault.ErrTimeout)
	defer cancel()
	frugal := newFrugal(ctx)
	code, err := compile(text, frugal)
	if err != nil {
		return nil, err
	}
	var results []starlark.Value
	var last error
	iter := code.RunWithContext(frugal, input)
	for value, ok := iter.Next(); ok; value, ok = iter.Next() {
		if context.Cause(ctx) != nil {
			return nil, fmt.Errorf("it did not end within %s", maxExtract)
		}
		if frugal.err != nil {
			return nil, frugal.err
		}
		if err, failed := value.(error); failed {
			last = err
			continue
		}
		if err := checkSize(value); err != nil {
			return nil, err
		}
		if value != nil {
			results = append(results, toStarlark(value))
		}
		if len(results) > maxResults {
			return nil, fmt.Errorf("it gives more than %d results", maxResults)
		}
	}
	switch {
	case len(results) == 1:
		return results[0], nil
	case len(results) > 1:
		return starlark.NewList(results), nil
	case last != nil:
		return nil, fmt.Errorf("it finds nothing: %w", last)
	}
	return nil, errors.New("it finds nothing")
}

func compile(text string, in *frugal) (*gojq.Code, error) {
	parsed, err := gojq.Parse(text)
	if err != nil {
		return nil, err
	}
	boundQuery(reflect.ValueOf(parsed))
	return gojq.Compile(parsed, in.functions()...)
}

// maxResults bounds the results of one query.
const maxResults = 1_000_000

// toStarlark gives a jq value as a Starlark value: numbers that are integers are
// ints, and null inside a container is the text that the original gives for it.
func toStarlark(value any) starlark.Value {
	switch v := value.(type) {
	case nil:
		return starlark.String("<nil>")
	case bool:
		return starlark.Bool(v)
	case string:
		return starlark.String(v)
	case int:
		return starlark.MakeInt(v)
	case *big.Int:
		return starlark.MakeBigInt(v)
	case float64:
		return fromFloat(v)
	case json.Number:
		return fromNumber(v)
	case []any:
		items := make([]starlark.Value, len(v))
		for i, item := range v {
			items[i] = toStarlark(item)
		}
		return starlark.NewList(items)
	case map[string]any:
		dict := starlark.NewDict(len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if err := dict.SetKey(starlark.String(key), toStarlark(v[key])); err != nil {
				panic(err) // a string key of a new dict can't fail
			}
		}
		return dict
	}
	return starlark.String(fmt.Sprint(value))
}

func fromFloat(f float64) starlark.Value {
	if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		return starlark.MakeInt64(int64(f))
	}
	return starlark.Float(f)
}

func fromNumber(n json.Number) starlark.Value {
	if i, ok := new(big.Int).SetString(n.String(), 10); ok {
		return starlark.MakeBigInt(i)
	}
	f, err := n.Float64()
	if err != nil {
		return starlark.String(n.String())
	}
	return fromFloat(f)
}
