package run

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/memory"
	"github.com/lepto-dev/lepto/internal/enclave"
)

// rerunner runs scripts in one enclave, one after the other.
type rerunner struct {
	t *testing.T
	e *enclave.Enclave
	r *Runner
}

func newRerunner(t *testing.T) *rerunner {
	return &rerunner{t, newEnclave(t, memoryBackend(memory.Options{})), newRunner(t, realHost())}
}

// body makes a script of the body of its run function, a line a step.
func body(lines string) string {
	return "def run(plan):\n    " + strings.ReplaceAll(strings.TrimSpace(lines), "\n", "\n    ") + "\n"
}

// run gives which steps were executed, by number: "1 3".
func (r *rerunner) run(lines string, change ...func(*Request)) string {
	r.t.Helper()
	req := script(body(lines))
	for _, c := range change {
		c(&req)
	}
	events := gather(r.t, r.r, r.e, req)
	if done := doneOf(r.t, events); !done.OK {
		r.t.Fatalf("the run fails: %+v\n%s", errorsOf(events), lines)
	}
	return executed(events)
}

func executed(events []Event) string {
	var out []string
	for _, event := range events {
		if event.Begin != nil && !event.Begin.Skipped {
			out = append(out, fmt.Sprint(event.Begin.Number))
		}
	}
	return strings.Join(out, " ")
}

