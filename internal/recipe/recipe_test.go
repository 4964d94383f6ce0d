package recipe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
)

func value(t *testing.T, text string) starlark.Value {
	t.Helper()
	v, err := starlark.EvalOptions(&syntax.FileOptions{Set: true}, &starlark.Thread{}, "value", text, nil)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestAssert(t *testing.T) {
	for _, c := range []struct {
		value, op, target string
		want              string // "" holds; "no" does not; else a part of the error
	}{
		{"1", "==", "1", ""}, {"1", "==", "2", "no"}, {"1", "!=", "2", ""},
		{"1", "<", "2", ""}, {"2", "<=", "2", ""}, {"3", ">", "2", ""}, {"1", ">=", "2", "no"},
		{"'b'", ">", "'a'", ""}, {"'9'", ">", "'1449'", ""}, {"True", ">", "False", ""}, {"1.5", "<", "2.5", ""},
		{"'0'", "==", "0", "types differ"}, {"'0'", "!=", "0", "types differ"}, {"1", "==", "1.0", "types differ"},
		{"[1, [2, {'a': 3}]]", "==", "[1, [2, {'a': 3}]]", ""}, {"[1, 2]", "<", "[1, 3]", ""},
		{"{'a': 1}", "==", "{'a': 2}", "no"}, {"{'a': 1}", "<", "{'a': 2}", "not implemented"},
		{"'a'", "IN", "['a', 1]", ""}, {"'b'", "IN", "['a']", "no"}, {"'b'", "NOT_IN", "['a']", ""},
		{"1", "IN", "[1.0, '1', True]", "no"}, {"1", "NOT_IN", "(1.0,)", ""},
		{"[1]", "IN", "[[1]]", ""}, {"12345678901234567890", "IN", "[12345678901234567890]", ""},
		{"'k'", "IN", "{'k': 1}", ""}, {"'a'", "IN", "'abc'", "has no items"}, {"1", "~", "[1]", "unknown assertion"},
	} {
		err := Assert(value(t, c.value), c.op, value(t, c.target))
		switch {
		case c.want == "" && err != nil, c.want != "" && err == nil:
			t.Errorf("%s %s %s: got %v", c.value, c.op, c.target, err)
		case c.want != "" && c.want != "no" && !strings.Contains(err.Error(), c.want):
			t.Errorf("%s %s %s: got %v", c.value, c.op, c.target, err)
		}
	}
}

func TestExtract(t *testing.T) {
	const body = `{"n": 1.0, "big": 12345678901234567890, "f": 2.5, "s": "x", "l": [1, null, {"k": true}], "z": null, "e": 1e3}`
	for query, want := range map[string]string{
		".n": "1", ".big": "12345678901234567890", ".f": "2.5", ".s": `"x"`, ".e": "1000",
		".l": `[1, "<nil>", {"k": True}]`, ".l[]": `[1, {"k": True}]`, ".l | length": "3",
		".z": "it finds nothing", ".none": "it finds nothing", ".s.t": "it finds nothing: expected an object",
		"]": "unexpected token", "$x": "variable not defined", "[.n, .f] | add": "3.5",
	} {
		fields := map[string]starlark.Value{}
		err := extractFrom(fields, map[string]string{"k": query}, func() (any, error) { return decodeBody(body) })
		got := fmt.Sprint(fields["extract.k"])
		if err != nil {
			got = err.Error()
		}
		if got != want && (err == nil || !strings.Contains(got, want)) {
			t.Errorf("%s: got %s, want %s", query, got, want)
		}
	}
	fields := map[string]starlark.Value{}
	if err := extractInto(fields, map[string]string{"k": "fromjson | .a", "raw": "."}, `{"a": "b\u0000"}`); err != nil {
		t.Fatal(err)
	}
	if fields["extract.k"] != starlark.String("b\x00") || fields["extract.raw"] != starlark.String(`{"a": "b\u0000"}`) {
		t.Errorf("got %v", fields)
	}
	for _, bad := range []string{"", "{", "{} {}", "<html>"} {
		if _, err := decodeBody(bad); fault.From(err, "").Code != "E0506" {
			t.Errorf("%q: got %v", bad, err)
		}
	}
}

// target is an enclave in which a command does what a test says.
type target struct {
	exec func(ctx context.Context, try int, out io.Writer) (int, error)
	try  int
}

func (t *target) Exec(ctx context.Context, _ string, spec backend.ExecSpec) (int, error) {
	t.try++
	return t.exec(ctx, t.try, spec.Stdout)
}
func (*target) Dial(context.Context, string, backend.Transport, uint16) (net.Conn, error) {
	return nil, errors.New("no network")
}
func (*target) Service(string) (*enclave.Service, error) { return &enclave.Service{}, nil }

// plain fills in nothing.
type plain struct{}

func (plain) Text(s string) (string, error)                  { return s, nil }
func (plain) Value(v starlark.Value) (starlark.Value, error) { return v, nil }

func codeIs(n int) Condition {
	return Condition{Field: "code", Assertion: "==", Target: starlark.MakeInt(n)}
}

func TestWaitBacksOff(t *testing.T) {
	for interval, first := range map[time.Duration]time.Duration{
		100 * time.Millisecond: 100 * time.Millisecond,
		time.Millisecond:       time.Millisecond,
		0:                      10 * time.Millisecond,
	} {
		t.Run(interval.String(), func(t *testing.T) { backsOff(t, interval, first) })
	}
}

func backsOff(t *testing.T, interval, pause time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []time.Duration
		to := &target{exec: func(_ context.Context, try int, _ io.Writer) (int, error) {
			at = append(at, time.Since(start))
			return min(7-try, 1), nil // the seventh is 0
		}}
		w := Wait{Recipe: Exec{Command: []string{"x"}}, Condition: codeIs(0), Interval: interval, Timeout: time.Hour}
		got, err := w.Run(t.Context(), to, "s", plain{})
		if err != nil || got.Tries != 7 || at[0] != 0 || got.Elapsed != at[6] {
			t.Fatalf("got %+v, %v, tries at %v", got, err, at)
		}
		for i := 1; i < len(at); i++ {
			if d := at[i] - at[i-1]; d < pause/2 || d > pause*3/2 {
				t.Errorf("pause %d is %s, not about %s", i, d, pause)
			}
			pause = min(2*pause, 2*time.Second)
		}
	})
}

func TestWaitTriesAtTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var last time.Duration
		to := &target{exec: func(context.Context, int, io.Writer) (int, error) {
			last = time.Since(start)
			return 1, nil
		}}
		w := Wait{Recipe: Exec{Command: []string{"x"}}, Condition: codeIs(0), Interval: time.Second, Timeout: 10 * time.Second}
		_, err := w.Run(t.Context(), to, "s", plain{})
		if last != 10*time.Second || fault.From(err, "").Code != "E0312" || !strings.Contains(err.Error(), "verification failed '1' '==' '0'") {
			t.Errorf("last try at %s: %v", last, err)
		}
	})
}

func TestWaitIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		to := &target{exec: func(ctx context.Context, _ int, _ io.Writer) (int, error) {
			<-ctx.Done()
			return 0, context.Cause(ctx)
		}}
		w := Wait{Recipe: Exec{Command: []string{"x"}}, Condition: codeIs(0), Interval: time.Second, Timeout: 10 * time.Second}
		_, err := w.Run(t.Context(), to, "s", plain{})
		if took := time.Since(start); took > 14*time.Second || fault.From(err, "").Code != "E0312" {
			t.Errorf("took %s: %v", took, err)
		}
	})
}

func TestWaitIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reason := errors.New("the process ended")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(3*time.Second, func() { cancel(reason) })
		to := &target{exec: func(context.Context, int, io.Writer) (int, error) { return 1, nil }}
		w := Wait{Recipe: Exec{Command: []string{"x"}}, Condition: codeIs(0), Interval: time.Second, Timeout: time.Hour}
		if _, err := w.Run(ctx, to, "s", plain{}); !errors.Is(err, reason) {
			t.Errorf("got %v", err)
		}
	})
}

func TestExecBoundsOutput(t *testing.T) {
	chunk := make([]byte, 33<<20)
	to := &target{exec: func(ctx context.Context, _ int, out io.Writer) (int, error) {
		for context.Cause(ctx) == nil {
			if _, err := out.Write(chunk); err != nil {
				return 0, err
			}
		}
		return 0, context.Cause(ctx)
	}}
	_, err := Exec{Command: []string{"yes"}}.Run(t.Context(), to, "s", plain{}.Text)
	if fault.From(err, "").Code != "E0504" {
		t.Errorf("got %v", err)
	}
}

func TestConditionNeedsTheField(t *testing.T) {
	if err := codeIs(0).Check(Result{Fields: map[string]starlark.Value{}}); fault.From(err, "").Code != "E0508" {
		t.Errorf("got %v", err)
	}
}

// TestWaitTellsTheLastAnswer: also one that came some tries ago, or from which
// nothing could be extracted.
func TestWaitTellsTheLastAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := &target{exec: func(ctx context.Context, try int, out io.Writer) (int, error) {
			if try > 2 {
				<-ctx.Done()
				return 0, context.Cause(ctx)
			}
			fmt.Fprint(out, "starting, ", strings.Repeat("x", 3000))
			return 1, nil
		}}
		recipe := Exec{Command: []string{"x"}, Extract: map[string]string{"state": "fromjson | .state"}}
		w := Wait{Recipe: recipe, Condition: codeIs(0), Interval: time.Second, Timeout: 10 * time.Second}
		_, err := w.Run(t.Context(), to, "s", plain{})
		f := fault.From(err, "")
		if len(f.Evidence) != 1 || f.Evidence[0].Title != "the last answer" || !strings.Contains(f.Evidence[0].Lines[0], "'1' and the following output: starting") ||
			len(f.Evidence[0].Lines[0]) > 2010 {
			t.Errorf("got %+v", f.Evidence)
		}
	})
}
