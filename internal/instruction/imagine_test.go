package instruction

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/lang/types"
	"github.com/lepto-dev/lepto/internal/plan"
	"github.com/lepto-dev/lepto/internal/source"
)

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
	imagined := plan.NewImagined()
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
		for _, status := range imagined.Run(made.Steps) {
			got = append(got, string(status))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("run %d: got %v, want %s", i+1, got, c.want)
		}
	}
}