// diff gives what a dry run says: "keep, update (reasons)".
func (r *rerunner) diff(lines string) string {
	r.t.Helper()
	req := script(body(lines))
	req.DryRun = true
	var out []string
	for _, event := range gather(r.t, r.r, r.e, req) {
		if event.Begin == nil {
			continue
		}
		c := event.Begin.Change
		text := string(c.Status)
		if len(c.Reasons) > 0 {
			text += " (" + strings.Join(c.Reasons, "; ") + ")"
		}
		if !c.Sure && c.Status != "keep" && c.Status != "new" {
			text += "?"
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

func (r *rerunner) making(name string) string {
	r.t.Helper()
	s, err := r.e.Service(name)
	if err != nil {
		r.t.Fatal(err)
	}
	return s.Making
}

const (
	addDB  = `db = plan.add_service("db", ServiceConfig("pause"))` + "\n"
	addApp = `app = plan.add_service("app", ServiceConfig("pause", env_vars = {"DB": db.ip_address, "X": "1"}))` + "\n"
	addWeb = `web = plan.add_service("web", ServiceConfig("pause", cmd = ["pause", "http://app:80"]))` + "\n"
	addOwn = `own = plan.add_service("own", ServiceConfig("pause"))` + "\n"
)

func command(service, text string) string {
	return fmt.Sprintf("plan.exec(%q, ExecRecipe([\"sh\", \"-c\", %q]))\n", service, text)
}

func TestReruns(t *testing.T) {
	one, two := command("db", "echo 1 >> /log"), command("db", "echo 2 >> /log")
	changed := strings.Replace(addDB, `"pause"`, `"pause", env_vars = {"NEW": "1"}`, 1)
	wait := `plan.wait("db", ExecRecipe(["true"]), "code", "==", 0)` + "\n"
	valued := func(text string) string {
		return addDB + addOwn + `v = plan.exec("db", ExecRecipe(["sh", "-c", "` + text + `"]))` + "\n" +
			`plan.add_service("user", ServiceConfig("pause", env_vars = {"V": v["output"]}))` + "\n" + `plan.print(v["output"])` + "\n"
	}
	asks := command("own", "echo http://db:80 >> /log")
	looks := `plan.wait("own", ExecRecipe(["echo", "http://db:80"]), "code", "==", 0)` + "\n"
	stop, start, remove := `plan.stop_service("db")`+"\n", `plan.start_service("db")`+"\n", `plan.remove_service("db")`+"\n"
	for name, c := range map[string]struct {
		runs []string // each but the last is run
		want string   // the steps that the last one executes
		diff string   // and what a dry run says of it
	}{
		"unchanged":                     {[]string{addDB + addApp + one + two + wait, addDB + addApp + one + two + wait}, "", "keep, keep, keep, keep, keep"},
		"appended":                      {[]string{addDB + one, addDB + one + addApp + two}, "3 4", "keep, keep, new, new"},
		"inserted in front":             {[]string{addDB + one, addOwn + addDB + one}, "1", "new, keep, keep"},
		"one service changes":           {[]string{addDB + addOwn + addApp, changed + addOwn + addApp}, "1 3", `update (changed: env_vars NEW), keep, recreate (service "db" is made anew)`},
		"its dependants, by name, too":  {[]string{addDB + addApp + addWeb + addOwn, changed + addApp + addWeb + addOwn}, "1 2 3", ""},
		"a dependant changes":           {[]string{addDB + addApp + one, addDB + strings.Replace(addApp, `"1"`, `"2"`, 1) + one}, "2", `keep, update (changed: env_vars X), keep`},
		"what was done to it as well":   {[]string{addDB + one + wait, changed + one + wait}, "1 2 3", ""},
		"an exec changes":               {[]string{addDB + one, addDB + two}, "2", "keep, update (changed: recipe)"},
		"the first of two execs":        {[]string{addDB + one + two, addDB + command("db", "echo 3 >> /log") + two}, "1 2 3", ""},
		"an exec is inserted":           {[]string{addDB + two, addDB + one + two}, "1 2 3", `recreate (step 2 now comes before step 3, which was done to it before), new, recreate (service "db" is made anew)`},
		"execs change places":           {[]string{addDB + one + two, addDB + two + one}, "1 2 3", ""},
		"an exec is taken away":         {[]string{addDB + one + two, addDB + two}, "", "keep, keep"},
		"a service is taken away":       {[]string{addOwn + addDB, addDB}, "", "keep"},
		"there and back":                {[]string{addDB + one, addDB + two, addDB + one}, "2", ""},
		"another value":                 {[]string{valued("echo a"), valued("echo b")}, "3 4 5", ""},
		"the same value by other means": {[]string{valued("echo a"), valued("echo a;true")}, "3", `keep, keep, update (changed: recipe), recreate (a value may change: step 3 is done)?, recreate (a value may change: step 3 is done)?`},
		"only the description":          {[]string{addDB + one, strings.Replace(addDB, "))", `), description = "d")`, 1) + one}, "", "keep, keep"},
		"forced":                        {[]string{addDB + addApp, strings.Replace(addDB, "))", `), force_update = True)`, 1) + addApp}, "1 2", ""},
		"one that another talks to":     {[]string{addDB + addOwn + one + asks, addDB + addOwn + two + asks}, "1 2 3 4", `recreate (step 3 now comes before step 4, which reached it before), recreate (step 4, which was done to it before, is done again), update (changed: recipe), recreate (service "db" is made anew)`},
		"one that is looked at":         {[]string{addDB + addOwn + one + looks, addDB + addOwn + two + looks}, "3 4", ""},
		"one that a command talks to":   {[]string{addDB + addOwn + asks, changed + addOwn + asks}, "1 2 3", ""},
		"one behind another":            {[]string{addDB + addApp + one + command("app", "echo migrate >> /log"), addDB + addApp + two + command("app", "echo migrate >> /log")}, "1 2 3 4", ""},
		"stopped":                       {[]string{addDB + one + stop, addDB + one + stop}, "", "keep, keep, keep"},
		"stopped and started":           {[]string{addDB + stop + start + one, addDB + stop + start + one}, "", ""},
		"removed":                       {[]string{addDB + one + remove, addDB + one + remove}, "", "keep, keep, keep"},
		"removed, and needed again":     {[]string{addDB + one + remove, addDB + two + remove}, "1 2 3", ""},
		"stopped no more":               {[]string{addDB + stop, addDB}, "1", `recreate (service "db" does not run)`},
		"started no more":               {[]string{addDB + stop + start, addDB + stop}, "2", ""},
		"removed and added again":       {[]string{addDB + remove + addDB + one, addDB + remove + addDB + one}, "", ""},
		"from a batch to one by one":    {[]string{`plan.add_services({"db": ServiceConfig("pause"), "own": ServiceConfig("pause")})`, addDB + addOwn}, "", "keep, keep"},
		"one of a batch":                {[]string{`plan.add_services({"db": ServiceConfig("pause"), "own": ServiceConfig("pause")})`, `plan.add_services({"db": ServiceConfig("pause", cmd = ["sleep", "9"]), "own": ServiceConfig("pause")})`}, "1", `update (db: changed: cmd)`},
		"another plan in between":       {[]string{addDB + one, addOwn, addDB + one}, "", "keep, keep"},
		"another plan at the service":   {[]string{addDB + one, `db = plan.get_service("db")` + "\n" + two, addDB + one}, "2", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRerunner(t)
			last := len(c.runs) - 1
			for _, lines := range c.runs[:last] {
				r.run(lines)
			}
			if got := r.diff(c.runs[last]); c.diff != "" && got != c.diff {
				t.Errorf("dry run:\ngot  %s\nwant %s", got, c.diff)
			}
			if got := r.run(c.runs[last]); got != c.want {
				t.Errorf("executed %q, want %q", got, c.want)
			}
			if got := r.run(c.runs[last]); got != "" && name != "forced" {
				t.Errorf("a run of the same executes %q again", got)
			}
		})
	}
}

func TestOnlyWhatChangedOfABatchIsReplaced(t *testing.T) {
	r := newRerunner(t)
	batch := `plan.add_services({"a": ServiceConfig("pause", env_vars = {"X": "%s"}), "b": ServiceConfig("pause")})`
	r.run(fmt.Sprintf(batch, "1"))
	a, b := r.making("a"), r.making("b")
	r.run(fmt.Sprintf(batch, "2"))
	if r.making("a") == a || r.making("b") != b {
		t.Error("the wrong service was made anew")
	}
}

func TestWhatIsGoneIsMadeAgain(t *testing.T) {
	lines := addDB + addApp + command("app", "echo 1 >> /log")
	for name, c := range map[string]struct {
		harm func(*rerunner) error
		want string
	}{
		"removed": {func(r *rerunner) error { return r.e.RemoveService(r.t.Context(), "app") }, "2 3"},
		"stopped": {func(r *rerunner) error { return r.e.StopService(r.t.Context(), "app") }, "2 3"},
		"made by hand": {func(r *rerunner) error {
			_, err := r.e.AddService(r.t.Context(), "app", enclave.ServiceConfig{Image: enclave.Image{Ref: "pause"}}, enclave.AddOptions{})
			return err
		}, "2 3"},
		"what it needs is gone": {func(r *rerunner) error { return r.e.RemoveService(r.t.Context(), "db") }, "1 2 3"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRerunner(t)
			r.run(lines)
			if err := c.harm(r); err != nil {
				t.Fatal(err)
			}
			if got := r.run(lines); got != c.want {
				t.Errorf("executed %q, want %q", got, c.want)
			}
		})
	}
}

func TestFailedStepsAreNotDone(t *testing.T) {
	for _, parallel := range []bool{false, true} {
		r := newRerunner(t)
		fails := body(addDB + addOwn + command("db", "exit 1") + command("own", "echo 1 >> /log"))
		req := script(fails)
		req.Parallel = parallel
		events := gather(t, r.r, r.e, req)
		if doneOf(t, events).OK {
			t.Fatal("the run succeeds")
		}
		if got := r.run(addDB + addOwn + command("db", "exit 0")); got != "3" {
			t.Errorf("executed %q, want 3", got)
		}
	}
}

func TestADryRunChangesNoRecord(t *testing.T) {
	r := newRerunner(t)
	r.run(addDB)
	before, err := r.e.StepRecords()
	if err != nil {
		t.Fatal(err)
	}
	r.diff(addDB + addOwn + command("db", "echo 1"))
	after, err := r.e.StepRecords()
	if err != nil || fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("a dry run changed\n%v\nto\n%v (%v)", before, after, err)
	}
	if got := r.run(addDB + addOwn); got != "2" {
		t.Errorf("executed %q, want 2", got)
	}
}

