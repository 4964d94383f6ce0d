package plan

import (
	"strings"
	"testing"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/enclave"
	"github.com/lepto-dev/lepto/internal/fault"
)

// Without the ability, everything that names a subnetwork but the default one is
// refused, and says why.
func TestSubnetworksNeedTheAbility(t *testing.T) {
	with := func(able bool) *Forecast {
		return NewForecast(ForecastInput{Capabilities: backend.Capabilities{
			Backend: "toy", Abilities: map[backend.Ability]bool{backend.AbilityShapeLinks: able},
			Missing: map[backend.Ability]string{backend.AbilityShapeLinks: "toys have no network"},
		}})
	}
	check := func(rule string, errs []error, want string) {
		t.Helper()
		if want == "" {
			if len(errs) > 0 {
				t.Errorf("%s: %v", rule, errs)
			}
			return
		}
		if len(errs) != 1 {
			t.Fatalf("%s: got %v", rule, errs)
		}
		f := fault.From(errs[0], "none")
		if f.Code != "E0322" || !strings.Contains(f.Summary, want) || !strings.Contains(f.Summary, "subnetwork capabilities are disabled") ||
			!strings.Contains(f.Hint, "toys have no network") {
			t.Errorf("%s: %s %s (%s)", rule, f.Code, f.Summary, f.Hint)
		}
	}
	lacks := with(false)
	check("set_connection", []error{lacks.ShapeLinks("set_connection")}, "set_connection can't be used")
	check("a label", lacks.AddService("a", enclave.ServiceConfig{Subnetwork: "sub1"}), `service "a" can't be in subnetwork "sub1"`)
	check("the default label", lacks.AddService("b", enclave.ServiceConfig{Subnetwork: "default"}), "")
	check("no label", lacks.AddService("c", enclave.ServiceConfig{}), "")
	check("a move", lacks.CheckSubnetwork("a", "sub1"), "sub1")
	check("a move back", lacks.CheckSubnetwork("a", "default"), "")
	has := with(true)
	check("with the ability", has.AddService("a", enclave.ServiceConfig{Subnetwork: "sub1"}), "")
	if err := has.ShapeLinks("set_connection"); err != nil {
		t.Error(err)
	}
}
