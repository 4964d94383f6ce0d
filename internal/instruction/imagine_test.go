package instruction

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/lang/types"
	"github.com/lepto-dev/lepto/internal/plan"
	"github.com/lepto-dev/lepto/internal/source"
)

// This file imagines runs: what a re-run would do is asked without an enclave, and
// without executing anything.

// enclaveOfNames gives services the ids of their names: the same in every run.
type enclaveOfNames struct{}

func (enclaveOfNames) ServiceValueID(name string) (string, error) {
	return plan.Digest(name), nil
}
func (enclaveOfNames) EnvVars() string     { return "" }
func (enclaveOfNames) ClusterType() string { return "docker" }

func TestImaginedReruns(t *testing.T) {
	const db = `    db = plan.add_service("db", ServiceConfig("x", env_vars = {"A": "%s"}))` + "\n"
	const rest = `    plan.add_service("app", ServiceConfig("x", cmd = [db.ip_address]))
    v = plan.exec("db", ExecRecipe(["date"]))
    conf = plan.render_templates({"f": struct(template = "x", data = {"V": v["output"]})})
    plan.add_service("web", ServiceConfig("x", files = {"/f": conf}))
    plan.verify(v["code"], "==", 0)
`
	in := newImagined()
	host := lang.NewHost(All(), types.All())
	for i, c := range []struct{ script, want string }{
		{fmt.Sprintf(db, "1") + rest, "new new new new new new"},
		{fmt.Sprintf(db, "1") + rest, "keep keep keep keep keep keep"},
		{fmt.Sprintf(db, "1") + rest + `    plan.print("more")` + "\n", "keep keep keep keep keep keep new"},
		{fmt.Sprintf(db, "2") + rest, "update recreate recreate recreate recreate recreate"},
		{fmt.Sprintf(db, "2") + `    plan.stop_service("db")` + "\n", "keep new"},
		{fmt.Sprintf(db, "2") + `    plan.stop_service("db")` + "\n", "keep keep"},
		{fmt.Sprintf(db, "2") + `    plan.remove_service("db")` + "\n", "keep new"},
		{fmt.Sprintf(db, "2") + `    plan.remove_service("db")` + "\n", "keep keep"},
		{fmt.Sprintf(db, "2") + rest, "recreate recreate recreate recreate recreate recreate"},
	} {
		made, err := host.Interpret(t.Context(), lang.Request{Package: source.OpenScript("x.star", "def run(plan):\n"+c.script), Enclave: enclaveOfNames{}})
		if err != nil {
			t.Fatal(lang.LegacyText(err))
		}
		var got []string
		for _, status := range in.run(made.Steps) {
			got = append(got, string(status))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("run %d: got %v, want %s", i+1, got, c.want)
		}
	}
}

// imagined is an enclave in which plans were executed, all of it with success.
type imagined struct {
	records  map[string]enclave.StepRecord
	versions map[plan.Key]string
	services map[plan.Key]plan.Condition
	runs     uint64
	number   uint64
}

// newImagined gives an enclave that has nothing yet.
func newImagined() *imagined {
	return &imagined{records: map[string]enclave.StepRecord{}, versions: map[plan.Key]string{}, services: map[plan.Key]plan.Condition{}}
}

// past gives the enclave as Compare takes it.
func (m *imagined) past() plan.Past {
	past := plan.Past{
		Version: func(k plan.Key) string { return m.versions[k] },
		Service: func(k plan.Key) plan.Condition {
			if is, known := m.services[k]; known {
				return is
			}
			return plan.Gone
		},
	}
	for _, r := range m.records {
		past.Records = append(past.Records, r)
	}
	return past
}

// run executes a plan, and gives what that did about each step. A step of parts
// is kept if all of them are.
func (m *imagined) run(steps []plan.Step) []plan.Status {
	m.runs++
	nodes := plan.Nodes(steps)
	statuses := make([]plan.Status, len(steps))
	for i, v := range plan.Compare(nodes, m.past()) {
		n := &nodes[i]
		if s := &statuses[n.Step]; *s == "" || *s == plan.Keep {
			*s = v.Status
		}
		if v.Status != plan.Keep {
			m.execute(n, v.Record)
		} else {
			record := *v.Record
			record.Seen = m.runs
			m.records[record.ID] = record
		}
	}
	return statuses
}

// execute notes what a node would have made, in place of an old record of it.
func (m *imagined) execute(n *plan.Node, old *enclave.StepRecord) {
	m.number++
	record := enclave.StepRecord{
		ID: n.ID, About: n.About, Number: m.number, Ran: m.runs, Seen: m.runs, Values: n.Values(),
		Uses: map[string]string{}, Makes: map[string]string{},
	}
	record.Said, record.Refs = n.Said("")
	for _, k := range n.Uses() {
		record.Uses[string(k)] = m.versions[k]
	}
	made := slices.Collect(maps.Values(n.Effects.Addresses))
	for _, k := range n.Effects.Writes {
		switch {
		case slices.Contains(made, k):
			m.versions[k] = fmt.Sprintf("made %d", m.number)
		case plan.IsValue(k):
			m.versions[k] = "filled"
		case plan.IsArtifact(k):
			m.versions[k] = plan.Digest(fmt.Sprint(record.Said), strings.Join(record.Refs, " "))
		}
		record.Makes[string(k)] = m.versions[k]
	}
	for k, is := range n.Effects.Leaves {
		m.services[k] = is
		if is == plan.Gone {
			delete(m.versions, k)
			record.Makes[string(k)] = ""
		}
	}
	if old != nil {
		delete(m.records, old.ID)
	}
	m.records[record.ID] = record
}