func TestNoCachingExecutesAll(t *testing.T) {
	r := newRerunner(t)
	r.run(addDB + addOwn)
	if got := r.run(addDB+addOwn, func(req *Request) { req.Experimental = []string{NoCaching} }); got != "1 2" {
		t.Errorf("executed %q, want all", got)
	}
	if got := r.run(addDB + addOwn); got != "" {
		t.Errorf("then executed %q", got)
	}
}

func TestSkippedStepsSaySo(t *testing.T) {
	r := newRerunner(t)
	lines := addDB + `plan.print("hello")` + "\n"
	r.run(lines)
	events := gather(t, r.r, r.e, script(body(lines)))
	var results []string
	for _, event := range events {
		if event.Result != nil {
			results = append(results, fmt.Sprint(event.Result.Skipped, " ", event.Result.Text))
		}
	}
	want := "true SKIPPED - This instruction has already been run in this enclave"
	if len(results) != 2 || results[0] != want || results[1] != want {
		t.Errorf("results: %q", results)
	}
	if done := doneOf(t, events); done.Steps != 0 || done.Skipped != 2 {
		t.Errorf("done: %+v", done)
	}
}

func TestAnotherImageIsAChange(t *testing.T) {
	be := memory.New(memory.Options{Architecture: "amd64"})
	r := &rerunner{t, newEnclave(t, private{be}), newRunner(t, realHost())}
	r.run(addDB + addOwn)
	if got := r.diff(addDB + addOwn); got != "keep, keep" {
		t.Errorf("unchanged: %s", got)
	}
	_ = backend.PullAlways
}

