package recipe

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestQueriesAreBounded: queries that grow without end are ended, each soon.
func TestQueriesAreBounded(t *testing.T) {
	for _, text := range []string{
		`"x" * 1000000000`, `1000000000 * "x"`, `"x" | until(false; . + .)`, `[0] | until(false; . + .)`, `("x" * 60000000) as $s | [range(1000) | $s + "x"]`,
		`reduce range(60) as $i ([0]; [., .])`,
		`reduce range(60) as $i ([0]; [., .]) | tojson | length`, `reduce range(60) as $i ([0]; [., .]) | tostring`,
		`reduce range(60) as $i ([0]; [., .]) | @json`, `reduce range(60) as $i ([0]; [., .]) | "\(.)"`,
		`reduce range(60) as $i ([0]; [., .]) | . == (. | map(.))`, `reduce range(60) as $i ([0]; [., .]) | flatten`,
		`reduce range(60) as $i ([0]; [., .]) | error`, `("x" * 10000000) as $s | [range(10000) | $s] | add | length`,
	} {
		start := heapBytes()
		began := time.Now()
		v, err := query(text, map[string]any{})
		if err == nil {
			t.Errorf("%s: got %.100s", text, v)
		}
		t.Logf("%s: %s, %d MiB: %.120v", text, time.Since(began).Round(time.Millisecond), (max(heapBytes(), start)-start)>>20, err)
	}
}

// TestBoundedQueriesMeanTheSame: what is put into a query changes no result.
func TestBoundedQueriesMeanTheSame(t *testing.T) {
	for text, want := range map[string]string{
		`2 * 3`: "6", `"ab" * 2`: `"abab"`, `2.5 * 2`: "5", `{"a": {"b": 1}} * {"a": {"c": 2}}`: `{"a": {"b": 1, "c": 2}}`,
		`9223372036854775807 + 1`: "9223372036854775808", `1 + 0`: "1", `-3 + 1`: "-2",
		`"a" + "b"`: `"ab"`, `.[1] + [4]`: "[2, 3, 4]", `null + 1`: "1", `.[0] += 1 | .[0]`: "2", `{} + {"a": 1}`: `{"a": 1}`, `1 + "a"`: "cannot add",
		`[1, 2] as [$a, $b] | $a * $b + 1`: "3", `[(1, 2) * (3, 4)]`: "[3, 6, 4, 8]", `[.[]] | tojson`: `"[1,[2,3]]"`,
		`"a\(1 + 1)b\(.[1])"`: `"a2b[2,3]"`, `@base64 "x\(1)"`: `"xMQ=="`, `.[1] | @csv`: `"2,3"`, `.[1] == [2, 3]`: "True",
		`[.[1][] | select(. > 2)]`: "[3]", `.[1] | add`: "5", `flatten`: "[1, 2, 3]", `.[1] | map(tostring) | join("-")`: `"2-3"`,
		`def f(x): x * 2; f(.[0])`: "2", `try error("no") catch .`: `"no"`, `.[1] | tostring | .[0:2]`: `"[2"`, `.[0] *= 5 | .[0]`: "5",
		`"a" * {}`: "cannot multiply", `if .[0] == 1 then "y" else "n" end`: `"y"`, `reduce .[1][] as $x (1; . * $x)`: "6",
	} {
		v, err := query(text, []any{1, []any{2, 3}})
		got := fmt.Sprint(v)
		if err != nil {
			got = err.Error()
		}
		if got != want && (err == nil || !strings.Contains(got, want)) {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}
