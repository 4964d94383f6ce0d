package api

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/plan"
	"github.com/lepto-dev/lepto/internal/run"
)

var update = flag.Bool("update", false, "write the golden files")

func phase(name run.PhaseName, steps int) run.Event {
	return run.Event{Kind: run.KindPhase, Phase: &run.Phase{Name: name, Steps: steps}}
}

func started(dry bool) run.Event {
	return run.Event{Kind: run.KindStarted, Started: &run.Started{RunID: "r", DryRun: dry}}
}

func image(i run.Image) run.Event { return run.Event{Kind: run.KindImage, Image: &i} }

func begin(id string, number int) run.Event {
	return run.Event{Kind: run.KindBegin, Step: plan.StepID(id), Begin: &run.Begin{
		ID: plan.StepID(id), Number: number, Total: 2, Name: "print", Text: `print(msg="` + id + `")`,
		Description: "Print " + id, At: fault.Frame{File: "main.star", Line: number, Col: 5},
		Args: []plan.Arg{{Name: "msg", Text: `"` + id + `"`, Representative: true}},
	}}
}

func result(id, text string) run.Event {
	return run.Event{Kind: run.KindResult, Step: plan.StepID(id), Result: &run.Result{Text: text, Duration: time.Second}}
}

func problemEvent(step string, p run.Problem) run.Event {
	return run.Event{Kind: run.KindError, Step: plan.StepID(step), Error: &p}
}

func done(d run.Done) run.Event { return run.Event{Kind: run.KindDone, Done: &d} }

// runs are the runs whose lines are golden.
var runs = map[string][]run.Event{
	"success": {
		started(false), phase(run.Interpretation, 0),
		{Kind: run.KindWarning, Warning: &run.Notice{Text: "an old name"}},
		{Kind: run.KindPlan, Plan: &run.Ready{Steps: make([]run.Begin, 2)}},
		phase(run.Validation, 2),
		image(run.Image{Ref: "b:1"}), image(run.Image{Ref: "a:1"}), image(run.Image{Ref: "b:1", Bytes: 5, Total: 10}),
		image(run.Image{Ref: "a:1", Done: true, Source: "cached", Warning: "a:1 is for arm64"}),
		image(run.Image{Ref: "b:1", Done: true, Source: "downloaded"}),
		phase(run.Execution, 2),
		begin("one", 1), {Kind: run.KindProgress, Step: "one", Progress: &run.Progress{Text: "waiting for tcp 80"}}, result("one", "1"),
		begin("two", 2), result("two", ""),
		done(run.Done{OK: true, Output: `{"a": 1}`, Duration: 2 * time.Second}),
	},
	"dry-run": {
		started(true), phase(run.Interpretation, 0), phase(run.Validation, 1), phase(run.Execution, 1),
		begin("one", 1), done(run.Done{OK: true, DryRun: true}),
	},
	"interpretation-error": {
		started(false), phase(run.Interpretation, 0),
		problemEvent("", run.Problem{Phase: run.Interpretation, Code: "E0101", Summary: "undefined: foo", Legacy: "Evaluation error: undefined: foo\n\tat [main.star:1:1]: <toplevel>"}),
		done(run.Done{}),
	},
	"interpretation-errors": {
		started(false), phase(run.Interpretation, 0),
		problemEvent("", run.Problem{Phase: run.Interpretation, Code: "E0102", Summary: "undefined: foo",
			Legacy: "Multiple errors caught interpreting the Starlark script. Listing each of them below.\n\tat [2:5]: undefined: foo\n\tat [3:5]: undefined: bar"}),
		problemEvent("", run.Problem{Phase: run.Interpretation, Code: "E0102", Summary: "undefined: bar", Part: true}),
		done(run.Done{}),
	},
	"validation-errors": {
		started(true), phase(run.Interpretation, 0), phase(run.Validation, 2), image(run.Image{Ref: "gone:1"}),
		problemEvent("one", run.Problem{Phase: run.Validation, Summary: "service \"db\" is there already", Stack: []fault.Frame{{File: "main.star", Line: 3, Col: 9, Func: "run"}}}),
		problemEvent("", run.Problem{Phase: run.Validation, Summary: "image \"gone:1\" is not there", Hint: "check its name"}),
		done(run.Done{}),
	},
	"execution-error": {
		started(false), phase(run.Interpretation, 0), phase(run.Validation, 2), phase(run.Execution, 2),
		begin("one", 1),
		problemEvent("one", run.Problem{Phase: run.Execution, Summary: "service \"db\" exited with code 1",
			Stack:    []fault.Frame{{File: "main.star", Line: 1, Col: 5, Func: "run"}, {File: "main.star", Line: 9, Col: 1}},
			Evidence: []fault.Evidence{{Title: "last log lines", Lines: []string{"no space left"}}}, Hint: "free some"}),
		done(run.Done{Duration: time.Second}),
	},
	"cancelled": {
		started(false), phase(run.Interpretation, 0), phase(run.Validation, 1), phase(run.Execution, 1), begin("one", 1),
		done(run.Done{Cancelled: true, Reason: "the engine is stopping"}),
	},
}

func TestRunLines(t *testing.T) {
	for name, events := range runs {
		t.Run(name, func(t *testing.T) {
			var got strings.Builder
			rendering := newRunLines()
			for _, event := range events {
				for _, line := range rendering.lines(event) {
					got.WriteString(lineText(t, line) + "\n")
				}
			}
			path := filepath.Join("testdata", "runlines", name+".golden")
			if *update {
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != string(want) {
				t.Errorf("got\n%swant\n%s", got.String(), want)
			}
		})
	}
}

// lineText gives a line as JSON whose form does not change: protojson's own has
// spaces at random.
func lineText(t *testing.T, line proto.Message) string {
	t.Helper()
	text, err := protojson.Marshal(line)
	if err != nil {
		t.Fatal(err)
	}
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		t.Fatal(err)
	}
	text, err = json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