func TestValuesOfKeptStepsStay(t *testing.T) {
	r := newRerunner(t)
	lines := addDB + `v = plan.exec("db", ExecRecipe(["echo", "first"]))` + "\n"
	r.run(lines)
	req := script(body(lines + `plan.print("it was " + v["output"] + " at " + db.ip_address)` + "\n" + `return v["output"]`))
	events := gather(t, r.r, r.e, req)
	if done := doneOf(t, events); !done.OK || done.Output != `"first\n"` || executed(events) != "3" {
		t.Errorf("done: %+v, executed %s", done, executed(events))
	}
}

// edited changes a generated script such that nothing is taken away from it:
// commands are inserted, configs changed, services appended.
func edited(random *rand.Rand, text string) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for n := range 1 + random.IntN(2) {
		at := 1 + random.IntN(len(lines)-1)
		line := lines[at]
		_, service, isExec := strings.Cut(line, `plan.exec("`)
		switch {
		case isExec:
			name, _, _ := strings.Cut(service, `"`)
			lines = slices.Insert(lines, at, fmt.Sprintf(`    plan.exec(%q, ExecRecipe(["sh", "-c", "echo edit%d >> /log"]))`, name, n))
		case strings.Contains(line, "add_service") && !strings.Contains(line, "EDIT"):
			if strings.Contains(line, "env_vars = {") {
				lines[at] = strings.Replace(line, "env_vars = {", fmt.Sprintf(`env_vars = {"EDIT": "%d", `, n), 1)
			} else {
				lines[at] = strings.Replace(line, `"pause")`, fmt.Sprintf(`"pause", env_vars = {"EDIT": "%d"})`, n), 1)
			}
		default:
			lines = append(lines, fmt.Sprintf(`    plan.add_service("more%d", ServiceConfig("pause"))`, n))
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

func TestARerunLeavesWhatAFreshRunWould(t *testing.T) {
	seeds := uint64(25)
	if n, err := strconv.ParseUint(os.Getenv("LEPTO_STRESS"), 10, 32); err == nil {
		seeds = n
	}
	for seed := range seeds {
		random := rand.New(rand.NewPCG(seed, 2))
		first := program(random)
		second := edited(random, first)
		run := func(parallel bool, texts ...string) (left string, done Done) {
			e := newEnclave(t, memoryBackend(memory.Options{Commands: map[string]memory.Program{"look": look}}))
			r := newRunner(t, realHost())
			var events []Event
			for _, text := range texts {
				req := script(text)
				req.Parallel = parallel
				events = gather(t, r, e, req)
				if done = doneOf(t, events); !done.OK {
					t.Fatalf("seed %d fails: %+v\n%s\nthen\n%s", seed, errorsOf(events)[0], first, text)
				}
			}
			return state(t, e, nil), done
		}
		want, _ := run(false, second)
		for _, parallel := range []bool{false, true} {
			got, _ := run(parallel, first, second)
			if got != want {
				t.Fatalf("seed %d (parallel %v) leaves\n%s\nwhere a fresh run leaves\n%s\n%s\nthen\n%s", seed, parallel, got, want, first, second)
			}
			if _, done := run(parallel, first, second, second); done.Steps != 0 {
				t.Fatalf("seed %d: %d steps of the same plan are done again\n%s", seed, done.Steps, second)
			}
		}
	}
}
