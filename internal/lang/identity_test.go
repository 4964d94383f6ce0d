package lang_test

import (
	"testing"

	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/plan"
)

// stepIDs interprets the body of a run function and gives the ids of its steps.
func stepIDs(t *testing.T, seed, body string) []plan.StepID {
	t.Helper()
	made, err := interpret(t, "def run(plan):\n"+body, lang.Request{Enclave: &fakeEnclave{}, Seed: seed})
	if err != nil {
		t.Fatal(lang.LegacyText(err))
	}
	var ids []plan.StepID
	for _, step := range made.Steps {
		ids = append(ids, step.Call().ID)
	}
	return ids
}

func TestCallsThatSayTheSameAreTheSameStep(t *testing.T) {
	const first = `
    a = plan.add_service("a", ServiceConfig(image = "x"))
    one = plan.exec("a", ExecRecipe(command = ["date"]))
    plan.exec("a", ExecRecipe(command = ["date"]))
    plan.print(one["output"])
    plan.print(plan.render_templates({}))
`
	const later = `
    plan.print("inserted")
    a = plan.add_service(config = ServiceConfig(image = "x"), name = "a", description = "in other words")
    one = plan.exec("a", ExecRecipe(command = ["date"]), description = "the same")
    plan.exec("a", ExecRecipe(command = ["date"]))
    plan.exec("a", ExecRecipe(command = ["date"]))
    plan.print(one["output"])
    plan.print(plan.render_templates({}, description = "again"))
`
	before, after := stepIDs(t, "seed", first), stepIDs(t, "seed", later)
	if before[0] != after[1] || before[1] != after[2] || before[2] != after[3] || before[3] != after[5] ||
		before[4] != after[6] || before[5] != after[7] {
		t.Errorf("steps that say the same differ:\n%v\n%v", before, after)
	}
	seen := map[plan.StepID]bool{}
	for _, id := range after {
		if seen[id] {
			t.Errorf("id %s is that of two steps", id)
		}
		seen[id] = true
	}
	if other := stepIDs(t, "other", first); other[0] == before[0] {
		t.Error("two enclaves have the same ids")
	}
}
